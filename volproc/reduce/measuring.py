"""Tables of one block that grow while it is measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import DtypeError, PlanError
from volproc.reduce.exact_sums import Window, place_digits
from volproc.reduce.measure_kernels import NUM_COLUMNS, SURFACE, fill_slots, scan_lines
from volproc.reduce.placement import lift

FIRST_ROWS = 4096
"""Rows that a growing table has at least; memory that is not used costs nothing."""

SLAB_VOXELS = 2**20
"""Voxels that are turned into the types of the compiled loop at once: few calls, and little
memory."""

NO_EXTREMES = (np.inf, -np.inf)
"""Least and greatest of no intensities."""

MAX_SUM = 2**62
"""What the sums of one scan stay below, so that they fit into 64 bits."""

MAX_VOXELS = 2**30
"""Voxels of one scan, so that digits of intensities fit into 64 bits."""

Array = npt.NDArray[Any]

NARROW = (np.bool_, np.uint8, np.int8, np.uint16, np.int16, np.float16, np.float32)
"""Types of intensities that float32 holds exactly."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure beside count, first voxel, sums of coordinates and box."""

    surface: bool = False
    """Voxels with a neighbour of another label."""

    products: bool = False
    """Sums of products of two coordinates, for principal axes."""

    squares: bool = False
    """Sums of squares of intensities, for standard deviations."""


@dataclass
class Scan:
    """Rows of a run of lines of one block; each is grown when it runs out of room.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x)
        0 is background.
    intensity : ndarray, (z, y, x), or None
        Voxels to sum.
    wanted : Wanted
        What else to measure.
    """

    labels: Array
    intensity: Array | None
    wanted: Wanted
    num_objects: int = 0
    window: Window = field(default_factory=Window)

    def __post_init__(self) -> None:
        self._room = 2 ** max(FIRST_ROWS, self.labels.shape[2]).bit_length()
        rows = self._room
        self._slots = np.zeros(2 * rows, np.int64)
        self._names = np.zeros(rows, np.uint64)
        is_plain = self.intensity is None and self.wanted == Wanted()
        columns = SURFACE if is_plain else NUM_COLUMNS  # narrow rows stay in the cache
        self._rows = np.zeros((rows, columns), np.int64)
        with_values = 0 if self.intensity is None else rows
        self._extremes = np.full((with_values, 2), NO_EXTREMES)
        self._digits = np.zeros((with_values, 0), np.int64)
        self._squares = np.zeros((with_values * self.wanted.squares, 0), np.int64)

    def run(self, line: int, last_line: int) -> None:
        """Measure lines, counted as ``z * height + y``."""
        _, height, width = self.labels.shape
        step = max(1, SLAB_VOXELS // (height * width))
        values = (np.zeros(1), 0, 0)
        while line < last_line:
            first = line // height
            last = min(first + step, -(-last_line // height))
            if self.intensity is not None:
                values = in_memory_order(as_real(self.intensity[first:last]))
            # with the planes before and after, which decide on surfaces
            near = max(first - 1, 0) if self.wanted.surface else first
            labels = in_memory_order(as_unsigned(self.labels[near : last + self.wanted.surface]))
            stop = min(last * height, last_line)
            self._scan(labels, values, (near, first), line, stop)
            line = stop

    def _scan(
        self,
        labels: tuple[Array, int, int],
        values: tuple[Array, int, int],
        planes: tuple[int, int],
        line: int,
        last_line: int,
    ) -> None:
        (voxels, *steps), (real_voxels, *real_steps) = labels, values
        while line < last_line:
            w = self.window
            self.num_objects, line, lowest, highest = scan_lines(
                voxels,
                real_voxels,
                (*steps, *real_steps),
                planes,
                self.labels.shape,
                self._slots,
                self._names,
                self._rows,
                self._digits,
                self._squares,
                self._extremes,
                (w.first, w.first_square, w.lowest, w.highest),
                (self.wanted.surface, self.wanted.products, self.intensity is not None),
                self.num_objects,
                line,
                last_line,
            )
            if (lowest, highest) != (w.lowest, w.highest):
                self._widen(Window(lowest, highest))
            elif line < last_line:
                self._grow()

    @property
    def rows(self) -> Array:
        """Columns of integers, (n, SURFACE or NUM_COLUMNS), in the order of first voxels."""
        return self._rows[: self.num_objects]

    @property
    def label(self) -> npt.NDArray[np.uint64]:
        """Label of each row."""
        return self._names[: self.num_objects]

    @property
    def sums(self) -> tuple[Array, Array | None, Array]:
        """Digits of sums and of squares, and least and greatest intensity, of each row."""
        n = self.num_objects
        squares = self._squares[:n] if self.wanted.squares else None
        return self._digits[:n], squares, self._extremes[:n]

    def _grow(self) -> None:
        self._slots = np.zeros(2 * len(self._slots), np.int64)
        fill_slots(self._slots, self.label)
        self._names, self._rows = _doubled(self._names), _doubled(self._rows)
        self._digits, self._squares = _doubled(self._digits), _doubled(self._squares)
        filled = len(self._extremes)
        self._extremes = _doubled(self._extremes)
        self._extremes[filled:] = NO_EXTREMES

    def _widen(self, window: Window) -> None:
        old, self.window = self.window, window
        below = old.first - window.first
        self._digits = place_digits(self._digits, below, window.num_digits)
        below = old.first_square - window.first_square
        self._squares = place_digits(self._squares, below, window.num_squares)


def _doubled(array: Array) -> Array:
    out = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)
    out[: len(array)] = array
    return out


def lines_at_once(shape: tuple[int, ...]) -> int:
    """Lines along x of a block that one scan may take without any sum overflowing.

    Raises
    ------
    PlanError
        If not even one line can be taken.

    Examples
    --------
    >>> lines_at_once((512, 512, 512)) >= 512 * 512
    True
    """
    line = shape[2] * max(shape) ** 2
    if line >= MAX_SUM or shape[2] > MAX_VOXELS:
        msg = (
            f"a block of shape {shape} is too long to measure, the greatest side is about a "
            "million voxels. Use smaller chunks."
        )
        raise PlanError(msg)
    return min(MAX_SUM // line, MAX_VOXELS // shape[2])


def check_label_type(dtype: np.dtype[Any]) -> None:
    """Refuse labels that are not integers.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if dtype.kind not in "iub":
        msg = (
            f"labels are integers, got {dtype}. Convert them, or label the mask first "
            "(volproc.label)."
        )
        raise DtypeError(msg)


def in_memory_order(volume: Array) -> tuple[Array, int, int]:
    """Voxels of a volume as one line, read-only, and the steps to the next plane and line.

    No voxel is copied where those of a line lie side by side, as in a chunk cut from an array in
    memory. What lies between the lines is in the line too, and is none of the volume.

    Parameters
    ----------
    volume : ndarray, (z, y, x)
        Not empty.

    Examples
    --------
    >>> whole = np.arange(60).reshape(3, 4, 5)
    >>> line, plane_step, line_step = in_memory_order(whole[1:, 1:3, 2:4])
    >>> len(line), plane_step, line_step, int(line[plane_step + line_step])
    (27, 20, 5, 52)
    """
    size = volume.itemsize
    pairs = list(zip(volume.shape, volume.strides, strict=True))
    is_side_by_side = volume.shape[2] == 1 or volume.strides[2] == size
    is_in_steps = all(n == 1 or (s >= 0 and s % size == 0) for n, s in pairs)
    if not (is_side_by_side and is_in_steps and volume.flags.aligned):
        return in_memory_order(np.require(volume, requirements=["C", "A"]))
    steps = [stride // size if n > 1 else 0 for n, stride in pairs]
    span = 1 + sum((n - 1) * step for (n, _), step in zip(pairs, steps, strict=True))
    line = np.lib.stride_tricks.as_strided(volume, (span,), (size,), writeable=False)
    return line, steps[0], steps[1]


def as_unsigned(labels: Array) -> Array:
    """Labels as the compiled loops take them: uint32 or uint64, without a copy where they can be.

    Negative labels come out huge, to be refused where they are read.
    """
    native = labels.astype(labels.dtype.newbyteorder("="), copy=False)
    kind, size = native.dtype.kind, native.dtype.itemsize
    if size < 4:
        native = native.astype(np.int32 if kind == "i" else np.uint32)
    return native.view(np.uint32 if native.dtype.itemsize == 4 else np.uint64)


def unsigned(labels: Array) -> Array:
    """As `as_unsigned`, with three axes and in one piece."""
    return as_unsigned(lift(labels))


def as_real(intensity: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Intensities as the compiled loops take them: float32 or float64.

    Raises
    ------
    DtypeError
        If they are not real numbers of up to 64 bits.
    """
    kind = intensity.dtype.kind
    if kind not in "iubf" or intensity.dtype.itemsize > 8:
        msg = (
            f"intensities are real numbers of up to 64 bits, got {intensity.dtype}. Give one "
            "real channel."
        )
        raise DtypeError(msg)
    native = intensity.dtype.newbyteorder("=")
    return intensity.astype(np.float32 if native.type in NARROW else np.float64, copy=False)
