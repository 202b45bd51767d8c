"""The blocks of a segmentation: run, gone on with after a kill, and doubted where files changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volproc.core.errors import ConfigError
from volproc.core.events import Event, Observer
from volproc.core.executor import Executor
from volproc.core.types import Index
from volproc.graph.block_predict import PredictJob
from volproc.graph.ledger import Ledger
from volproc.graph.predict_work import PredictWork
from volproc.graph.run import run_stage
from volproc.io.chunk_files import write_bytes
from volproc.io.omezarr_write import OmeZarrSink
from volproc.io.stored_chunks import look_at_chunks, remove_chunks
from volproc.workflows.outputs import STAGE
from volproc.workflows.record import record_path

CHECK = "check"
"""Stage in which stored chunks are compared with their checksums."""


def run_blocks(work: PredictWork, ledger: Ledger, runner: Executor, observe: Observer) -> int:
    """Predict all blocks that are not finished.

    Parameters
    ----------
    work : PredictWork
        Does one block.
    ledger : Ledger
        Knows which are finished.
    runner, observe
        Where blocks run, and who watches.

    Returns
    -------
    num_skipped : int
        Blocks that were finished before.
    """
    job = work.job
    done = ledger.done(STAGE)
    run_stage(
        STAGE,
        job.grid.indices(),
        work,
        executor=runner,
        observe=observe,
        ledger=ledger,
        needs=job.needs,
        collect=_drop_spill(job),
        total=len(job.grid),
    )
    return len(done)


def revoke_damaged(
    work: PredictWork, ledger: Ledger, runner: Executor, observe: Observer
) -> list[Index]:
    """Take the markers of blocks away whose chunk files are not what was written.

    Sizes are compared always, which costs a look at each file; checksums where the task and the
    earlier run have them, which reads the files.

    Parameters
    ----------
    work : PredictWork
        Wrote the blocks.
    ledger : Ledger
        Holds what was written.
    runner, observe
        Where blocks are looked at, and who watches.

    Returns
    -------
    damaged : list of index
        Blocks that are computed again.
    """
    damaged: list[Index] = []
    rows = sorted({index[0] for index in ledger.done(STAGE)}) if work.checksums else []
    if rows:
        run_stage(
            CHECK,
            ((row,) for row in rows),
            CheckWork(work, ledger),
            executor=runner,
            observe=observe,
            collect=lambda _, found: damaged.extend(found),
            total=len(rows),
        )
    elif not work.checksums:
        damaged += (i for i, facts in ledger.finished(STAGE) if is_damaged(work, i, facts))
    for index in sorted(damaged):
        text = f"what is stored of block {index} is damaged: it is done again"
        observe(Event("note", STAGE, text=text))
        ledger.revoke(STAGE, index)
        for product in work.job.products:
            if isinstance(product.store, OmeZarrSink):
                remove_chunks(product.store, work.job.grid[index].write)
    return damaged


def is_damaged(work: PredictWork, index: Index, facts: Mapping[str, Any]) -> bool:
    """Whether the chunk files of a block differ from what its marker says of them."""
    before = facts.get("stored", {})
    has_checksums = work.checksums and all(checksum >= 0 for _, checksum in before.values())
    now = work.look(index, checksums=has_checksums)
    return any(
        (now[kind] if has_checksums else now[kind][:1])
        != (tuple(before[kind]) if has_checksums else (before[kind][0],))
        for kind in now.keys() & before.keys()
    )


@dataclass(frozen=True, slots=True)
class CheckWork:
    """Looks for damage in a row of blocks, all with the same first index."""

    work: PredictWork
    ledger: Ledger

    def __call__(self, index: Index) -> list[Index]:
        """Blocks of one row that are damaged."""
        row = self.ledger.finished(STAGE, index[0])
        return [found for found, facts in row if is_damaged(self.work, found, facts)]


def checksums_path(address: str) -> Path:
    """File beside an output with the checksums of its chunk files.

    >>> checksums_path("out/classes.zarr").as_posix()
    'out/classes.zarr.checksums.json'
    """
    path = record_path(address)
    return path.with_name(f"{path.name.removesuffix('.json')}.checksums.json")


def refuse_checksums(addresses: Mapping[Any, str]) -> None:
    """Refuse checksums of outputs that have no chunk files.

    Raises
    ------
    ConfigError
    """
    for address in addresses.values():
        if not address.lower().endswith(".zarr"):
            msg = (
                f"checksums are kept of the chunk files of OME-Zarr, and {address} has none. Write "
                "to a name that ends in .zarr, or leave checksums out."
            )
            raise ConfigError(msg)


def write_checksums(address: str, work: PredictWork, ledger: Ledger) -> None:
    """Write the checksums of all blocks beside the output, if they are kept."""
    if not work.checksums:
        return
    blocks = {
        ".".join(map(str, index)): facts.get("stored") or work.look(index)
        for index, facts in sorted(ledger.finished(STAGE))
    }
    content = {
        "made_by": "volproc segment semantic",
        "algorithm": "CRC-32 of names and bytes of a block's chunk files, in raster order",
        "block": "index in the blocks of the run: bytes, checksum of each product",
        "blocks": blocks,
    }
    write_bytes(checksums_path(address), json.dumps(content).encode() + b"\n")


def find_damaged(
    address: str, sinks: Mapping[str, OmeZarrSink], regions: Mapping[str, Any]
) -> list[str]:
    """Compare the chunk files of a finished output with their checksums.

    Parameters
    ----------
    address : str
        Class map, beside which the checksums lie.
    sinks : mapping of str to OmeZarrSink
        The products, as they were written.
    regions : mapping of str to Region
        Write region of each block, by its index with dots between.

    Returns
    -------
    damaged : list of str
        Blocks, as in ``regions``, with their product.
    """
    blocks = json.loads(checksums_path(address).read_text())["blocks"]
    return [
        f"{name} of the {kind}"
        for name, stored in blocks.items()
        for kind, before in stored.items()
        if tuple(before)
        != look_at_chunks(
            sinks[kind], regions[name], checksums=True, folder=Path(sinks[kind].address)
        )
    ]


def _drop_spill(job: PredictJob) -> Callable[[Index, Any], None]:
    """Remove the strips that a finished block has taken: those along z wait longest, for a layer."""

    def collect(index: Index, facts: Any) -> None:
        for giver in job.needs(index):
            job.spill.drop_strip(giver, index)

    return collect
