"""What differs between two descriptions of the same work."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any


def describe_differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Name the values that differ, those inside of others by the way to them.

    Parameters
    ----------
    before : mapping
        JSON values, as they were read.
    now : mapping
        Values that can be written as JSON.

    Returns
    -------
    text : str
        Clauses, by name; empty where nothing differs.

    Examples
    --------
    >>> before = {"seed": 3, "settings": {"overlap": 0.25, "pad": False}}
    >>> describe_differences(before, {"settings": {"overlap": 0.5, "pad": False}})
    'seed was 3, is None; settings.overlap was 0.25, is 0.5'
    """
    written = json.loads(json.dumps(now, default=str))
    return "; ".join(
        f"{name} was {shortened(old)}, is {shortened(new)}"
        for name, old, new in _differing(before, written, "")
    )


def shortened(value: Any, length: int = 80) -> str:
    """Write a value for a message, without the middle of a long one.

    >>> shortened({"overlap": 0.5}), shortened("a" * 100, 9)
    ("{'overlap': 0.5}", "'aaa…aaa'")
    """
    text = repr(value)
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def _differing(
    before: Mapping[str, Any], now: Mapping[str, Any], within: str
) -> Iterator[tuple[str, Any, Any]]:
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differing(old, new, f"{within}{key}.")
        else:
            yield f"{within}{key}", old, new
