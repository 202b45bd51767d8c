"""What a verification leaves beside an output."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from volproc.io.chunk_files import write_bytes
from volproc.workflows.record import record_path, versions


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification found."""

    is_equal: bool
    """Whether all that was computed again is what the run wrote."""

    certificate: Path
    """Where it is written down."""

    facts: dict[str, Any]
    """What the certificate says; JSON values."""


def certify(output: str, facts: dict[str, Any]) -> VerifyReport:
    """Write the certificate of an output; an older one is replaced.

    Parameters
    ----------
    output : str
        What was verified.
    facts : dict
        What was found: ``verdict``, ``"equal"`` or ``"differs"``, and the rest; JSON values.
    """
    facts = {
        "made_by": "volproc verify",
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **facts,
        "versions": versions(),
    }
    path = certificate_path(output)
    write_bytes(path, json.dumps(facts, indent=2).encode() + b"\n")
    return VerifyReport(facts["verdict"] == "equal", path, facts)


def certificate_path(address: str) -> Path:
    """File beside an output that says how it was verified.

    >>> certificate_path("out/classes.zarr").as_posix()
    'out/classes.zarr.certificate.json'
    """
    path = record_path(address)
    return path.with_name(f"{path.name.removesuffix('.json')}.certificate.json")
