"""The turns between voxels (z, y, x) and Å (x, y, z) of points: the only place that makes them.

Position and index are bound by one rule without a half-voxel shift: the centre of voxel
(0, 0, 0) lies at 0 Å, so a position in Å is the index times the voxel size. copick, Octopi and
RELION's corner coordinates follow it. RELION 5 counts from the middle of the tomogram instead,
which lies at ``shape / 2`` voxels (not at ``(shape - 1) / 2``).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from volproc.core.types import Shape

Coordinates = npt.NDArray[np.float64]
"""One row a point, (n, 3)."""


def zyx_to_xyz_angstrom(zyx: npt.ArrayLike, voxel_size: tuple[float, ...]) -> Coordinates:
    """Positions of voxel indices.

    Parameters
    ----------
    zyx : array, (n, 3)
        Indices (z, y, x), voxels.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).

    Returns
    -------
    xyz : ndarray of float64, (n, 3)
        Positions (x, y, z), Å; the centre of the first voxel is at 0.

    Examples
    --------
    >>> zyx_to_xyz_angstrom([[1.0, 2.0, 3.0]], (10.0, 10.0, 10.0)).tolist()
    [[30.0, 20.0, 10.0]]
    """
    return (_rows(zyx) * np.asarray(voxel_size, np.float64))[:, ::-1].copy()


def xyz_angstrom_to_zyx(xyz: npt.ArrayLike, voxel_size: tuple[float, ...]) -> Coordinates:
    """Voxel indices of positions: the inverse of `zyx_to_xyz_angstrom`.

    Parameters
    ----------
    xyz : array, (n, 3)
        Positions (x, y, z), Å.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).

    Returns
    -------
    zyx : ndarray of float64, (n, 3)
        Indices (z, y, x), voxels.

    Examples
    --------
    >>> xyz_angstrom_to_zyx([[30.0, 20.0, 10.0]], (10.0, 10.0, 10.0)).tolist()
    [[1.0, 2.0, 3.0]]
    """
    return _rows(xyz)[:, ::-1] / np.asarray(voxel_size, np.float64)


def zyx_to_xyz_centered_angstrom(
    zyx: npt.ArrayLike, voxel_size: tuple[float, ...], shape: Shape
) -> Coordinates:
    """Positions of voxel indices, counted from the middle of the volume.

    Parameters
    ----------
    zyx : array, (n, 3)
        Indices (z, y, x), voxels.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).
    shape : tuple of int
        Size of the volume, (z, y, x), voxels; its middle is at ``shape / 2``.

    Returns
    -------
    xyz : ndarray of float64, (n, 3)
        ``(index - shape / 2) * voxel_size`` as (x, y, z), Å.

    References
    ----------
    RELION 5 puts the centre of a tomogram at half its size in floating point
    (``TomogramSet::loadTomogram``; https://github.com/3dem/relion/pull/1353).

    Examples
    --------
    >>> zyx_to_xyz_centered_angstrom([[1.0, 2.0, 3.0]], (10.0, 10.0, 10.0), (2, 4, 8)).tolist()
    [[-10.0, 0.0, 0.0]]
    """
    middle = np.asarray(shape, np.float64) / 2
    return zyx_to_xyz_angstrom(_rows(zyx) - middle, voxel_size)


def xyz_centered_angstrom_to_zyx(
    xyz: npt.ArrayLike, voxel_size: tuple[float, ...], shape: Shape
) -> Coordinates:
    """Voxel indices of centred positions: the inverse of `zyx_to_xyz_centered_angstrom`.

    Parameters
    ----------
    xyz : array, (n, 3)
        Positions (x, y, z) from the middle of the volume, Å.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.

    Returns
    -------
    zyx : ndarray of float64, (n, 3)
        Indices (z, y, x), voxels.
    """
    return xyz_angstrom_to_zyx(xyz, voxel_size) + np.asarray(shape, np.float64) / 2


def _rows(values: npt.ArrayLike) -> Coordinates:
    return np.asarray(values, np.float64).reshape(-1, 3)
