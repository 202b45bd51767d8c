"""Digits that add up without rounding."""

from fractions import Fraction
from math import fsum

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.reduce.exact_sums import carry_digits, digits_to_float
from volproc.reduce.kernels import NUM_LIMBS, add_float

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


def digits_of(values: list[float]) -> np.ndarray:
    digits = np.zeros((1, NUM_LIMBS), np.int64)
    for bits in np.array(values, np.float32).view(np.uint32):
        add_float(digits, 0, bits)
    return digits


def exact(digits: np.ndarray) -> Fraction:
    return sum(
        (int(d) * Fraction(2) ** (32 * i - 149) for i, d in enumerate(digits[0])), Fraction(0)
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(floats, max_size=20))
def test_digits_hold_the_exact_sum(values: list[float]) -> None:
    total = sum(map(Fraction, values), Fraction(0))
    digits = digits_of(values)
    canonical = carry_digits(digits)
    assert exact(digits) == exact(canonical) == total
    assert ((canonical[:, :-1] >= 0) & (canonical[:, :-1] < 2**32)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(floats, max_size=20), st.randoms(use_true_random=False))
def test_the_order_does_not_change_the_digits(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(
        carry_digits(digits_of(values)), carry_digits(digits_of(shuffled))
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(floats, max_size=20))
def test_the_float_is_the_rounded_sum(values: list[float]) -> None:
    expected = fsum(values)
    (found,) = digits_to_float(carry_digits(digits_of(values)))
    assert abs(found - expected) <= np.spacing(abs(expected))
