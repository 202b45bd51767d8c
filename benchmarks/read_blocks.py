"""Reading block by block through `volproc.open`, against what lies beneath, in one process.

An MRC file is held against a plain NumPy memory map of the same bytes, zarr and HDF5 against
their own libraries. Every contender opens the file anew, takes the same blocks in the same order,
and looks at each voxel once; ``source`` is what tasks of volproc read with, without Dask. Files
are in the page cache, so that the figures are of code and not of disks. A ratio of 1.25 is a
speed of 0.8.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import h5py
import numpy as np
import numpy.typing as npt
import zarr

from benchmarks.harness import Case, compare, run
from volproc.core.types import Region
from volproc.core.volume import Volume
from volproc.graph.save import save
from volproc.io.open import open_
from volproc.plan.blocks import ChunkGrid

Read = Callable[[Region], npt.NDArray[Any]]

MRC_HEAD_BYTES = 1024


@dataclass(frozen=True)
class ReadCase(Case):
    """A volume in a format, and the blocks that it is read in."""

    format: Literal["mrc", "zarr", "h5"]
    """Ending of the file."""

    chunks: tuple[int, int, int] | None = None
    """Size of the blocks; by default as the volume is opened."""


CASES = [
    # as opened: some 64 MiB a block
    ReadCase("mrc", (512, 512, 512), "mrc"),
    ReadCase("zarr", (512, 512, 512), "zarr"),
    ReadCase("hdf5", (512, 512, 512), "h5"),
    # blocks of 8 MiB in rows of 512 bytes: what Dask takes for a task shows
    ReadCase("mrc-blocks", (256, 512, 512), "mrc", (128, 128, 128)),
    ReadCase("zarr-blocks", (256, 512, 512), "zarr", (128, 128, 128)),
    # storage chunks one by one: the price of asking
    ReadCase("zarr-chunks", (256, 512, 512), "zarr", (64, 64, 64)),
]

TINY = [
    ReadCase("tiny-mrc", (24, 40, 32), "mrc", (16, 16, 16)),
    ReadCase("tiny-zarr", (24, 40, 32), "zarr", (16, 16, 16)),
    ReadCase("tiny-hdf5", (24, 40, 32), "h5", (16, 16, 16)),
]


def make_file(case: ReadCase, folder: Path) -> Path:
    """Noise that compresses a little, as tomograms do."""
    generator = np.random.default_rng(0)
    voxels = np.round(generator.normal(0, 30, case.shape)).astype(np.float32)
    path = folder / f"volume.{case.format}"
    volume = Volume(da.from_array(voxels, chunks=(64, *case.shape[1:])), (10.0,) * 3)
    save(volume, path)
    return path


def open_beneath(case: ReadCase, path: Path) -> Read:
    """Open with a memory map, or the format's own library."""
    if case.format == "mrc":
        mapped = np.memmap(path, np.float32, "r", MRC_HEAD_BYTES, case.shape)
        return lambda region: mapped[region]
    if case.format == "zarr":
        array = zarr.open(str(path), "r")["0"]
        return lambda region: array[region]
    dataset = h5py.File(path, "r")["data"]
    return lambda region: dataset[region]


def look(block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Look at each voxel: the greatest one."""
    return np.full((1, 1, 1), block.max(), np.float32)


def measure(case: ReadCase, repeats: int) -> dict[str, Any]:
    """Compare the reading of one case with its baselines."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_file(case, Path(folder))
        grid = ChunkGrid(case.shape, open_(path, chunks=case.chunks).data.chunksize)
        regions = [grid[index].write for index in grid.indices()]

        def through_dask() -> npt.NDArray[np.float32]:
            data = open_(path, chunks=case.chunks).data
            meta = np.empty((0, 0, 0), np.float32)
            looks = data.map_blocks(look, dtype=np.float32, chunks=(1, 1, 1), meta=meta)
            return looks.compute(scheduler="sync").ravel()

        def beneath() -> npt.NDArray[np.float32]:
            read = open_beneath(case, path)
            return np.concatenate([look(read(region)).ravel() for region in regions])

        def source() -> npt.NDArray[np.float32]:
            volume = open_(path)
            assert volume.source is not None
            read = volume.source.read
            return np.concatenate([look(read(region)).ravel() for region in regions])

        if not (through_dask() == beneath()).all() or not (source() == beneath()).all():
            msg = f"{case.name}: the contenders do not read the same voxels."
            raise AssertionError(msg)
        name = {"mrc": "memmap", "zarr": "zarr", "h5": "h5py"}[case.format]
        return compare(case, through_dask, {name: beneath, "source": source}, repeats=repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
