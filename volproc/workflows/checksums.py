"""Checksums of the chunk files of an output, kept beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from volproc.core.errors import ConfigError, VerifyError
from volproc.graph.ledger import Ledger
from volproc.graph.predict_work import PredictWork
from volproc.graph.tile_block_work import TileBlockWork
from volproc.io.chunk_files import write_bytes
from volproc.io.stored_chunks import ChunkFolder, Stored
from volproc.plan.blocks import ChunkGrid
from volproc.workflows.record import record_path

Checksums = dict[str, dict[str, Any]]
"""By the index of a block with dots between: bytes and checksum of each product."""


def checksums_path(address: str) -> Path:
    """File beside an output with the checksums of its chunk files.

    >>> checksums_path("out/classes.zarr").as_posix()
    'out/classes.zarr.checksums.json'
    """
    path = record_path(address)
    return path.with_name(f"{path.name.removesuffix('.json')}.checksums.json")


def refuse_checksums(addresses: Iterable[str]) -> None:
    """Refuse checksums of outputs that have no chunk files.

    Raises
    ------
    ConfigError
    """
    for address in addresses:
        if not address.lower().endswith(".zarr"):
            msg = (
                f"checksums are kept of the chunk files of OME-Zarr, and {address} has none. Write "
                "to a name that ends in .zarr, or leave checksums out."
            )
            raise ConfigError(msg)


def collect_checksums(stage: str, work: PredictWork | TileBlockWork, ledger: Ledger) -> Checksums:
    """Checksums of all blocks that a ledger knows."""
    found = {}
    for index, facts in sorted(ledger.finished(stage)):
        stored = facts.get("stored", {})
        is_known = all(checksum >= 0 for _, checksum in stored.values())
        # An earlier run may have kept none: then they are those of what is there now.
        found[".".join(map(str, index))] = stored if stored and is_known else work.look(index)
    return found


def write_checksums(address: str, blocks: Checksums) -> Path:
    """Write checksums beside an output."""
    content = {
        "made_by": "volproc segment semantic",
        "algorithm": "CRC-32 of names and bytes of a block's chunk files, in raster order",
        "blocks": blocks,
    }
    path = checksums_path(address)
    write_bytes(path, json.dumps(content).encode() + b"\n")
    return path


def refuse_damaged(addresses: Mapping[str, str], grid: ChunkGrid) -> int:
    """Refuse a finished output whose chunk files are not those that were written.

    Parameters
    ----------
    addresses : mapping of str to str
        Where each product is; the class map first.
    grid : ChunkGrid
        The blocks of the run.

    Returns
    -------
    num_blocks : int
        Blocks that were looked at; 0 where no checksums are kept.

    Raises
    ------
    VerifyError
        Naming the damaged blocks.
    """
    path = checksums_path(next(iter(addresses.values())))
    try:
        blocks: Checksums = json.loads(path.read_text())["blocks"]
    except FileNotFoundError:
        return 0
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path} is damaged: {error!r}. Remove it, or segment again with checksums."
        raise VerifyError(msg) from error
    folders = {kind: ChunkFolder.of_image(address) for kind, address in addresses.items()}
    bad = [
        f"{name} of the {kind}"
        for name, stored in blocks.items()
        for kind, before in stored.items()
        if kind in folders and Stored(*before) != _look(folders[kind], grid, name)
    ]
    if bad:
        more = f" and {len(bad) - 4} more" if len(bad) > 4 else ""
        msg = (
            f"what is stored is not what was written: block {', '.join(bad[:4])}{more}, by their "
            f"checksums in {path.name}. A disk or somebody else changed the files: segment again."
        )
        raise VerifyError(msg)
    return len(blocks)


def _look(folder: ChunkFolder, grid: ChunkGrid, name: str) -> Stored:
    return folder.look(grid[tuple(map(int, name.split(".")))].write, checksums=True)
