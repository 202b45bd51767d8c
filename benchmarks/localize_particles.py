"""Particle centres by block against the same algorithm on the whole volume, in one process.

The baseline is Octopi's localization written with scipy and scikit-image: opening, Euclidean
distance, peaks of a window, watershed, sizes, centres. Both find the same centres, which is
checked before anything is timed. Blocks run on two threads; the baseline has no second one to use.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from benchmarks.harness import Case, compare, run
from volproc.core.volume import Volume
from volproc.graph.localize import localize
from volproc.reduce.particle_rule import Ties

NUM_WORKERS = 2

VOXEL_SIZE = 10.0
"""Å per voxel."""

RADIUS = 10
"""Radius of the largest particle, voxels."""


SMALLEST, LARGEST = 0.2, 1.5
"""Sizes as parts of the greatest radius; the smallest also merges, and hardly ever does."""


@dataclass(frozen=True)
class LocalizeCase(Case):
    """Balls to find."""

    chunks: tuple[int, ...]
    """Size of the blocks."""

    num_particles: int
    """Balls of 5 to 10 voxels, at random: some touch, and some overlap."""

    ties: Ties = "scikit-image"
    """As in `volproc.localize`; in raster order the centres may differ where balls touch."""


CASES = (
    # a tomogram: the figure of the issue
    LocalizeCase("tomogram", (200, 640, 640), (128, 128, 128), 1000),
    # without the last step, which one task does for all particles
    LocalizeCase("tomogram-raster", (200, 640, 640), (128, 128, 128), 1000, "raster"),
)

TINY = (
    LocalizeCase("tiny", (40, 60, 70), (24, 32, 40), 25),
    LocalizeCase("tiny-raster", (40, 60, 70), (24, 32, 40), 25, "raster"),
)


def balls(case: LocalizeCase) -> npt.NDArray[np.uint8]:
    """Map of one class, seeded."""
    rng = np.random.default_rng(0)
    classes = np.zeros(case.shape, np.uint8)
    for _ in range(case.num_particles):
        radius = int(rng.integers(RADIUS // 2, RADIUS + 1))
        centre = [int(rng.integers(0, n)) for n in case.shape]
        box = tuple(
            slice(max(0, c - radius), min(n, c + radius + 1))
            for c, n in zip(centre, case.shape, strict=True)
        )
        squared = sum((g - c) ** 2 for g, c in zip(np.ogrid[box], centre, strict=True))
        classes[box][squared <= radius**2] = 1
    return classes


def whole_volume(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Centres before neighbours are merged, with scipy and scikit-image."""
    mask = classes == 1
    box = ndi.find_objects(mask.view(np.uint8))[0]
    opened = ndi.binary_opening(mask[box])
    distance = ndi.distance_transform_edt(opened).astype(np.float32)
    peaks = (ndi.maximum_filter(distance, size=10) == distance) & opened
    markers, count = ndi.label(peaks)
    labels = watershed(-distance, markers, mask=opened)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    ball = 4 / 3 * pi * RADIUS**3
    kept = np.flatnonzero((sizes >= ball * SMALLEST**3) & (sizes <= ball * LARGEST**3))
    kept = kept[kept > 0]
    centres = np.array(ndi.center_of_mass(labels > 0, labels, kept))
    return centres + [s.start for s in box]


def measure(case: LocalizeCase, repeats: int) -> dict[str, Any]:
    """Compare block by block with the whole volume."""
    classes = balls(case)
    volume = Volume(da.from_array(classes, chunks=case.chunks), (VOXEL_SIZE,) * 3)

    def own() -> npt.NDArray[np.float64]:
        lazy = localize(
            volume,
            {"ball": RADIUS * VOXEL_SIZE},
            class_values={"ball": 1},
            radius_min_scale=SMALLEST,
            radius_max_scale=LARGEST,
            ties=case.ties,
            border=0,
        )
        found = lazy.compute(scheduler="threads", num_workers=NUM_WORKERS)
        centres: npt.NDArray[np.float64] = found.zyx
        return centres

    found, expected = own(), whole_volume(classes)
    if case.ties == "scikit-image":
        nearest = np.abs(found[:, None] - expected).max(axis=2).min(axis=1)
        unmerged = np.mean(nearest < 1e-6)
        if unmerged < 0.99 or len(found) < 0.99 * len(expected):
            msg = f"{case.name}: {unmerged:.3f} of {len(found)} centres are the whole volume's."
            raise AssertionError(msg)
    return compare(case, own, {"scikit-image": lambda: whole_volume(classes)}, repeats=repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
