"""Watershed and distances by block against the whole volume, in one process.

Touching balls in a mask are flooded object by object, as particles are; a landscape without a mask
is flooded as a forest. What the blocks give is compared with the whole volume's result before
anything is timed. Blocks run in two threads, the baselines in one, as they have no other way: the
ratio says what chunking brings and costs together.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from skimage.segmentation import watershed as watershed_skimage

from benchmarks.harness import Case, Contender, compare, run
from volproc.graph.distance import distance
from volproc.graph.watershed import watershed
from volproc.reduce.forest import flood_forest

MAX_DISTANCE = 12.0
"""Bound of the distances, voxels."""


@dataclass(frozen=True)
class WatershedCase(Case):
    """Something to flood, or to measure distances in."""

    chunks: tuple[int, ...]
    """Size of the blocks."""

    what: Literal["particles", "landscape", "distance"]
    """Balls in a mask, method ``objects``; heights without a mask, method ``forest``; distances
    within the balls."""

    num_markers: int
    """Balls, or voxels to begin at."""


CASES = (
    # objects much smaller than blocks, on 4 % of the voxels: the usual case
    WatershedCase("particles", (100, 448, 448), (100, 112, 112), "particles", 250),
    # crowded: a third of the voxels, long chains of touching balls
    WatershedCase("crowded", (128, 256, 256), (64, 128, 128), "particles", 1500),
    # one basin after the other, all of the volume, plateaus of 256 heights
    WatershedCase("landscape", (96, 192, 192), (48, 96, 96), "landscape", 200),
    # few markers: costs travel through many blocks
    WatershedCase("far", (96, 192, 192), (48, 48, 48), "landscape", 10),
    # distances alone
    WatershedCase("distance", (128, 256, 256), (64, 128, 128), "distance", 1500),
)

TINY = (
    WatershedCase("tiny-particles", (16, 40, 48), (8, 20, 24), "particles", 20),
    WatershedCase("tiny-landscape", (16, 24, 28), (8, 16, 16), "landscape", 6),
    WatershedCase("tiny-distance", (16, 40, 48), (8, 20, 24), "distance", 20),
)


def balls(case: WatershedCase) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int32]]:
    """Mask of balls that touch at times, of radius 5 to 8, and a marker in the middle of each."""
    rng = np.random.default_rng(0)
    mask, markers = np.zeros(case.shape, bool), np.zeros(case.shape, np.int32)
    for k in range(1, case.num_markers + 1):
        centre = [int(rng.integers(2, n - 2)) for n in case.shape]
        radius = rng.uniform(5, 8)
        box = tuple(slice(max(0, c - 8), c + 9) for c in centre)
        axes = np.ogrid[
            tuple(slice(s.start, min(s.stop, n)) for s, n in zip(box, case.shape, strict=True))
        ]
        inside = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2
        mask[box] |= inside
        markers[tuple(centre)] = k
    return mask, markers


def landscape(case: WatershedCase) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    """Smooth hills of 256 heights, and single voxels to begin at."""
    rng = np.random.default_rng(0)
    field = ndi.gaussian_filter(rng.standard_normal(case.shape).astype(np.float32), 3)
    heights = np.round((field - field.min()) / np.ptp(field) * 255).astype(np.uint8)
    markers = np.zeros(case.shape, np.int32)
    places = rng.choice(markers.size, case.num_markers, replace=False)
    markers.reshape(-1)[places] = np.arange(1, case.num_markers + 1)
    return heights, markers


class Runs(logging.Handler):
    """Keeps how often blocks were worked on until they settled."""

    def __init__(self) -> None:
        super().__init__()
        self.num_blocks = self.num_runs = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take the two numbers of the message."""
        self.num_blocks, self.num_runs = record.args  # type: ignore[misc, assignment]


def measure(case: WatershedCase, repeats: int) -> dict[str, Any]:
    """Compare one case with the whole volume."""
    if case.what == "landscape":
        return _measure_forest(case, repeats)
    mask, markers = balls(case)
    lazy_mask = da.from_array(mask, chunks=case.chunks)
    if case.what == "distance":
        baselines: dict[str, Contender] = {"scipy": lambda: ndi.distance_transform_edt(mask)}
        lazy: da.Array = distance(lazy_mask, MAX_DISTANCE)
        expected = np.minimum(baselines["scipy"](), MAX_DISTANCE).astype(np.float32)
        share = 1.0
    else:
        heights = -ndi.distance_transform_edt(mask).astype(np.float32)
        baselines = {"skimage": lambda: watershed_skimage(heights, markers, mask=mask)}
        inputs = (da.from_array(a, chunks=case.chunks) for a in (heights, markers))
        lazy = watershed(*inputs, mask=lazy_mask)
        expected = baselines["skimage"]()
        share = 0.99  # where equal heights compete, the order of scikit-image's queue decides
    found = lazy.compute(num_workers=2)
    equal = float((found[mask] == expected[mask]).mean())
    if equal < share or (found[~mask] != expected[~mask]).any():
        msg = f"{case.name}: {equal:.4f} of the voxels are as in the whole volume."
        raise AssertionError(msg)
    with dask.config.set(num_workers=2):
        record = compare(case, lazy.compute, baselines, repeats=repeats)
    return record | {"equal": round(equal, 6)}


def _measure_forest(case: WatershedCase, repeats: int) -> dict[str, Any]:
    heights, markers = landscape(case)
    baselines: dict[str, Contender] = {
        "whole": lambda: flood_forest(heights, markers),
        "skimage": lambda: watershed_skimage(heights, markers),
    }
    inputs = (da.from_array(a, chunks=case.chunks) for a in (heights, markers))
    lazy = watershed(*inputs, method="forest", num_threads=2)
    runs, logger = Runs(), logging.getLogger("volproc.graph.forest")
    logger.setLevel(logging.INFO)
    logger.addHandler(runs)
    found = lazy.compute(num_workers=2)
    logger.removeHandler(runs)
    if (found != baselines["whole"]()).any():
        msg = f"{case.name}: the labels differ from those of the whole volume."
        raise AssertionError(msg)
    agreement = float((found == baselines["skimage"]()).mean())
    with dask.config.set(num_workers=2):
        record = compare(case, lazy.compute, baselines, repeats=repeats)
    return record | {
        "num_blocks": runs.num_blocks,
        "runs_per_block": round(runs.num_runs / runs.num_blocks, 2),
        "agreement_with_skimage": round(agreement, 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
