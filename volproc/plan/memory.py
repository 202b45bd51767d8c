"""Bytes for people, and what this machine has."""

from __future__ import annotations

UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def format_bytes(count: float) -> str:
    """Bytes with a decimal unit.

    >>> format_bytes(2_147_483_648)
    '2.15 GB'
    >>> format_bytes(12)
    '12 B'
    """
    value, unit = float(count), 0
    while value >= 1000 and unit < len(UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.3g} {UNITS[unit]}" if unit else f"{int(count)} B"
