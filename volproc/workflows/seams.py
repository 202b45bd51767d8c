"""Seam QA of a file: block by block, on an executor."""

from __future__ import annotations

from dataclasses import dataclass

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import Cuts
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.graph.seams import check_kind, find_cuts
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.seam_judgement import judge_seams
from volproc.reduce.seam_report import SeamReport, SeamRule
from volproc.reduce.seams import (
    BlockPlanes,
    Kind,
    PlaneCollector,
    Tiles,
    find_tiles,
    scan_block,
)
from volproc.workflows.record import read_record

STAGE = "seams"


@dataclass(frozen=True, slots=True)
class SeamWork:
    """Counts what happens at the planes of one block."""

    source: Source
    grid: ChunkGrid
    kind: Kind
    tiles: Tiles

    def __call__(self, index: Index) -> BlockPlanes:
        """Read one block and scan it."""
        region = self.grid[index].write
        return scan_block(
            self.source.read(region),
            kind=self.kind,
            index=index,
            offset=tuple(s.start for s in region),
            shape=self.source.shape,
            tiles=self.tiles,
        )


def check_seams(
    volume: Volume,
    *,
    chunks: Shape | Cuts | None = None,
    kind: Kind | None = None,
    rule: SeamRule | None = None,
    seed: int = 0,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> SeamReport:
    """Say whether a file shows the seams of the blocks that it was made in.

    Parameters
    ----------
    volume : Volume
        Opened from a file.
    chunks : tuple of int, or of tuples of int
        Blocks that it was made in; by default those that the record beside it names.
    kind, rule, seed
        As in `volproc.seam_report`.
    executor, observe
        Where blocks run, and who watches.

    Raises
    ------
    ConfigError
        If the blocks are not known, or do not fill the volume.

    Notes
    -----
    What is read at once follows the storage, not the blocks in question; each voxel is read
    once. Memory as in `volproc.seam_report`.
    """
    source = volume.source
    if source is None:
        msg = "the volume is computed, not opened from a file. Use volproc.seam_report."
        raise ConfigError(msg)
    meaning = check_kind(kind, volume.data, len(volume.channels))
    blocks = chunks or read_record(volume.address).get("chunks")
    if blocks is None:
        msg = (
            f"the blocks that {volume.address} was made in are not known: no record of "
            "`volproc segment semantic` lies beside it. Give them with chunks= (--chunks Z,Y,X)."
        )
        raise ConfigError(msg)
    cuts = find_cuts(tuple(blocks), volume.shape, ())
    grid = statistics_grid(source)
    collector = PlaneCollector(volume.shape)
    run_stage(
        STAGE,
        grid.indices(),
        SeamWork(source, grid, meaning, find_tiles(cuts)),
        executor=pool_of(executor or SerialExecutor(), "cpu"),
        observe=observe,
        collect=collector.add,
        total=len(grid),
    )
    return judge_seams(collector.finish(), cuts, rule=rule, seed=seed)
