"""Labelling from zarr to zarr on two worker processes, against whole volumes in one process.

All contenders read the same array, and write the same OME-Zarr image with its pyramid. The memory
of the workers is watched from outside: the kernel's high-water mark of each process.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cc3d
import dask.array as da
import numpy as np
import numpy.typing as npt
import psutil
import zarr
from distributed import Client, LocalCluster
from scipy import ndimage as ndi

import volproc
from benchmarks.harness import ROOT, Case, Contender, compare, run
from benchmarks.label_blocks import LabelCase, blobs
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.io.create import create, write_whole

try:
    from dask_image.ndmeasure import label as label_dask_image
except ImportError:  # a baseline only: the others say enough
    label_dask_image = None

REAL = ROOT.parent / "shared" / "data" / "labels" / "ffn_fib25_segmentation.npz"
"""Dense instances, 250³, as classes of one byte; tiled. Its cases are left out without it."""

VOXEL_SIZE = (10.0, 10.0, 10.0)


@dataclass(frozen=True)
class StoreCase(Case):
    """A volume on disk."""

    chunks: tuple[int, ...] = (128, 128, 128)
    """Blocks, which are the storage chunks too."""

    is_real: bool = False
    """Real labels instead of blobs."""

    baselines: tuple[str, ...] = ("cc3d", "scipy")
    """Whole volumes that are compared; none where only the workers' memory counts. dask-image's
    graph is quadratic in the number of blocks: 512³ does not end in minutes."""


CASES = (
    StoreCase("blobs-256", (256, 256, 256), baselines=("cc3d", "scipy", "dask_image")),
    # as many blocks as dask-image can do in a minute
    StoreCase("blobs-256-small", (256, 256, 256), (64, 64, 64), baselines=("cc3d", "dask_image")),
    # the promise
    StoreCase("blobs-512", (512, 512, 512)),
    StoreCase("neurons-512", (512, 512, 512), is_real=True),
    # four times the voxels: memory must stay
    StoreCase("blobs-1024", (512, 1024, 1024), baselines=()),
)

TINY = (StoreCase("tiny", (40, 30, 50), (40, 30, 32), baselines=("cc3d", "scipy", "dask_image")),)


def voxels(case: StoreCase) -> npt.NDArray[np.uint8]:
    """What is labelled."""
    if not case.is_real:
        return blobs(LabelCase(case.name, case.shape, case.chunks))
    with np.load(REAL) as file:
        tile = file["segmentation"]
    repeats = [-(-n // t) for n, t in zip(case.shape, tile.shape, strict=True)]
    return np.tile(tile, repeats)[tuple(slice(n) for n in case.shape)]


class Workers:
    """Two worker processes, watched from outside."""

    def __init__(self) -> None:
        self.cluster = LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        )
        self.client = Client(self.cluster)
        self.processes = [psutil.Process(pid) for pid in self.client.run(_pid).values()]
        self.bare_bytes = max(p.memory_info().rss for p in self.processes)

    def peak_bytes(self, function: Contender) -> int:
        """Greatest resident memory of a worker during one call, its libraries included."""
        for process in self.processes:
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")
        function()
        return max(_high_water_bytes(process.pid) for process in self.processes)

    def close(self) -> None:
        """Stop the processes."""
        self.client.close()
        self.cluster.close()


def _pid() -> int:
    return psutil.Process().pid


def _high_water_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(s for s in lines if s.startswith("VmHWM")).split()[1]) * 1024


def contenders_of(case: StoreCase, folder: Path) -> dict[str, Contender]:
    """Functions that read ``in.zarr`` and write an image named after them."""
    source = str(folder / "in.zarr")

    def own() -> None:
        labels, _ = volproc.label(Volume(da.from_zarr(source), VOXEL_SIZE))
        volproc.save(labels, folder / "own.zarr", overwrite=True)

    def whole(name: str, find: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]) -> Contender:
        def call() -> None:
            labels = find(zarr.open(source, mode="r")[:])
            write_whole(
                create(
                    folder / f"{name}.zarr",
                    shape=labels.shape,
                    dtype=np.uint32,
                    voxel_size=VOXEL_SIZE,
                    kind="labels",
                    overwrite=True,
                ),
                labels,
            )

        return call

    def with_dask_image() -> None:
        labels = label_dask_image(da.from_zarr(source))[0].astype(np.uint32)
        volproc.save(Volume(labels, VOXEL_SIZE), folder / "dask_image.zarr", overwrite=True)

    known = {
        "cc3d": whole("cc3d", _find_cc3d),
        "scipy": whole("scipy", lambda mask: ndi.label(mask)[0]),
    }
    if label_dask_image is not None:
        known["dask_image"] = with_dask_image
    return {"own": own} | {name: known[name] for name in case.baselines if name in known}


def _find_cc3d(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return cc3d.connected_components(mask, connectivity=6, out_dtype=np.uint32)


def measure(case: StoreCase, repeats: int) -> dict[str, Any]:
    """Compare one case with its baselines."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        da.from_array(voxels(case), chunks=case.chunks).to_zarr(str(folder / "in.zarr"))
        workers = Workers()
        try:
            contenders = contenders_of(case, folder)
            for contender in contenders.values():
                contender()
            if "cc3d" in contenders:
                _check_equal(folder)
            peak = workers.peak_bytes(contenders["own"])
            record = compare(case, contenders.pop("own"), contenders, repeats=repeats)
        finally:
            workers.close()
    return record | {"worker_peak_bytes": peak, "worker_bare_bytes": workers.bare_bytes}


def _check_equal(folder: Path) -> None:
    one, other = (volproc.open(folder / f"{n}.zarr").data for n in ("own", "cc3d"))
    for chunk in iterate_chunks(one.chunks):
        if (one[chunk.region].compute() != other[chunk.region].compute()).any():
            msg = f"labels differ from those of cc3d in {chunk.region}."
            raise AssertionError(msg)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    cases = [case for case in CASES if REAL.exists() or not case.is_real]
    return run(__doc__ or "", measure, cases, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
