"""Where a block lies in its volume."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ShapeError
from volproc.core.types import Shape, axis_names

Ints = npt.NDArray[np.int64]


def global_index(index: Ints, block_shape: Shape, offset: Shape, shape: Shape) -> Ints:
    """Raster index in the volume of voxels given by their raster index in a block.

    >>> int(global_index(np.array([4]), (2, 3), (1, 5), (10, 20))[0])
    46
    """
    at = np.zeros_like(index)
    rest, stride, block_stride = index, 1, 1
    for size, start, extent in zip(shape[::-1], offset[::-1], block_shape[::-1], strict=True):
        at += (rest // block_stride % extent + start) * stride
        stride *= size
        block_stride *= extent
    return at


def check_place(block_shape: Shape, offset: Shape, shape: Shape) -> None:
    """Refuse a block that does not lie in its volume.

    Raises
    ------
    ShapeError
        If the axes differ in number, are not two or three, or the block is empty or sticks out.
    """
    if len(block_shape) not in (2, 3) or not len(block_shape) == len(offset) == len(shape):
        msg = (
            f"a block has axes (z, y, x) or (y, x), as its offset and its volume have, got a block "
            f"{block_shape} at {offset} in a volume {shape}. Select one channel first."
        )
        raise ShapeError(msg)
    axes = zip(axis_names(len(shape)), block_shape, offset, shape, strict=True)
    for axis, extent, start, size in axes:
        if extent < 1 or start < 0 or start + extent > size:
            msg = (
                f"a block of {extent} voxels from {start} does not lie in {size} voxels along "
                f"{axis}. Give the block's first voxel as offset and the whole volume's shape."
            )
            raise ShapeError(msg)


def lift(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """View of a contiguous copy-if-needed with three axes: (y, x) becomes (1, y, x)."""
    return np.ascontiguousarray(array).reshape((1,) * (3 - array.ndim) + array.shape)
