"""Operations on labels by block against the same on the whole volume, in one process.

Each baseline does what a user of scipy, scikit-image, fastremap or numpy would do with the whole
volume in memory. Blocks run on one thread, so that a ratio says what cutting and scratch storage
cost, and workers come on top. Results are compared before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import dask
import dask.array as da
import fastremap
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from skimage.measure import block_reduce

import volproc
from benchmarks.harness import Case, compare, run

Labels = npt.NDArray[Any]


@dataclass(frozen=True)
class OperationCase(Case):
    """Balls to work on."""

    chunks: tuple[int, ...]
    """Size of the blocks."""

    operation: str
    """Which one."""

    spacing: int = 32
    """Distance of the balls, voxels: how many objects there are."""


CASES = (
    # tables decide, one pass applies: what reading and writing scratch costs
    OperationCase("relabel", (256, 256, 256), (128, 128, 128), "relabel"),
    OperationCase("relabel-many", (256, 256, 256), (128, 128, 128), "relabel", spacing=8),
    OperationCase("filter", (256, 256, 256), (128, 128, 128), "filter"),
    # the whole-volume way goes object by object
    OperationCase("fill-holes", (256, 256, 256), (128, 128, 128), "fill_holes"),
    OperationCase("smooth", (256, 256, 256), (128, 128, 128), "smooth"),
    # votes
    OperationCase("majority", (256, 256, 256), (128, 128, 128), "majority"),
    # no scratch: one task a block
    OperationCase("downscale", (256, 256, 256), (128, 128, 128), "downscale"),
)

TINY = tuple(
    OperationCase(f"tiny-{name}", (24, 20, 28), (16, 8, 16), name, spacing=10)
    for name in ("relabel", "filter", "fill_holes", "smooth", "majority", "downscale")
)


def hollow_balls(case: OperationCase) -> npt.NDArray[np.uint32]:
    """Balls of several sizes on a grid, every second one hollow, with labels that leave gaps."""
    generator = np.random.default_rng(0)
    size = case.spacing
    axes = np.indices((size,) * 3) - (size - 1) / 2
    distance = np.sqrt((axes**2).sum(0))
    labels = np.zeros(case.shape, np.uint32)
    for number, corner in enumerate(np.ndindex(*(n // size for n in case.shape)), 1):
        radius = size * generator.uniform(0.3, 0.45)
        ball = (distance < radius) & ((number % 2 == 0) | (distance > radius - 2))
        place = tuple(slice(i * size, (i + 1) * size) for i in corner)
        labels[place] = ball * np.uint32(3 * number)
    return labels


def whole_fill(labels: Labels) -> Labels:
    """Each object in its own box."""
    out = labels.copy()
    for label, box in enumerate(ndi.find_objects(labels), 1):
        if box is not None:
            solid = ndi.binary_fill_holes(labels[box] == label)
            out[box][solid & (labels[box] == 0)] = label
    return out


def whole_smooth(labels: Labels) -> Labels:
    """Each object in its own box, as large as the blur reaches."""
    out, best = np.zeros_like(labels), np.full(labels.shape, 0.5)
    for label, box in enumerate(ndi.find_objects(labels), 1):
        if box is None:
            continue
        sigma = 0.05 * (6 * (labels[box] == label).sum() / pi) ** (1 / 3)
        reach = 2 * int(4 * sigma + 0.5) + 1
        wide = tuple(slice(max(0, s.start - reach), s.stop + reach) for s in box)
        value = ndi.gaussian_filter((labels[wide] == label).astype(float), sigma)
        wins = value > best[wide]
        best[wide][wins], out[wide][wins] = value[wins], label
    return out


def whole_majority(labels: Labels, classes: Labels) -> Labels:
    """Counts of all pairs at once."""
    counts = np.zeros((int(labels.max()) + 1, int(classes.max()) + 1), np.int64)
    np.add.at(counts, (labels.reshape(-1), classes.reshape(-1)), 1)
    winner = counts.argmax(1).astype(classes.dtype)
    winner[0] = 0
    return winner[labels]


def mode_of_cells(cells: Labels, axis: Any) -> Labels:
    """Most frequent label of each cell; an object before background, then the smaller label."""
    flat = np.sort(cells.reshape(*cells.shape[: -len(axis)], -1), axis=-1)
    counts = (flat[..., :, None] == flat[..., None, :]).sum(-1) * 2 + (flat > 0)
    best = counts.argmax(-1)
    return np.take_along_axis(flat, best[..., None], -1)[..., 0]


def contenders(case: OperationCase) -> tuple[Callable[[], Any], dict[str, Callable[[], Any]]]:
    """The operation by block, and its baseline by name."""
    labels = hollow_balls(case)
    lazy = da.from_array(labels, chunks=case.chunks)
    classes = (np.indices(case.shape).sum(0) // 7 % 3).astype(np.uint8)
    minimum = int(0.2 * case.spacing**3)
    few = labels.copy()
    few[np.bincount(labels.reshape(-1))[labels] < minimum] = 0

    def count_and_drop() -> Labels:
        sizes = np.bincount(labels.reshape(-1))
        return np.where(sizes[labels] < minimum, 0, labels)

    own, name, whole = {
        "relabel": (
            lambda: volproc.relabel(lazy)[0],
            "fastremap",
            lambda: fastremap.renumber(labels, in_place=False)[0],
        ),
        "filter": (
            lambda: volproc.filter_objects(lazy, min_voxels=minimum), "numpy", count_and_drop
        ),
        "fill_holes": (lambda: volproc.fill_holes(lazy), "scipy", lambda: whole_fill(labels)),
        "smooth": (lambda: volproc.smooth(lazy), "scipy", lambda: whole_smooth(labels)),
        "majority": (
            lambda: volproc.majority(lazy, da.from_array(classes, chunks=case.chunks))[0],
            "numpy",
            lambda: whole_majority(labels, classes),
        ),
        "downscale": (
            lambda: volproc.downscale(lazy, 2),
            "scikit-image",
            lambda: block_reduce(labels, (2, 2, 2), mode_of_cells),
        ),
    }[case.operation]  # fmt: skip
    return lambda: dask.compute(own(), scheduler="sync")[0], {name: whole}


def measure(case: OperationCase, repeats: int) -> dict[str, Any]:
    """Compare one operation by block with the same on the whole volume."""
    own, baselines = contenders(case)
    for name, baseline in baselines.items():
        found, expected = own(), baseline()
        if (found != expected).any():
            msg = f"{case.name}: {(found != expected).sum()} voxels differ from {name}."
            raise AssertionError(msg)
    return compare(case, own, baselines, repeats=repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
