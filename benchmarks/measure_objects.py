"""Measurements of all objects of a labelled volume against scikit-image, in one process.

Both work on the same array in memory, on one core: volproc block by block with Dask's synchronous
scheduler, scikit-image on the whole. The results are compared before anything is timed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage as ndi
from skimage.measure import regionprops_table
from skimage.segmentation import find_boundaries

from benchmarks.harness import ROOT, Case, compare, run
from volproc.graph.measure import measure as measure_objects

REAL = ROOT.parent / "shared" / "data" / "labels" / "ffn_fib25_segmentation.npz"
"""Neurites in electron microscopy, 250³; blobs take its place where it is missing."""

BASIC = ("num_pixels", "centroid", "bbox")
ALL = (
    *BASIC,
    "equivalent_diameter_area",
    "intensity_mean",
    "intensity_min",
    "intensity_max",
    "intensity_std",
    "axis_major_length",
    "axis_minor_length",
)
"""What volproc has as well, in scikit-image's words; surfaces come from `find_boundaries`."""


@dataclass(frozen=True)
class MeasureCase(Case):
    """Objects to measure."""

    chunks: int = 128
    """Side of the blocks."""

    with_all: bool = False
    """All properties, with an intensity; otherwise count, centroid and box."""

    is_real: bool = False
    """Crowded objects of a real segmentation, thinned to every fourth voxel; otherwise blobs."""


CASES = (
    # 100,000 objects, what everybody needs
    MeasureCase("blobs", (384, 384, 384)),
    MeasureCase("real", (496, 496, 496), is_real=True),
    # everything, on as many; scikit-image takes minutes
    MeasureCase("blobs-all", (384, 384, 384), with_all=True),
    MeasureCase("real-all", (496, 496, 496), with_all=True, is_real=True),
    # the same on a tenth, in less time
    MeasureCase("small-all", (192, 192, 192), with_all=True),
    # what small blocks cost
    MeasureCase("small-blocks", (384, 384, 384), chunks=48),
)

TINY = (
    MeasureCase("tiny", (40, 36, 44), chunks=16),
    MeasureCase("tiny-all", (40, 36, 44), chunks=16, with_all=True),
    MeasureCase("tiny-real", (70, 62, 66), chunks=32, with_all=True, is_real=True),
)


def tile(labels: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[np.uint32]:
    """Repeat a labelled volume up to a shape; each copy has labels of its own."""
    out = np.zeros(shape, np.uint32)
    greatest = int(labels.max())
    grid = tuple(-(-n // t) for n, t in zip(shape, labels.shape, strict=True))
    for number, place in enumerate(np.ndindex(grid)):
        region = tuple(
            slice(i * t, min((i + 1) * t, n))
            for i, t, n in zip(place, labels.shape, shape, strict=True)
        )
        part = labels[tuple(slice(s.stop - s.start) for s in region)].astype(np.uint32)
        out[region] = np.where(part == 0, 0, part + number * greatest)
    return out


def objects(case: MeasureCase) -> npt.NDArray[np.uint32]:
    """Labels of one case, seeded."""
    if case.is_real and Path(REAL).exists():
        return tile(np.load(REAL)["segmentation"][::4, ::4, ::4], case.shape)
    side = tuple(min(96, n) for n in case.shape)
    field = np.random.default_rng(0).standard_normal(side).astype(np.float32)
    field = ndi.gaussian_filter(field, 1.3, mode="wrap")
    return tile(ndi.label(field > np.quantile(field, 0.9))[0], case.shape)


def expected(labels: npt.NDArray[Any], intensity: npt.NDArray[Any] | None) -> pd.DataFrame:
    """Table of scikit-image."""
    names = BASIC if intensity is None else ALL
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of objects of one voxel
        table = regionprops_table(labels, intensity, properties=("label", *names))
    if intensity is not None:
        surface = labels[find_boundaries(labels, connectivity=1, mode="inner")]
        table["num_surface_voxels"] = np.bincount(surface, minlength=labels.max() + 1)[
            table["label"]
        ]
    return pd.DataFrame(table)


def measure(case: MeasureCase, repeats: int) -> dict[str, Any]:
    """Compare the measurements of one case with scikit-image's."""
    labels = objects(case)
    names: list[str] = [*BASIC]
    arrays = [da.from_array(labels, chunks=case.chunks, name=False)]
    intensity = None
    if case.with_all:
        intensity = np.random.default_rng(1).standard_normal(case.shape, np.float32) + 3
        arrays.append(da.from_array(intensity, chunks=case.chunks, name=False))
        names += [*ALL[len(BASIC) :], "num_surface_voxels"]

    def own() -> pd.DataFrame:
        lazy = measure_objects(*arrays, properties=names)
        frame: pd.DataFrame = lazy.compute(scheduler="sync")
        return frame

    found, table = own(), expected(labels, intensity)
    for i, axis in enumerate("zyx"):
        table = table.rename(
            columns={
                f"centroid-{i}": axis,
                f"bbox-{i}": f"{axis}_min",
                f"bbox-{i + 3}": f"{axis}_max",
            }
        )
    for name in table.columns:
        # float32 means of scikit-image, and roots of its rounding errors
        close = {"rtol": 1e-5, "atol": 1e-3 if "length" in name else 1e-6}
        np.testing.assert_allclose(found[name], table[name], err_msg=name, **close)
    record = compare(case, own, {"skimage": lambda: expected(labels, intensity)}, repeats=repeats)
    return record | {"num_objects": len(found)}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
