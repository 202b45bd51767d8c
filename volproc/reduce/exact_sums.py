"""Sums of floating-point numbers without rounding, as digits that add up in any order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Digits = npt.NDArray[np.int64]

DIGIT_BITS = 32
LEAST_EXPONENT = -1074
"""Powers of two are counted from 2**-1074, the least positive float64."""

_MASK = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Window:
    """The digits that sums of some numbers can need; those outside are zero and left out.

    Digit ``i`` of a sum counts units of ``2**(32 * i - 1074)``, digit ``i`` of a sum of squares
    units of ``2**(32 * i - 2148)``. A window holds sums of up to 2**42 numbers.

    Parameters
    ----------
    lowest, highest : int
        Exponents of the last binary place of the numbers, counted from -1074: 0 … 2045. Without
        any number but zero, ``highest`` is less than ``lowest``.
    """

    lowest: int = 2046
    highest: int = -1

    @property
    def first(self) -> int:
        """Lowest digit of a sum."""
        return self.lowest >> 5

    @property
    def num_digits(self) -> int:
        """Digits of a sum: 53 bits of a number, 31 of its shift, 42 of the count, and a sign."""
        return max(0, (self.highest >> 5) + 4 - self.first)

    @property
    def first_square(self) -> int:
        """Lowest digit of a sum of squares."""
        return self.lowest >> 4

    @property
    def num_squares(self) -> int:
        """Digits of a sum of squares: 106 bits of a square, 31 of its shift, 42 of the count."""
        return max(0, (self.highest >> 4) + 6 - self.first_square)


def widest(windows: Iterable[Window]) -> Window:
    """Return the least window that has all digits of some windows.

    >>> widest([Window(40, 70), Window(), Window(20, 30)])
    Window(lowest=20, highest=70)
    """
    every = list(windows)
    return Window(min(w.lowest for w in every), max(w.highest for w in every))


def place_digits(digits: Digits, first: int, num_digits: int) -> Digits:
    """Add zero digits below and above.

    Parameters
    ----------
    digits : ndarray of int64, (n, k)
        Digits of ``n`` numbers; their last one has the sign.
    first : int
        How many to add below.
    num_digits : int
        How many there are in the end.

    Returns
    -------
    digits : ndarray of int64, (n, num_digits)
        The same numbers times ``2**(32 * first)``; not canonical where a number is negative.
    """
    out = np.zeros((len(digits), num_digits), np.int64)
    out[:, first : first + digits.shape[1]] = digits
    return out


def carry_digits(digits: Digits) -> Digits:
    """Bring sums of digits into their one canonical form.

    Parameters
    ----------
    digits : ndarray of int64, (..., k)
        Digits of numbers, the least significant first, each digit with a weight ``2**32`` times
        that of the one before and of any size and sign.

    Returns
    -------
    digits : ndarray of int64, (..., k)
        The same numbers with all digits but the last in [0, 2**32); the last has the sign. Equal
        numbers have equal digits.

    Examples
    --------
    >>> carry_digits(np.array([[2**33 + 5, 0, 1], [-1, 0, 0]]))
    array([[         5,          2,          1],
           [4294967295, 4294967295,         -1]])
    """
    out = digits.copy()
    for i in range(out.shape[-1] - 1):
        carried = out[..., i] >> DIGIT_BITS
        out[..., i] -= carried << DIGIT_BITS
        out[..., i + 1] += carried
    return out


def magnitude(digits: Digits) -> tuple[Digits, npt.NDArray[np.bool_]]:
    """Absolute values of numbers in canonical digits, and which of them are negative."""
    if not digits.shape[1]:
        return digits, np.zeros(len(digits), bool)
    negative = digits[:, -1] < 0
    return carry_digits(np.where(negative[:, None], -digits, digits)), negative


def split_digits(numbers: npt.NDArray[np.int64]) -> Digits:
    """Numbers that are not negative as two digits.

    >>> split_digits(np.array([2**32 + 7]))
    array([[7, 1]])
    """
    return np.stack([numbers & _MASK, numbers >> DIGIT_BITS], axis=1)


def multiply_digits(one: Digits, other: Digits) -> Digits:
    """Products of numbers that are not negative, without rounding.

    Parameters
    ----------
    one, other : ndarray of int64, (n, j) and (n, k)
        Canonical digits, all of them, the last one too, below 2**32.

    Returns
    -------
    product : ndarray of int64, (n, j + k)
        Canonical digits.

    Examples
    --------
    >>> multiply_digits(np.array([[2**32 - 1, 1]]), np.array([[2**31]]))
    array([[2147483648, 4294967295,          0]])
    """
    out = np.zeros((len(one), one.shape[1] + other.shape[1]), np.int64)
    for i in range(one.shape[1]):
        for j in range(other.shape[1]):
            product = one[:, i].astype(np.uint64) * other[:, j].astype(np.uint64)
            out[:, i + j] += (product & np.uint64(_MASK)).astype(np.int64)
            out[:, i + j + 1] += (product >> np.uint64(DIGIT_BITS)).astype(np.int64)
    return carry_digits(out)


def scale_digits(digits: Digits) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Numbers in canonical digits as float64 and powers of two, within one unit in the last place.

    Parameters
    ----------
    digits : ndarray of int64, (n, k)
        As `carry_digits` gives them.

    Returns
    -------
    number : ndarray of float64, (n,)
        At most 2**32, or as large as a last digit.
    exponent : ndarray of int64, (n,)
        The numbers are ``number * 2**exponent``; a multiple of 32.

    Notes
    -----
    A negative number is negated first, so that all digits have one sign and nothing cancels:
    adding them from the least up loses at most the rounding of the last steps. Equal digits give
    equal floats.

    Examples
    --------
    >>> scale_digits(carry_digits(np.array([[0, -3, 0]])))
    (array([-3.]), array([32]))
    """
    absolute, negative = magnitude(digits)
    at = np.arange(digits.shape[1])
    top = np.where(absolute > 0, at, 0).max(axis=1, initial=0)
    total: npt.NDArray[Any] = np.zeros(len(digits))
    with np.errstate(under="ignore"):
        for i in at:
            total += np.ldexp(absolute[:, i].astype(np.float64), DIGIT_BITS * (i - top))
    return np.where(negative, -total, total), DIGIT_BITS * top


def digits_to_float(digits: Digits, unit: int) -> npt.NDArray[np.float64]:
    """Numbers in canonical digits, the first of which counts units of ``2**unit``, as float64.

    Notes
    -----
    As `scale_digits`. A number beyond float64 is infinite.

    Examples
    --------
    >>> digits_to_float(carry_digits(np.array([[-3 << 21, 0, 0]])), unit=-21)
    array([-3.])
    """
    number, exponent = scale_digits(digits)
    with np.errstate(over="ignore", under="ignore"):
        return np.ldexp(number, exponent + unit)
