"""A slab between two planes, fitted to the first and last voxels of columns along z."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.core.types import Region, Shape

Floats = npt.NDArray[np.float64]
Ends = npt.NDArray[np.int32]
"""First and last voxel of columns along z, (y, x, 2); (greatest number, -1) where there is none."""

MOST_COLUMNS = 256
"""Columns along each axis that a fit takes at most: more would say the same."""

ROUNDS = 20
"""Rounds of reweighting; the fits of slabs settle after ten."""

LEAST_RESIDUAL = 0.25
"""Distance below which all columns count alike, voxels."""

TRIMS = 10
"""Rounds in which columns far from the plane are left out."""

FAR, LEAST_FAR = 3.0, 1.5
"""Distance beyond which a column is left out: in medians of all, and at least in voxels."""


@dataclass(frozen=True, slots=True)
class PlanePair:
    """Lower and upper face of a slab: ``z = offset + slope_y * y + slope_x * x`` each."""

    lower: tuple[float, float, float]
    """Offset and slopes of the plane through the first voxels."""

    upper: tuple[float, float, float]
    """The same of the last voxels."""

    def paint(self, region: Region) -> npt.NDArray[np.bool_]:
        """Voxels of a region that lie between the planes, their own halves included."""
        z, y, x = np.ogrid[region]
        bottom, top = (a + b * y + c * x for a, b, c in (self.lower, self.upper))
        found: npt.NDArray[np.bool_] = (z >= bottom - 0.5) & (z <= top + 0.5)
        return found


def lattice(shape: Shape) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows and columns of the voxels, in (y, x), at which columns are looked at.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x). The lattice depends on nothing else.

    Examples
    --------
    >>> rows, columns = lattice((40, 3, 600))
    >>> rows.tolist(), len(columns), columns[:3].tolist()
    ([0, 1, 2], 200, [1, 4, 7])
    """
    steps = [-(-n // MOST_COLUMNS) for n in shape[1:]]
    rows, columns = (np.arange(s // 2, n, s) for s, n in zip(steps, shape[1:], strict=True))
    return rows, columns


def empty_ends(shape: Shape) -> Ends:
    """Ends of the lattice of a volume, without a voxel."""
    rows, columns = lattice(shape)
    return np.full((len(rows), len(columns), 2), (np.iinfo(np.int32).max, -1), np.int32)


def ends_of(mask: npt.NDArray[Any], region: Region, shape: Shape) -> Ends:
    """Ends of the columns of one block that are on the lattice.

    Parameters
    ----------
    mask : ndarray of bool or int, (z, y, x)
        The block; voxels that are not 0 count.
    region : tuple of slice
        Where it lies.
    shape : tuple of int
        Size of the volume.
    """
    (rows, y), (columns, x) = _within(region, shape)
    part = empty_ends(shape)[rows, columns]
    found = mask[:, y[:, None], x] != 0
    is_there = found.any(axis=0)
    part[..., 0][is_there] = found.argmax(axis=0)[is_there] + region[0].start
    part[..., 1][is_there] = region[0].stop - 1 - found[::-1].argmax(axis=0)[is_there]
    return part


def merge_ends(ends: Ends, part: Ends, region: Region, shape: Shape) -> None:
    """Widen the ends of the whole volume by those of one block, in place.

    Associative and commutative: the order of blocks does not matter.
    """
    (rows, _), (columns, _) = _within(region, shape)
    here = ends[rows, columns]
    np.minimum(here[..., 0], part[..., 0], out=here[..., 0])
    np.maximum(here[..., 1], part[..., 1], out=here[..., 1])


def _within(region: Region, shape: Shape) -> list[tuple[slice, npt.NDArray[np.int64]]]:
    """For y and x, which points of the lattice lie in a region, and where in it."""
    places = []
    for axis, side in zip(lattice(shape), region[1:], strict=True):
        begin, end = np.searchsorted(axis, (side.start, side.stop)).tolist()
        places.append((slice(begin, end), axis[begin:end] - side.start))
    return places


def fit_planes(ends: Ends, shape: Shape) -> PlanePair:
    """Fit the two faces of a slab.

    Parameters
    ----------
    ends : Ends
        Of the whole volume.
    shape : tuple of int
        Size of the volume, (z, y, x).

    Returns
    -------
    planes : PlanePair
        Through most of the columns: those with the least sum of absolute distances along z first,
        then the least squares of the columns near them. A part of the columns may be anything:
        holes, specks, ice on the surface.

    Raises
    ------
    ShapeError
        If fewer than three columns have a voxel, or all lie in one line.

    References
    ----------
    P. W. Holland, R. E. Welsch: Robust regression using iteratively reweighted least-squares.
    Communications in Statistics 6 (1977) 813-827.
    """
    rows, columns = lattice(shape)
    is_there = ends[..., 1] >= 0
    at_row, at_column = np.nonzero(is_there)
    y, x = rows[at_row].astype(np.float64), columns[at_column].astype(np.float64)
    middle = (y.mean(), x.mean()) if len(y) else (0.0, 0.0)
    terms = np.stack([np.ones(len(y)), y - middle[0], x - middle[1]], axis=1)
    if len(y) < 3 or np.linalg.matrix_rank(terms) < 3:
        msg = (
            f"no plane fits {len(y)} columns of voxels that do not spread along both y and x. Use "
            "hull=slice (--hull slice)."
        )
        raise ShapeError(msg)
    found = []
    for side in range(2):
        offset, *slopes = _fit(terms, ends[is_there][:, side].astype(np.float64)).tolist()
        offset -= slopes[0] * middle[0] + slopes[1] * middle[1]
        found.append((offset, slopes[0], slopes[1]))
    return PlanePair(found[0], found[1])


def _fit(terms: Floats, heights: Floats) -> Floats:
    """Coefficients with the least absolute residuals, and then without the columns far away."""
    weights = np.ones(len(heights))
    best = np.zeros(terms.shape[1])
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        best = np.linalg.lstsq(terms * root[:, None], heights * root, rcond=None)[0]
        weights = 1 / np.maximum(np.abs(heights - terms @ best), LEAST_RESIDUAL)
    for _ in range(TRIMS):
        distance = np.abs(heights - terms @ best)
        is_near = distance <= max(LEAST_FAR, FAR * float(np.median(distance)))
        best = np.linalg.lstsq(terms[is_near], heights[is_near], rcond=None)[0]
    return best
