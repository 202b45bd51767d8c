"""Local maxima of one block, by a total order that no cut of the volume changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, isfinite, isnan
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.types import Region, Shape, axis_names
from volproc.reduce.peaks_kernels import mark_peaks
from volproc.reduce.placement import lift

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PeakRule:
    """What a peak is.

    Parameters
    ----------
    min_distance : float
        Radius of the ball, voxels, in which a peak is the greatest; at least 1. Voxels at exactly
        this distance belong to the ball.
    threshold : float, optional
        Least score of a peak, inclusive; none if not given.
    exclude_border : int
        Peaks nearer than this many voxels to a face of the volume are left out. They still
        suppress others.
    refine : bool
        Fit a parabola along each axis, and move the peak by up to half a voxel.

    Raises
    ------
    ConfigError
        Naming the field.
    """

    min_distance: float
    threshold: float | None = None
    exclude_border: int = 0
    refine: bool = False

    def __post_init__(self) -> None:
        if not (isfinite(self.min_distance) and self.min_distance >= 1):
            msg = (
                f"the distance of two peaks is at least 1 voxel, got {self.min_distance}. Give "
                "the radius of an object in voxels."
            )
            raise ConfigError(msg)
        if self.threshold is not None and isnan(self.threshold):
            msg = "the threshold of peaks is nan, and no score reaches it. Give a number, or None."
            raise ConfigError(msg)
        if self.exclude_border < 0:
            msg = (
                f"a border of {self.exclude_border} voxels cannot be left out. Give 0 for peaks "
                "up to the faces of the volume."
            )
            raise ConfigError(msg)

    @property
    def halo(self) -> int:
        """Voxels that a block reads beside its own, on each side."""
        return floor(self.min_distance)


@dataclass(frozen=True, slots=True, eq=False)
class PeakTable:
    """Peaks of some blocks; one row a peak."""

    places: Ints
    """Voxels of the peaks, (n, d), of the whole volume."""

    scores: npt.NDArray[Any]
    """Scores, (n,), in the type of the voxels."""

    shifts: npt.NDArray[np.float64]
    """Distance from the voxel to the refined peak, (n, d), at most half a voxel an axis."""

    def __len__(self) -> int:
        return len(self.scores)


def find_peaks(
    scores: npt.NDArray[Any], *, read: Region, write: Region, shape: Shape, rule: PeakRule
) -> PeakTable:
    """Find the peaks of one block.

    Parameters
    ----------
    scores : ndarray of real numbers, (z, y, x) or (y, x)
        The block with its halo.
    read, write : tuple of slice
        Where the block with its halo, and the block itself, lie in the volume. The halo has
        ``rule.halo`` voxels, except where the volume ends.
    shape : tuple of int
        Size of the volume, voxels.
    rule : PeakRule
        What a peak is.

    Returns
    -------
    table : PeakTable
        In raster order.

    Raises
    ------
    DtypeError
        If the voxels are no real numbers.
    ShapeError
        If the block has another shape than its region.

    Notes
    -----
    A voxel is a peak if no voxel of its ball has a greater score, nor an equal one at a smaller
    raster index. NaN is never a peak, and exceeds nothing. Most voxels are decided by their
    nearest neighbours; a peak costs the whole ball.

    Examples
    --------
    >>> scores = np.array([[0, 5, 5, 1, 7]])
    >>> box = (slice(0, 1), slice(0, 5))
    >>> find_peaks(scores, read=box, write=box, shape=(1, 5), rule=PeakRule(1)).places.tolist()
    [[0, 1], [0, 4]]
    """
    check_scores(scores.dtype)
    if scores.shape != tuple(s.stop - s.start for s in read):
        msg = f"a block has the shape of its region, got {scores.shape} for {read}."
        raise ShapeError(msg)
    start = tuple(w.start - r.start for w, r in zip(write, read, strict=True))
    own = tuple(slice(s, s + w.stop - w.start) for s, w in zip(start, write, strict=True))
    candidates = _candidates(scores[own], write, shape, rule)
    volume = lift(_comparable(scores))
    ball, earlier = ball_steps(rule.min_distance, scores.ndim)
    begin = np.array((0,) * (3 - scores.ndim) + start, np.int64)
    mark_peaks(volume, lift(candidates), begin, ball, earlier)
    inside = np.argwhere(candidates)
    local = inside + np.array(start, np.int64)
    values = scores[tuple(local.T)]
    shifts = _parabola(scores, local) if rule.refine else np.zeros((len(local), scores.ndim))
    return PeakTable(inside + np.array([w.start for w in write], np.int64), values, shifts)


def merge_peaks(tables: Sequence[PeakTable]) -> PeakTable:
    """Put the peaks of blocks together, in the order given; `sort_peaks` forgets that order."""
    return PeakTable(
        np.concatenate([t.places for t in tables]),
        np.concatenate([t.scores for t in tables]),
        np.concatenate([t.shifts for t in tables]),
    )


def sort_peaks(table: PeakTable) -> PeakTable:
    """Order by score, the greatest first, then by z, y, x: the same for every cut."""
    by_place = np.lexsort(table.places.T[::-1])
    scores = table.scores[by_place]
    # a stable ascending sort of the reversed rows is a stable descending one: no type overflows
    order = by_place[::-1][np.argsort(scores[::-1], kind="stable")][::-1]
    return PeakTable(table.places[order], table.scores[order], table.shifts[order])


def finish_peaks(table: PeakTable) -> pd.DataFrame:
    """Sort the peaks of all blocks, and make a table for people.

    Returns
    -------
    frame : DataFrame
        Columns ``z``, ``y``, ``x`` (``y``, ``x`` for two axes), float64 voxels, and ``score``, in
        the order of `sort_peaks`.
    """
    found = sort_peaks(table)
    places = found.places + found.shifts
    columns = {axis: places[:, i] for i, axis in enumerate(axis_names(places.shape[1]))}
    return pd.DataFrame({**columns, "score": found.scores.astype(np.float64)})


def ball_steps(radius: float, ndim: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Steps from a voxel to the others of a ball, the nearest first.

    Parameters
    ----------
    radius : float
        Voxels, inclusive.
    ndim : int
        3, or 2 for a disc in (y, x).

    Returns
    -------
    steps : ndarray of int64, (n, 3)
        Along z, y and x.
    earlier : ndarray of bool, (n,)
        Steps to a smaller raster index.

    Examples
    --------
    >>> ball_steps(1, 2)[0].tolist()
    [[0, -1, 0], [0, 0, -1], [0, 0, 1], [0, 1, 0]]
    """
    reach = floor(radius)
    sides = [0 if axis < 3 - ndim else reach for axis in range(3)]
    grid = np.indices([2 * side + 1 for side in sides]).reshape(3, -1).T - np.array(sides)
    squared = (grid**2).sum(axis=1)
    inside = (squared <= radius * radius) & (squared > 0)
    steps, squared = grid[inside], squared[inside]
    order = np.argsort(squared, kind="stable")
    # in raster order the first half of a ball comes before its centre
    earlier = np.arange(len(steps)) < len(steps) // 2
    return np.ascontiguousarray(steps[order]), np.ascontiguousarray(earlier[order])


def check_scores(dtype: np.dtype[Any]) -> None:
    """Refuse voxels that have no order.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if dtype.kind not in "iubf" or dtype.itemsize > 8:
        msg = f"peaks are found in real numbers of up to 64 bits, got {dtype}. Convert them first."
        raise DtypeError(msg)


def _candidates(
    scores: npt.NDArray[Any], write: Region, shape: Shape, rule: PeakRule
) -> npt.NDArray[np.uint8]:
    """Voxels of a block that a threshold and a border allow."""
    allowed = scores == scores  # NaN differs from itself
    if rule.threshold is not None:
        allowed &= scores >= rule.threshold
    if rule.exclude_border:
        for axis, (place, size) in enumerate(zip(write, shape, strict=True)):
            at = np.arange(place.start, place.stop)
            inside = (at >= rule.exclude_border) & (at < size - rule.exclude_border)
            allowed &= np.expand_dims(
                inside, [other for other in range(len(shape)) if other != axis]
            )
    return allowed.astype(np.uint8)


def _comparable(scores: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Voxels in one of four types that keep their order, so that few loops are compiled."""
    kind, size = scores.dtype.kind, scores.dtype.itemsize
    if kind == "f":
        target: type = np.float32 if size <= 4 else np.float64
    elif size <= 2:
        target = np.float32
    else:
        target = np.uint64 if kind == "u" and size == 8 else np.int64
    return np.ascontiguousarray(scores, target)


def _parabola(scores: npt.NDArray[Any], places: Ints) -> npt.NDArray[np.float64]:
    """Top of the parabola through a peak and its two neighbours along each axis."""
    shifts = np.zeros(places.shape)
    middle = scores[tuple(places.T)].astype(np.float64)
    for axis in range(scores.ndim):
        at = places[:, axis]
        inside = (at > 0) & (at < scores.shape[axis] - 1)
        sides = []
        for step in (-1, 1):
            beside = places.copy()
            beside[:, axis] = np.where(inside, at + step, at)
            sides.append(scores[tuple(beside.T)].astype(np.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            bend = sides[0] - 2 * middle + sides[1]
            shift = (sides[0] - sides[1]) / (2 * bend)
        usable = inside & np.isfinite(shift) & (bend < 0)
        shifts[:, axis] = np.where(usable, np.clip(shift, -0.5, 0.5), 0.0)
    return shifts
