"""Principal axes of objects from exact sums of coordinates and of their products.

References
----------
.. [1] Jähne, Digital Image Processing, 6th ed., chapter 19.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.reduce.exact_sums import carry_digits, digits_to_float, multiply_digits, split_digits
from volproc.reduce.tables import PAIRS, ObjectTable

Floats = npt.NDArray[np.float64]


def covariances(table: ObjectTable, unit: Sequence[float]) -> Floats:
    """Central second moments of each object over its number of voxels.

    Parameters
    ----------
    table : ObjectTable
        With products.
    unit : sequence of float
        Length of a voxel along each axis.

    Returns
    -------
    covariance : ndarray of float64, (n, d, d)
        Symmetric, in units squared.

    Raises
    ------
    ShapeError
        If the table has no products.

    Notes
    -----
    ``n * sum(u * v) - sum(u) * sum(v)`` is computed with integers, so that nothing cancels however
    far from the first voxel an object lies; only the result is rounded.
    """
    if table.products is None:
        msg = "the table has no products of coordinates. Measure with Wanted(products=True)."
        raise ShapeError(msg)
    out = np.zeros((len(table), table.ndim, table.ndim))
    count = split_digits(table.count)
    sums = [split_digits(column) for column in table.sums.T]
    for i, (a, b) in enumerate(PAIRS[table.ndim]):
        central = multiply_digits(count, table.products[:, i])
        central[:, :4] -= multiply_digits(sums[a], sums[b])
        moment = digits_to_float(carry_digits(central), unit=0) * (unit[a] * unit[b])
        out[:, a, b] = out[:, b, a] = moment / table.count.astype(np.float64) ** 2
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """Axes of the ellipsoid, or ellipse, with an object's second moments."""

    major: Floats
    """Full length of the longest axis, (n,)."""

    minor: Floats
    """Full length of the shortest axis, (n,)."""

    major_direction: Floats
    """Unit vectors, (n, d); the first component that is not zero is positive."""

    minor_direction: Floats
    """Unit vectors, (n, d)."""


def principal_axes(covariance: Floats) -> Axes:
    """Lengths and directions of principal axes.

    Parameters
    ----------
    covariance : ndarray of float64, (n, d, d)
        As `covariances` gives them.

    Notes
    -----
    A solid ellipsoid has variance ``length**2 / 20`` along an axis, a solid ellipse
    ``length**2 / 16``. The moments of an object are those of its voxels' centres, without the
    extent of a voxel: one voxel has axes of length 0. That is scikit-image's choice. Directions of
    equal axes, as of a ball, are any of the possible ones, but always the same.

    Examples
    --------
    >>> axes = principal_axes(np.diag([0.0, 5.0, 0.0])[None])
    >>> axes.major, axes.major_direction, axes.minor
    (array([10.]), array([[0., 1., 0.]]), array([0.]))
    """
    ndim = covariance.shape[-1]
    values, vectors = np.linalg.eigh(covariance)
    lengths = np.sqrt(np.maximum(values, 0) * (16 if ndim == 2 else 20))
    return Axes(
        lengths[:, -1],
        lengths[:, 0],
        _one_sign(vectors[:, :, -1]),
        _one_sign(vectors[:, :, 0]),
    )


def _one_sign(vectors: Floats) -> Floats:
    """Of the two opposite unit vectors, the one that points up along its first axis."""
    clean = np.where(np.abs(vectors) < 1e-12, 0.0, vectors)
    at = np.argmax(clean != 0, axis=1)
    sign = np.sign(np.take_along_axis(clean, at[:, None], 1))
    return clean * np.where(sign == 0, 1.0, sign)


def plane_orientation(covariance: Floats) -> Floats:
    """Angle between the y axis and the major axis of objects in a plane, radians.

    Parameters
    ----------
    covariance : ndarray of float64, (n, 2, 2)
        (y, x).

    Returns
    -------
    angle : ndarray of float64, (n,)
        From -π/2 to π/2, counter-clockwise: that of scikit-image, also where all directions are
        alike and it says -π/4.

    Examples
    --------
    >>> along_x = np.diag([0.0, 2.0])[None]
    >>> float(plane_orientation(along_x)[0] / np.pi)
    0.5
    """
    yy, xx, yx = covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1]
    angle = 0.5 * np.arctan2(2 * yx, yy - xx)
    alike = np.where(yx > 0, np.pi / 4, -np.pi / 4)
    return np.where(yy == xx, alike, angle)
