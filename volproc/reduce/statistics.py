"""Mean and deviation of a whole volume from its blocks, without rounding.

A float32 is a mantissa of 24 bits times a power of two. Mantissas of one exponent are summed as
integers, so the sums are exact, and it does not matter in which order voxels, blocks and workers
come: the mean of a volume has the same bits however it was cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from volproc.core.errors import DtypeError, NonFiniteError, PlanError, ShapeError

Ints = npt.NDArray[np.int64]

MAX_VOXELS = 2**39
"""Voxels whose 24-bit mantissas surely sum up inside an int64."""

NUM_EXPONENTS = 256
HALF_BITS = 24
"""Squares of mantissas have 48 bits and are summed in two halves."""


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, extrema and exact sums of the finite voxels of some blocks, as float32."""

    count: int
    """Finite voxels."""

    num_nan: int
    """Voxels that are NaN."""

    num_inf: int
    """Voxels that are infinite."""

    least: float
    """Smallest finite voxel; inf without one."""

    greatest: float
    """Greatest finite voxel; -inf without one."""

    sums: Ints
    """Sum of signed mantissas by exponent, (256,); exponent 255 is unused."""

    squares: Ints
    """Sums of the high and of the low halves of squared mantissas by exponent, (2, 256)."""

    @property
    def mean(self) -> float:
        """Mean of the finite voxels, correctly rounded.

        Raises
        ------
        NonFiniteError
            If there is no finite voxel.
        """
        self._check()
        return float(_total(self.sums) / self.count)

    @property
    def std(self) -> float:
        """Population standard deviation of the finite voxels, correctly rounded.

        Raises
        ------
        NonFiniteError
            If there is no finite voxel.
        """
        self._check()
        total = _total(self.sums)
        high, low = self.squares
        square = sum(
            (
                Fraction((int(h) << HALF_BITS) + int(w)) * _scale(e) ** 2
                for e, (h, w) in enumerate(zip(high, low, strict=True))
                if h or w
            ),
            Fraction(0),
        )
        return _rounded_sqrt(square / self.count - (total / self.count) ** 2)

    def _check(self) -> None:
        if not self.count:
            msg = (
                f"there is no finite voxel to take statistics of, got {self.num_nan} NaN and "
                f"{self.num_inf} infinite. Check the input volume."
            )
            raise NonFiniteError(msg)


def moments_block(block: npt.NDArray[Any]) -> Moments:
    """Sum up one block.

    Parameters
    ----------
    block : ndarray of real numbers, any shape
        Voxels, taken as float32: 32- and 64-bit integers and float64 are rounded first.

    Raises
    ------
    DtypeError
        If the voxels are not real numbers.

    Notes
    -----
    One compiled pass; types of 8 and 16 bits are counted by value, which is faster.

    Examples
    --------
    >>> moments = moments_block(np.array([1, 2, 3, np.nan], np.float32))
    >>> moments.count, moments.num_nan, moments.mean, moments.greatest
    (3, 1, 2.0, 3.0)
    """
    sums, squares = np.zeros(NUM_EXPONENTS, np.int64), np.zeros((2, NUM_EXPONENTS), np.int64)
    if block.dtype.itemsize <= 2:
        values, counts = count_values(block)
        finite = np.isfinite(values)
        num_nan = int(counts[np.isnan(values)].sum())
        num_inf = int(counts[~finite].sum()) - num_nan
        values, counts = values[finite], counts[finite]
        _add_weighted(values.view(np.uint32), counts, sums, squares)
        least, greatest = values.min(initial=np.inf), values.max(initial=-np.inf)
        count = int(counts.sum())
    else:
        bits = as_float_bits(block)
        count, num_nan, num_inf, low, high = _add_moments(bits, sums, squares)
        least, greatest = (np.array([low, high], np.uint32).view(np.float32)).tolist()
    # turns -0 into 0: which of the two is met first depends on the blocks
    return Moments(
        int(count), int(num_nan), int(num_inf), float(least) + 0.0, float(greatest) + 0.0,
        sums, squares,
    )  # fmt: skip


def merge_moments(parts: Iterable[Moments]) -> Moments:
    """Add up the moments of blocks; any order and any tree gives the same bits.

    Raises
    ------
    PlanError
        If there are more voxels than the sums surely hold, 2**39 (a cube of 8192 a side).
    ShapeError
        If there are no parts.
    """
    moments = list(parts)
    if not moments:
        msg = "no moments to merge, got an empty sequence. Give at least one block."
        raise ShapeError(msg)
    count = sum(m.count for m in moments)
    if count > MAX_VOXELS:
        msg = (
            f"exact statistics hold {MAX_VOXELS} voxels, got {count}. Take them of a coarser level "
            "or of a part of the volume."
        )
        raise PlanError(msg)
    return Moments(
        count,
        sum(m.num_nan for m in moments),
        sum(m.num_inf for m in moments),
        min(m.least for m in moments),
        max(m.greatest for m in moments),
        np.sum([m.sums for m in moments], axis=0),
        np.sum([m.squares for m in moments], axis=0),
    )


def as_float_bits(block: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
    """Bits of the voxels as float32, flat; a view where possible.

    Raises
    ------
    DtypeError
        If the voxels are not real numbers.
    """
    check_real(block)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes inf, and is counted so
        return np.ascontiguousarray(block, np.float32).reshape(-1).view(np.uint32)


def count_values(block: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], Ints]:
    """Values that occur in a block of 8 or 16 bits a voxel, and how often.

    Returns
    -------
    values : ndarray of float32, (n,)
        In the order of their bits, not ascending.
    counts : ndarray of int64, (n,)
    """
    check_real(block)
    native = block.dtype.newbyteorder("=")
    code = np.dtype(f"u{native.itemsize}")
    flat = np.ascontiguousarray(block, native).reshape(-1)
    counts = np.zeros(2 ** (8 * native.itemsize), np.int64)
    _count_codes(flat.view(code), counts)
    codes = np.flatnonzero(counts)
    return codes.astype(code).view(native).astype(np.float32), counts[codes]


def check_real(block: npt.NDArray[Any]) -> None:
    """Refuse voxels that are not real numbers.

    Raises
    ------
    DtypeError
        Naming the type.
    """
    if block.dtype.kind not in "iubf":
        msg = (
            f"statistics are taken of real numbers, got {block.dtype}. Take the absolute value of "
            "complex voxels first."
        )
        raise DtypeError(msg)


@njit(cache=True, nogil=True)
def _count_codes(codes: Any, counts: Any) -> None:
    for i in range(codes.size):
        counts[codes[i]] += 1


@njit(cache=True, nogil=True)
def _add_moments(bits: Any, sums: Any, squares: Any) -> tuple[int, int, int, Any, Any]:
    """Add voxels, given as float32 bits; least and greatest come back as bits."""
    count = num_nan = num_inf = 0
    sign_bit, infinity = np.uint32(0x80000000), np.uint32(0x7F800000)
    least, greatest = infinity, sign_bit | infinity
    low_key, high_key = np.uint32(0xFFFFFFFF), np.uint32(0)
    for i in range(bits.size):
        word = bits[i]
        exponent = np.int64((word >> np.uint32(23)) & np.uint32(0xFF))
        mantissa = np.int64(word & np.uint32(0x7FFFFF))
        if exponent == 255:
            if mantissa == 0:
                num_inf += 1
            else:
                num_nan += 1
            continue
        count += 1
        if exponent > 0:
            mantissa |= np.int64(0x800000)
        key = ~word if word & sign_bit else word | sign_bit  # ascends as the floats do
        if key < low_key:
            low_key, least = key, word
        if key > high_key:
            high_key, greatest = key, word
        square = mantissa * mantissa
        sums[exponent] += -mantissa if word & sign_bit else mantissa
        squares[0, exponent] += square >> np.int64(24)
        squares[1, exponent] += square & np.int64(0xFFFFFF)
    return count, num_nan, num_inf, least, greatest


def _add_weighted(bits: npt.NDArray[np.uint32], counts: Ints, sums: Ints, squares: Ints) -> None:
    """Add finite values, given as float32 bits, each as often as its count says."""
    exponent = (bits >> np.uint32(23)).astype(np.int64) & 0xFF
    mantissa = bits.astype(np.int64) & 0x7FFFFF
    mantissa[exponent > 0] |= 0x800000
    square = mantissa**2
    np.add.at(sums, exponent, np.where(bits >> np.uint32(31), -mantissa, mantissa) * counts)
    np.add.at(squares[0], exponent, (square >> HALF_BITS) * counts)
    np.add.at(squares[1], exponent, (square & (2**HALF_BITS - 1)) * counts)


def _scale(exponent: int) -> Fraction:
    """Weight of the last bit of a mantissa; exponent 0 holds the subnormal numbers."""
    power = max(exponent, 1) - 150
    return Fraction(2**power) if power >= 0 else Fraction(1, 2**-power)


def _total(sums: Ints) -> Fraction:
    parts = (int(s) * _scale(e) for e, s in enumerate(sums) if s)
    return sum(parts, Fraction(0))


def _rounded_sqrt(square: Fraction) -> float:
    """Root of a fraction, correctly rounded.

    >>> _rounded_sqrt(Fraction(9, 4))
    1.5
    """
    # a root with at least 64 bits, and one more that says whether anything is left over: rounding
    # that to a float's 53 bits is the same as rounding the true root
    bits = square.numerator.bit_length() - square.denominator.bit_length()
    shift = max(0, 66 - bits // 2)
    scaled, rest = divmod(square.numerator << (2 * shift), square.denominator)
    root = isqrt(scaled)
    left_over = rest > 0 or root * root != scaled
    return float(Fraction(2 * root + left_over, 2 ** (shift + 1)))
