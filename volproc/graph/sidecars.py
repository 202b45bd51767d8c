"""Results of finished blocks on disk: small tables, from which a killed reduction goes on."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError
from volproc.core.types import Index
from volproc.graph.marker_files import list_markers
from volproc.io.chunk_files import write_bytes

HEAD = "head"
"""Array of a sidecar that holds the description of the others."""

ENDING = ".npz"
"""Of sidecars."""


@dataclass(frozen=True, slots=True)
class Sidecars:
    """Tables of the finished blocks of stages, one file a block.

    They serve `volproc.graph.run.run_stage` as a ledger whose markers hold the results. A file
    appears whole, and a damaged one counts for nothing. Results are numbers, text, arrays,
    tuples, lists, dicts, and dataclasses of these; nothing that could run is read back.

    Parameters
    ----------
    folder : str
        Work folder, beside the output.
    marks : mapping of str to str
        Fingerprint, by stage, of all that its results depend on. Files with another mark count
        for nothing: a changed threshold does the stages again that it matters to, and no others.
    classes : tuple of type
        Dataclasses that results consist of.
    """

    folder: str
    marks: Mapping[str, str]
    classes: tuple[type, ...] = ()

    def done(self, stage: str) -> set[Index]:
        """Blocks of a stage whose results are there."""
        files = list_markers(os.fspath(self._stage(stage)), ENDING)
        return {index for index, _ in files if self.result(stage, index) is not None}

    def result(self, stage: str, index: Index) -> Any:
        """Result of a block; None if it is not there, or damaged."""
        try:
            # NumPy leaves a damaged file open that it has opened itself.
            with (
                self._path(stage, index).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                head = json.loads(arrays[HEAD].tobytes())
                return self._decode(head, arrays)
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile):
            return None

    def keep(self, stage: str, index: Index, result: Any) -> None:
        """Write the result of a block."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        head = json.dumps(_encode(result, arrays)).encode()
        buffer = BytesIO()
        np.savez(buffer, **{HEAD: np.frombuffer(head, np.uint8)}, **arrays)
        path = self._path(stage, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, buffer.getvalue())

    def remove(self) -> None:
        """Remove the folder: what the tables were for is whole."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _decode(self, value: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
        if not isinstance(value, dict):
            return value
        if "array" in value:
            return arrays[value["array"]]
        parts = [self._decode(part, arrays) for part in value["parts"]]
        kind = value["kind"]
        if kind in ("tuple", "list"):
            return tuple(parts) if kind == "tuple" else parts
        if kind == "dict":
            return dict(zip(parts[::2], parts[1::2], strict=True))
        known = {one.__name__: one for one in self.classes}
        return known[kind](**dict(zip(value["names"], parts, strict=True)))

    def _stage(self, stage: str) -> Path:
        return Path(self.folder) / f"{stage}-{self.marks[stage][:16]}"

    def _path(self, stage: str, index: Index) -> Path:
        return self._stage(stage) / str(index[0]) / f"{'.'.join(map(str, index))}{ENDING}"


def _encode(value: Any, arrays: dict[str, npt.NDArray[Any]]) -> Any:
    """Turn a value into JSON that refers to arrays, which are added to ``arrays``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        name = f"a{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in fields(value)]
        parts: Sequence[Any] = [getattr(value, name) for name in names]
        kind = type(value).__name__
        return {"kind": kind, "names": names, "parts": [_encode(p, arrays) for p in parts]}
    if isinstance(value, dict):
        parts = [part for pair in value.items() for part in pair]
        return {"kind": "dict", "parts": [_encode(part, arrays) for part in parts]}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {"kind": kind, "parts": [_encode(part, arrays) for part in value]}
    msg = (
        f"a result of type {type(value).__name__} cannot be kept on disk. Return numbers, arrays, "
        "or dataclasses of them."
    )
    raise DtypeError(msg)
