"""Digits that add up without rounding."""

from fractions import Fraction
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.reduce.exact_sums import (
    LEAST_EXPONENT,
    Window,
    carry_digits,
    digits_to_float,
    multiply_digits,
    place_digits,
    scale_digits,
    split_digits,
    widest,
)
from volproc.reduce.measure_kernels import add_square, add_value

floats = st.floats(allow_nan=False, allow_infinity=False)
naturals = st.integers(0, 2**63 - 1)


def window_of(values: list[float]) -> Window:
    """Exponents of the last binary places, by another way than the compiled loop."""
    places = [max(int(np.frexp(v)[1]) - 53 - LEAST_EXPONENT, 0) for v in values if v]
    return Window(min(places), max(places)) if places else Window()


def digits_of(values: list[float], window: Window, power: int = 1) -> np.ndarray:
    add = {1: add_value, 2: add_square}[power]
    first, number = {
        1: (window.first, window.num_digits),
        2: (window.first_square, window.num_squares),
    }[power]
    digits = np.zeros((1, number), np.int64)
    for bits in np.array(values).view(np.uint64):
        add(digits, 0, first, bits)
    return digits


def exact(digits: np.ndarray, unit: int) -> Fraction:
    return sum(
        (int(d) * Fraction(2) ** (32 * i + unit) for i, d in enumerate(digits[0])), Fraction(0)
    )


@settings(deadline=None, max_examples=150)
@given(st.lists(floats, max_size=20), st.sampled_from([1, 2]))
def test_digits_hold_the_exact_sum(values: list[float], power: int) -> None:
    window = window_of(values)
    total = sum((Fraction(v) ** power for v in values), Fraction(0))
    digits = digits_of(values, window, power)
    canonical = carry_digits(digits)
    first = window.first if power == 1 else window.first_square
    unit = power * LEAST_EXPONENT + 32 * first
    assert exact(digits, unit) == exact(canonical, unit) == total
    assert ((canonical[:, :-1] >= 0) & (canonical[:, :-1] < 2**32)).all()


@settings(deadline=None, max_examples=100)
@given(st.lists(floats, max_size=20), st.randoms(use_true_random=False))
def test_the_order_does_not_change_the_digits(values: list[float], random: object) -> None:
    shuffled = list(values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    window = window_of(values)
    np.testing.assert_array_equal(
        carry_digits(digits_of(values, window)), carry_digits(digits_of(shuffled, window))
    )


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), max_size=20))
def test_the_float_is_the_rounded_sum(values: list[float]) -> None:
    expected, window = fsum(values), window_of(values)
    unit = LEAST_EXPONENT + 32 * window.first
    (found,) = digits_to_float(carry_digits(digits_of(values, window)), unit)
    assert abs(found - expected) <= np.spacing(abs(expected))


def test_numbers_beyond_float64_keep_their_exponent() -> None:
    digits = carry_digits(np.array([[0, 0, 5], [0, 0, -5]]))
    number, exponent = scale_digits(digits)
    assert number.tolist() == [5, -5]
    assert exponent.tolist() == [64, 64]
    assert digits_to_float(digits, 2000).tolist() == [np.inf, -np.inf]


@settings(deadline=None, max_examples=100)
@given(naturals, naturals)
def test_products_are_exact(one: int, other: int) -> None:
    digits = multiply_digits(*(split_digits(np.array([n])) for n in (one, other)))
    assert exact(digits, 0) == one * other
    assert (digits < 2**32).all()


@settings(deadline=None, max_examples=60)
@given(st.lists(floats, min_size=1, max_size=9), st.lists(floats, min_size=1, max_size=9))
def test_sums_of_two_windows_meet_in_the_widest(one: list[float], other: list[float]) -> None:
    parts = [(values, window_of(values)) for values in (one, other)]
    window = widest(w for _, w in parts)
    placed = [
        place_digits(digits_of(v, w), w.first - window.first, window.num_digits) for v, w in parts
    ]
    together = digits_of(one + other, window)
    np.testing.assert_array_equal(carry_digits(sum(placed)), carry_digits(together))


def test_a_window_without_numbers_has_no_digits() -> None:
    assert (Window().num_digits, Window().num_squares) == (0, 0)
    assert widest([Window(), Window(3, 40)]) == Window(3, 40)


@pytest.mark.parametrize("value", [5e-324, 1.7976931348623157e308, -1.0])
def test_a_window_has_room_for_a_terabyte_of_the_same_number(value: float) -> None:
    window = window_of([value])
    digits = carry_digits(digits_of([value], window) * 2**31)
    for _ in range(11):  # 2**42 of them
        digits = carry_digits(digits * 2)
    assert abs(int(digits[0, -1])) < 2**32
    unit = LEAST_EXPONENT + 32 * window.first
    assert exact(digits, unit) == Fraction(value) * 2**42
