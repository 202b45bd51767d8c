"""Sums of float32 without rounding, as digits that add up in any order."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Digits = npt.NDArray[np.int64]

DIGIT_BITS = 32
UNIT_EXPONENT = -149
"""The last digit counts units of 2**-149, the least positive float32."""


def carry_digits(digits: Digits) -> Digits:
    """Bring sums of digits into their one canonical form.

    Parameters
    ----------
    digits : ndarray of int64, (n, k)
        Digits of ``n`` numbers, the least significant first, each digit with a weight
        ``2**32`` times that of the one before and of any size and sign.

    Returns
    -------
    digits : ndarray of int64, (n, k)
        The same numbers with all digits but the last in [0, 2**32); the last has the sign. Equal
        numbers have equal digits.

    Examples
    --------
    >>> carry_digits(np.array([[2**33 + 5, 0, 1], [-1, 0, 0]]))
    array([[         5,          2,          1],
           [4294967295, 4294967295,         -1]])
    """
    out = digits.copy()
    for i in range(out.shape[1] - 1):
        carried = out[:, i] >> DIGIT_BITS
        out[:, i] -= carried << DIGIT_BITS
        out[:, i + 1] += carried
    return out


def digits_to_float(digits: Digits) -> npt.NDArray[np.float64]:
    """Numbers in canonical digits as float64, within one unit in the last place.

    Parameters
    ----------
    digits : ndarray of int64, (n, k)
        As `carry_digits` gives them.

    Notes
    -----
    A negative number is negated first, so that all digits have one sign and nothing cancels:
    adding them from the greatest down loses at most the rounding of the last steps. Equal digits
    give equal floats.

    Examples
    --------
    >>> digits = np.zeros((1, 10), np.int64)
    >>> digits[0, 4] = -3 << 21
    >>> digits_to_float(carry_digits(digits))
    array([-3.])
    """
    negative = digits[:, -1] < 0
    magnitude: npt.NDArray[Any] = carry_digits(np.where(negative[:, None], -digits, digits))
    total = np.zeros(len(digits))
    for i in range(digits.shape[1]):  # upwards: the small digits meet before they are rounded
        total += np.ldexp(magnitude[:, i].astype(np.float64), DIGIT_BITS * i + UNIT_EXPONENT)
    return np.where(negative, -total, total)
