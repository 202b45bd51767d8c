"""Figures of every plane of a volume: what a seam may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.reduce.seam_kernels import BOTH, CHANGED, FOREGROUND, ONE
from volproc.reduce.seams import JUMP, PAIRS, STEP, UNIT, Counts, PlaneCounts
from volproc.reduce.tables import ObjectTable

Floats = npt.NDArray[np.float64]

Planes = tuple[Floats, ...]
"""One array an axis, (n - 1,); plane ``p`` lies before slice ``p + 1``."""

UNITS = round(1 / UNIT)
"""Units of a sum of intensities that make one."""

PATCH = 1000
"""Voxels of a plane that count as one observation where objects are larger."""

Effect = Callable[[Floats, Floats, Floats], Floats]
"""Effect size of (found, expected, weight), each summed over a set of planes; NaN where there is
nothing to see."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure of all planes, as a ratio."""

    name: str
    numerators: Planes

    denominators: Planes
    """The weight of each plane."""

    observations: Planes
    """How many independent things are seen at each plane."""

    effect: Effect
    """How far two ratios are apart."""

    figure: Callable[[float], float] = float
    """From the ratio to what people read."""


def find_measures(counts: PlaneCounts) -> list[Measure]:
    """Figures of a volume: six of labels, or three of intensities."""
    return _of_labels(counts) if counts.kind == "labels" else _of_intensities(counts)


def _of_labels(counts: PlaneCounts) -> list[Measure]:
    both, changed, one, voxels = (
        tuple(c[:, column].astype(np.float64) for c in counts.axes)
        for column in (BOTH, CHANGED, ONE, FOREGROUND)
    )
    either = tuple((b + o)[1:] for b, o in zip(both, one, strict=True))
    lone = tuple(o[1:] for o in one)
    beside = tuple(v[1:] + v[:-1] for v in voxels)
    area = [prod(counts.shape) / n for n in counts.shape]
    room = tuple(np.full(len(v), 2.0 * a) for v, a in zip(beside, area, strict=True))
    ends = [_ends(counts.objects, a, n) for a, n in enumerate(counts.shape)]
    sizes = [_sizes(counts.objects, a, n) for a, n in enumerate(counts.shape)]
    objects = tuple(s[1] for s in sizes)

    def of_voxels(name: str, tops: Planes, bottoms: Planes, effect: Effect) -> Measure:
        # Voxels of one object are alike: each voxel is no observation of its own.
        seen = tuple(np.maximum(o, b / PATCH) for o, b in zip(objects, bottoms, strict=True))
        return Measure(name, tops, bottoms, seen, effect)

    stops, sides = tuple(e[0] for e in ends), tuple(e[1] for e in ends)
    return [
        of_voxels("changed", tuple(c[1:] for c in changed), tuple(b[1:] for b in both), cohens_h),
        of_voxels("ended", lone, either, cohens_h),
        of_voxels("ended beside", _beside(lone), _beside(either), cohens_h),
        Measure("objects", stops, sides, sides, cohens_h),
        Measure("size", tuple(s[0] for s in sizes), objects, objects, shift, exp),
        of_voxels("density", beside, room, relative_change),
    ]


def _of_intensities(counts: PlaneCounts) -> list[Measure]:
    jumps = tuple(_in_units(c[1:, JUMP]) for c in counts.axes)
    pairs = tuple(c[1:, PAIRS].astype(np.float64) for c in counts.axes)
    steps = tuple(_steps(c) for c in counts.axes)
    tiles = tuple(
        np.where(p > 0, float(c.shape[1] - STEP), 0.0)
        for c, p in zip(counts.axes, pairs, strict=True)
    )
    return [
        Measure("jump", jumps, pairs, pairs, relative_change),
        Measure("jump beside", _beside(jumps), _beside(pairs), _beside(pairs), relative_change),
        Measure("step", steps, pairs, tiles, relative_change),
    ]


def _beside(planes: Planes) -> Planes:
    """Sums over the two planes next to each plane."""
    padded = (np.pad(p, 1) for p in planes)
    return tuple(p[2:] + p[:-2] for p in padded)


def cohens_h(found: Floats, expected: Floats, weight: Floats) -> Floats:
    """Difference of two rates on the scale where their sampling error is the same.

    ``2 asin(sqrt(p)) - 2 asin(sqrt(q))``: 0.2 is small, 0.5 medium, 0.8 large.

    References
    ----------
    J. Cohen, Statistical Power Analysis for the Behavioral Sciences, 1988, chapter 6.

    Examples
    --------
    >>> cohens_h(np.array([50.0]), np.array([25.0]), np.array([100.0])).round(3)
    array([0.524])
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p, q = np.clip(found / weight, 0, 1), np.clip(expected / weight, 0, 1)
    return 2 * np.arcsin(np.sqrt(p)) - 2 * np.arcsin(np.sqrt(q))


def relative_change(found: Floats, expected: Floats, weight: Floats) -> Floats:
    """Found over expected, less one.

    >>> relative_change(np.array([3.0]), np.array([2.0]), np.array([1.0]))
    array([0.5])
    """
    del weight  # it divides both
    with np.errstate(invalid="ignore", divide="ignore"):
        change = found / expected - 1
    # Something where nothing is expected is a change of no finite size.
    return np.where(expected > 0, change, np.where(found > 0, np.inf, np.nan))


def shift(found: Floats, expected: Floats, weight: Floats) -> Floats:
    """Difference of two means."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return (found - expected) / weight


def _steps(counts: Counts) -> Floats:
    """Absolute signed sums of the tiles of each plane, added up."""
    return _in_units(np.abs(counts[1:, STEP:]).sum(axis=1))


def _in_units(sums: npt.NDArray[Any]) -> Floats:
    """Integer sums in the voxels' own unit, correctly rounded."""
    # A division of integers rounds once, where float(sum) may overflow.
    return np.array([int(s) / UNITS for s in sums], np.float64)


def _ends(objects: ObjectTable, axis: int, size: int) -> tuple[Floats, Floats]:
    """Sides of objects that end at each plane, and all sides there; one that crosses has two."""
    lower, upper = objects.lower[:, axis], objects.upper[:, axis]
    starts = np.bincount(lower, minlength=size + 1)[:size]
    stops = np.bincount(upper, minlength=size + 1)[:size]
    ends = (starts + stops)[1:]
    # An object crosses the planes lower + 1 … upper - 1.
    begun = np.cumsum(np.bincount(lower + 1, minlength=size + 2))[1:size]
    over = np.cumsum(np.bincount(upper, minlength=size + 2))[1:size]
    return ends.astype(np.float64), (ends + 2 * (begun - over)).astype(np.float64)


def _sizes(objects: ObjectTable, axis: int, size: int) -> tuple[Floats, Floats]:
    """Sum of the logarithms of the sizes of the objects at each plane, and their number."""
    lower, upper = objects.lower[:, axis], objects.upper[:, axis]
    logs = np.log(objects.count)
    result = []
    for weights in (logs, np.ones(len(logs))):
        begun = np.cumsum(np.bincount(lower, weights, minlength=size + 2))[1:size]
        over = np.cumsum(np.bincount(upper + 1, weights, minlength=size + 2))[1:size]
        result.append(begun - over)
    return result[0], result[1]
