"""Validation by picks: particles in the class map of a volume, against those that are known.

class map ──► open ──► components ──► watershed ──► sizes ──► merge ──► centres ──► F-beta
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from volproc.core.types import ZYX, Shape
from volproc.metrics.matching import match_points
from volproc.reduce.centres import away_from_border, merge_near, size_limits
from volproc.reduce.centres_watershed import (
    ObjectVoxels,
    class_boxes,
    flood_regions,
    narrow_classes,
    open_classes,
    split_object,
)
from volproc.reduce.centres_window import reach_of
from volproc.reduce.components import label_block
from volproc.reduce.tables import ObjectTable

FILTER_SIZE = 10
"""Side of the window in which the middle of a particle is the thickest place, voxels."""

MIN_SCALE, MAX_SCALE = 0.5, 1.0
"""Smallest and largest particle: balls of these parts of the radius."""

BORDER = 0.005
"""Part of the volume's size in which particles are left out."""

DISTANCE_SCALE = 0.5
"""Longest distance of a right pick from a true one, in radii: Kaggle's rule."""

MOST_PARTICLES = 64
"""Objects larger than so many of the largest particles are no crowds but a network that has not
learnt yet; they are left out, since splitting them takes memory and time."""

Centres = dict[int, npt.NDArray[np.float64]]
"""Class value → centres, voxels, (n, 3)."""


def find_centres(
    classes: npt.NDArray[np.uint8], radii: Mapping[int, float], voxel_size: ZYX[float]
) -> Centres:
    """Find the particles of a class map in memory, as `volproc localize` does by default.

    Parameters
    ----------
    classes : ndarray of uint8, (z, y, x)
        Class map.
    radii : mapping of int to float
        Radius of each particle class, Å, by its value.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).

    Returns
    -------
    centres : dict of int to ndarray of float, (n, 3)
        For each value of ``radii``, voxels.

    Notes
    -----
    Objects of more than `MOST_PARTICLES` particles are left out, which `volproc localize` splits.
    """
    values = sorted(radii)
    limits = {
        value: size_limits(radii[value], voxel_size, MIN_SCALE, MAX_SCALE) for value in values
    }
    regions = flood_regions(
        _split(narrow_classes(classes, values), [limits[v][1] for v in values], voxel_size),
        classes.shape,
        in_raster_order=False,
    )
    unit = voxel_size[0]
    lengths = tuple(size / unit for size in voxel_size)
    found: Centres = {}
    for number, value in enumerate(values, 1):
        low, high = limits[value]
        fits = regions.select(
            (regions.classes == number) & (regions.count >= low) & (regions.count <= high)
        )
        centres, _ = merge_near(fits.centres, fits.count, radii[value] / unit * MIN_SCALE, lengths)
        found[value] = centres[away_from_border(centres, classes.shape, BORDER)]
    return found


def _split(
    narrow: npt.NDArray[np.uint8], largest: Sequence[int], voxel_size: ZYX[float]
) -> list[ObjectVoxels]:
    """Objects of an opened map, each with its markers."""
    shape: Shape = narrow.shape
    boxes = class_boxes(narrow, len(largest), (0, 0, 0))
    opened = open_classes(narrow)
    table: ObjectTable = label_block(opened, offset=(0, 0, 0), shape=shape, connectivity=1).table
    if not len(table):
        return []
    assert table.classes is not None  # they were found in a class map
    reach = np.array(reach_of(FILTER_SIZE, voxel_size))
    voxels = []
    for row, number in enumerate(table.classes.tolist()):
        if table.count[row] > MOST_PARTICLES * max(largest[number - 1], 1):
            continue
        lower, upper = table.lower[row], table.upper[row]
        start = np.maximum(lower - reach, boxes[number - 1, 0])
        stop = np.minimum(upper + reach, boxes[number - 1, 1])
        view = opened[tuple(map(slice, start.tolist(), stop.tolist()))]
        voxels.append(
            split_object(
                np.ascontiguousarray(view),
                offset=tuple(start.tolist()),
                shape=shape,
                first=int(table.first[row]),
                lower=tuple(lower.tolist()),
                upper=tuple(upper.tolist()),
                count=int(table.count[row]),
                filter_size=FILTER_SIZE,
                voxel_size=voxel_size,
            )
        )
    return voxels


def count_matches(
    truth: Centres, found: Centres, radii: Mapping[int, float], voxel_size: ZYX[float]
) -> dict[int, npt.NDArray[np.int64]]:
    """Count right, wrong and missed picks of each class, one to one.

    Parameters
    ----------
    truth, found : dict of int to ndarray of float, (n, 3)
        Centres, voxels; a class that is left out has none.
    radii : mapping of int to float
        Radius of each class, Å.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).

    Returns
    -------
    counts : dict of int to ndarray of int, (3,)
        True positives, false positives and false negatives of each value of ``radii``.
    """
    nothing = np.zeros((0, 3))
    counts = {}
    for value, radius in radii.items():
        true = truth.get(value, nothing) * voxel_size
        guessed = found.get(value, nothing) * voxel_size
        pairs = len(match_points(true, guessed, max_distance=DISTANCE_SCALE * radius)[0])
        counts[value] = np.array([pairs, len(guessed) - pairs, len(true) - pairs])
    return counts


def score_counts(
    counts: Mapping[int, npt.NDArray[np.int64]], classes: Sequence[str], beta: float
) -> dict[str, float]:
    """F-beta of each class; classes that occur neither in truth nor among picks are left out.

    >>> score_counts({1: np.array([3, 1, 1]), 2: np.zeros(3, int)}, ("background", "a", "b"), 1.0)
    {'a': 0.75}
    """
    scores = {}
    for value, (hits, extra, missed) in counts.items():
        whole = (1 + beta**2) * hits + beta**2 * missed + extra
        if whole:
            scores[classes[value]] = float((1 + beta**2) * hits / whole)
    return scores
