"""Bytes for people."""

from __future__ import annotations

import pytest

from volproc.plan.memory import format_bytes


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (5e18, "5e+03 PB")],
)
def test_bytes_have_decimal_units(count: float, text: str) -> None:
    assert format_bytes(count) == text
