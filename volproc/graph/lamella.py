"""Finding a lamella block by block, now, on an executor."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volproc.core.arrays import Source
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index, region_shape
from volproc.graph.chunks import Chunk
from volproc.graph.components import BlockReport, Collector
from volproc.graph.lamella_body import Lamella, LamellaFiles, RawLamella, refuse_empty
from volproc.graph.lamella_rule import Empty, LamellaRule, lamella_grid
from volproc.graph.run import run_stage
from volproc.io.chunk_files import write_array
from volproc.io.run_files import RunFiles
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.components import label_block
from volproc.reduce.runs import relabel_runs

CORNERS = 3
"""Connectivity: faces, edges and corners, 26 neighbours."""

SMOOTH, OUTLINE = "smooth", "outline"
"""Stages, for people."""


@dataclass(frozen=True, slots=True)
class SmoothWork:
    """Smooths one block and finds the components in it; their voxels wait on disk."""

    source: Source
    rule: LamellaRule
    grid: ChunkGrid
    files: RunFiles

    def __call__(self, index: Index) -> BlockReport:
        """Do one block."""
        region = self.grid[index].write
        found = label_block(
            self.rule.smooth(self.source, region),
            offset=tuple(side.start for side in region),
            shape=self.grid.shape,
            connectivity=CORNERS,
        )
        self.files.write(index, found.runs)
        return BlockReport(index, found.first, found.faces, found.table)


@dataclass(frozen=True, slots=True)
class OutlineWork:
    """Keeps what is needed of the one component that is the lamella in a block."""

    grid: ChunkGrid
    runs: RunFiles
    files: LamellaFiles

    def keep(self, index: Index, is_lamella: Any) -> None:
        """Say which local labels of a block belong to the lamella."""
        path = self._path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_array(path, np.asarray(is_lamella, np.uint8))

    def __call__(self, index: Index) -> dict[str, Any]:
        """Do one block."""
        region = self.grid[index].write
        is_lamella = np.load(self._path(index), allow_pickle=False)
        mask = relabel_runs(self.runs.read(index), is_lamella, region_shape(region), dtype=np.uint8)
        self.files.leave(Chunk(index, region), mask)
        return {"shape": region_shape(region)}

    def _path(self, index: Index) -> Path:
        return Path(self.files.path("kept")) / f"{'.'.join(map(str, index))}.npy"


def find_lamella(
    source: Source,
    rule: LamellaRule,
    *,
    folder: str,
    empty: Empty = "error",
    raw: Source | None = None,
    grid: ChunkGrid | None = None,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> Lamella:
    """Find the lamella of a map, block by block.

    Parameters
    ----------
    source : Source
        Probabilities, mask or classes, (z, y, x).
    rule : LamellaRule
        What to do.
    folder : str
        Scratch storage that all workers see; it has to stay as long as the result is read.
    empty : {"error", "keep-empty"}
        What becomes of a map without a lamella.
    raw : Source, optional
        What slices without lamella show in CryoSiam's way, instead of the map above the threshold.
    grid : ChunkGrid, optional
        Blocks, which change nothing in the result; by default those of `lamella_grid`.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    lamella : Lamella
        Gives any region of the mask.

    Raises
    ------
    ConfigError
        If there is no lamella and ``empty`` is "error".
    DtypeError, NonFiniteError
        If the voxels are none of a lamella.
    ShapeError
        If planes were asked for and none fit.

    Notes
    -----
    Each block is read once with the halo of the smoothing: with CryoSiam's, of 40, 20 and 20
    voxels, 192³ blocks read 2.1 times the volume. A worker holds some 20 bytes a voxel of that;
    the whole has one row a component and 16 bytes a line along x.
    """
    pool = pool_of(executor or SerialExecutor(), "cpu")
    grid = grid or lamella_grid(source)
    files = LamellaFiles(folder, grid.dask_chunks, rule.hull)
    runs = RunFiles(files.path("runs"))
    work, outline = SmoothWork(source, rule, grid, runs), OutlineWork(grid, runs, files)
    collector = Collector(grid.numblocks, CORNERS)
    indices = list(grid.indices())
    run_stage(
        SMOOTH,
        indices,
        work,
        executor=pool,
        observe=observe,
        collect=collector.add,
        total=len(grid),
    )
    objects, luts = collector.join()
    number = rule.choose(objects.count)
    if number is None:
        if empty == "error":
            raise rule.nothing(objects.count)
        return files.nothing()
    held = [i for i in indices if rule.hull == "none" or (luts[i] == number).any()]
    for index in held:
        outline.keep(index, luts[index] == number)
    run_stage(OUTLINE, held, outline, executor=pool, observe=observe, total=len(held))
    if rule.is_compatible and raw is None:
        raw = RawLamella(source, rule)
    chunks = [Chunk(index, grid[index].write) for index in held]
    return refuse_empty(files.gather(chunks, raw=raw), rule)
