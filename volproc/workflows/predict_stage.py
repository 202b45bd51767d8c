"""The blocks of a segmentation: run, gone on with after a kill, and doubted where files changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from volproc.core.events import Event, Observer
from volproc.core.executor import Executor
from volproc.core.types import Index
from volproc.graph.ledger import Ledger
from volproc.graph.predict_job import PredictJob
from volproc.graph.predict_work import PredictWork
from volproc.graph.run import run_stage
from volproc.graph.tile_block import TilePredictJob
from volproc.graph.tile_block_work import TileBlockWork
from volproc.io.omezarr_write import OmeZarrSink
from volproc.io.stored_chunks import ChunkFolder
from volproc.workflows.outputs import STAGE

CHECK = "check"
"""Stage in which stored chunks are compared with their checksums."""

BlockWork: TypeAlias = PredictWork | TileBlockWork
"""Does a block of blended patches, or the tiles of one pass."""


def run_blocks(work: BlockWork, ledger: Ledger, runner: Executor, observe: Observer) -> int:
    """Predict all blocks that are not finished.

    Parameters
    ----------
    work : PredictWork or TileBlockWork
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
    work: BlockWork, ledger: Ledger, runner: Executor, observe: Observer
) -> list[Index]:
    """Take the markers of blocks away whose chunk files are not what was written.

    Sizes are compared always, which costs a look at each file; checksums where the task and the
    earlier run have them, which reads the files.

    Parameters
    ----------
    work : PredictWork or TileBlockWork
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
                ChunkFolder.of_sink(product.store).remove(work.job.grid[index].write)
    return damaged


def is_damaged(work: BlockWork, index: Index, facts: Mapping[str, Any]) -> bool:
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

    work: BlockWork
    ledger: Ledger

    def __call__(self, index: Index) -> list[Index]:
        """Blocks of one row that are damaged."""
        row = self.ledger.finished(STAGE, index[0])
        return [found for found, facts in row if is_damaged(self.work, found, facts)]


def _drop_spill(job: PredictJob | TilePredictJob) -> Callable[[Index, Any], None]:
    """Remove the strips that a finished block has taken; those along z wait a layer for that."""

    def collect(index: Index, facts: Any) -> None:
        for giver in job.needs(index):
            for spill in job.spills:
                spill.drop_strip(giver, index)

    return collect
