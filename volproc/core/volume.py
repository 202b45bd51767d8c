"""A volume: a lazy array that knows its voxel size and where it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError, VoxelSizeError
from volproc.core.types import Shape, axis_names

if TYPE_CHECKING:
    import dask.array as da


@dataclass(frozen=True, slots=True)
class Unmade:
    """A lazy array that is made when it is first asked for, since Dask takes long to import."""

    shape: Shape
    """Size, channels included."""

    dtype: np.dtype[Any]
    """Type of the voxels."""

    make: Callable[[], da.Array]
    """Makes the array; it can be pickled."""

    @property
    def ndim(self) -> int:
        """Number of axes, that of the channels included."""
        return len(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """A lazy array with its physical frame.

    Parameters
    ----------
    data : dask array
        Voxels, (z, y, x); (y, x) for a micrograph. With channels first, (c, z, y, x), where
        ``channels`` names them.
    voxel_size : tuple of float
        Å per voxel, (z, y, x) or (y, x).
    origin : tuple of float
        Position of the centre of the first voxel, Å, in the same order.
    name : str
        What people call it: a file's stem, a run's name.
    address : str
        Where it can be opened again; empty for a computed volume.
    source : Source or None
        What gives any region of ``data`` straight from storage; None where it is computed.
    channels : tuple of str
        Names of the channels, one per index of the first axis; empty without such an axis.

    Raises
    ------
    ShapeError
        If the array has neither two nor three spatial axes.
    VoxelSizeError
        If a voxel size is not positive and finite, or has another number of axes.

    Examples
    --------
    >>> import dask.array as da
    >>> volume = Volume(da.zeros((4, 5, 6)), voxel_size=(10.0, 10.0, 10.0), name="empty")
    >>> volume.shape, volume.voxel_size
    ((4, 5, 6), (10.0, 10.0, 10.0))
    """

    data: da.Array
    voxel_size: tuple[float, ...]
    origin: tuple[float, ...] = ()
    name: str = ""
    address: str = ""
    source: Source | None = None
    channels: tuple[str, ...] = ()
    _unmade: Unmade | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if isinstance(self.data, Unmade):
            object.__setattr__(self, "_unmade", self.data)
            object.__delattr__(self, "data")  # the next to read it calls `__getattr__`
        array = self._array
        ndim = array.ndim - bool(self.channels)
        if ndim not in (2, 3):
            msg = (
                f"a volume has axes (z, y, x) or (y, x), got an array of shape {array.shape}. "
                "Select one channel and one time point first."
            )
            raise ShapeError(msg)
        if self.channels and len(self.channels) != array.shape[0]:
            msg = (
                f"{len(self.channels)} channel names for an array of shape {array.shape}. "
                "Give one name per index of the first axis."
            )
            raise ShapeError(msg)
        check_voxel_size(self.voxel_size, ndim)
        object.__setattr__(self, "voxel_size", tuple(float(v) for v in self.voxel_size))
        origin = self.origin or (0.0,) * ndim
        object.__setattr__(self, "origin", tuple(float(v) for v in origin))

    if not TYPE_CHECKING:  # for which every name would be an attribute

        def __getattr__(self, name: str) -> Any:
            unmade = self._unmade if name == "data" else None
            if unmade is None:  # no such name; or another thread has just made the array
                return object.__getattribute__(self, name)
            object.__setattr__(self, "data", unmade.make())
            object.__setattr__(self, "_unmade", None)
            return object.__getattribute__(self, "data")

    @property
    def _array(self) -> da.Array | Unmade:
        """What has shape and type."""
        return self._unmade or self.data

    @property
    def shape(self) -> Shape:
        """Size in voxels, without the channel axis."""
        return tuple(self._array.shape[bool(self.channels) :])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self._array.dtype

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 3 or 2."""
        return len(self.shape)

    def with_data(
        self, data: da.Array, *, name: str | None = None, channels: tuple[str, ...] = ()
    ) -> Volume:
        """Return a computed volume in the same frame."""
        return replace(
            self,
            data=data,
            name=self.name if name is None else name,
            address="",
            source=None,
            channels=channels,
        )


def check_voxel_size(voxel_size: tuple[float, ...], ndim: int) -> None:
    """Refuse a voxel size that no volume can have.

    Raises
    ------
    VoxelSizeError
        Naming the axis.
    """
    if len(voxel_size) != ndim:
        msg = (
            f"a voxel size has one number an axis ({', '.join(axis_names(ndim))}), got "
            f"{voxel_size}. Give {ndim} numbers in Å, or one for all axes."
        )
        raise VoxelSizeError(msg)
    for axis, size in zip(axis_names(ndim), voxel_size, strict=True):
        if not (isfinite(size) and size > 0):
            msg = (
                f"the voxel size along {axis} is {size} Å. Give a positive one with voxel_size= "
                "(--voxel-size on the command line)."
            )
            raise VoxelSizeError(msg)
