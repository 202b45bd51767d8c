"""Orientations of picks: the way a particle faces, (z, y, x), and matrices of (x, y, z).

::

    R = Rz(rotation) · Ry(tilt)      turns the z axis to the way that a particle faces
    stored: R⁻¹, its transpose       turns that way to the z axis, as Octopi stores it
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def face_zyx(ways: npt.ArrayLike) -> Floats:
    """Matrices that Octopi would store for particles that face some way.

    Parameters
    ----------
    ways : array, (n, 3)
        (z, y, x), in lengths, of any length but 0.

    Returns
    -------
    matrices : ndarray, (n, 3, 3)
        Of (x, y, z): each turns its way to the z axis. They are the inverse of intrinsic ZYZ
        Euler angles (rotation, tilt, 0) of the way.

    Examples
    --------
    >>> (matrix,) = face_zyx([[0.0, 0.0, 2.0]])  # along x
    >>> (matrix @ [1.0, 0.0, 0.0]).round(12).tolist()
    [0.0, 0.0, 1.0]
    """
    rows = np.asarray(ways, np.float64).reshape(-1, 3)
    z, y, x = rows.T
    return _inverse(np.arctan2(y, x), np.arctan2(np.hypot(x, y), z))


def face_octopi(ways: npt.ArrayLike) -> Floats:
    """The same as Octopi's own source has it: z is taken for x and x for z.

    Parameters
    ----------
    ways : array, (n, 3)
        (z, y, x), in lengths.

    Returns
    -------
    matrices : ndarray, (n, 3, 3)
        From angles that are rounded to 0.01°.

    Notes
    -----
    Where the first component is negative and the second 0, its rotation is 0 in place of 180°;
    so is this one.
    """
    rows = np.asarray(ways, np.float64).reshape(-1, 3)
    first, second, third = rows.T
    rotation = np.degrees(np.arctan(second / (first + 1e-30)))
    rotation += np.where(first < 0, 180.0 * np.sign(second), 0.0)
    tilt = np.degrees(np.arctan(np.hypot(first, second) / (third + 1e-30)))
    tilt += np.where(tilt < 0, 180.0, 0.0)
    return _inverse(np.radians(np.round(rotation, 2)), np.radians(np.round(tilt, 2)))


def _inverse(rotation: Floats, tilt: Floats) -> Floats:
    """Transpose of Rz(rotation) · Ry(tilt), (n, 3, 3); angles in radians."""
    a, b = np.cos(rotation), np.sin(rotation)
    c, s = np.cos(tilt), np.sin(tilt)
    zero = np.zeros_like(a)
    return np.stack(
        [
            np.stack([a * c, b * c, -s], axis=1),
            np.stack([-b, a, zero], axis=1),
            np.stack([a * s, b * s, c], axis=1),
        ],
        axis=1,
    )
