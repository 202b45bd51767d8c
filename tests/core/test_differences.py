from __future__ import annotations

from pathlib import Path

from volproc.core.differences import describe_differences


def test_only_what_differs_is_named_however_deep_it_lies() -> None:
    common = {"views": ["identity"] * 50, "nested": {"pad": False}}
    before = {"settings": {**common, "nested": {"pad": False, "batch": 1}}, "gone": 2}
    now = {"settings": {**common, "nested": {"pad": False, "batch": 4}}, "new": {"a": 1}}
    assert describe_differences(before, now) == (
        "gone was 2, is None; new was None, is {'a': 1}; settings.nested.batch was 1, is 4"
    )


def test_values_are_compared_as_they_would_be_written() -> None:
    assert describe_differences({"a": [1, 2], "b": "x"}, {"a": (1, 2), "b": Path("x")}) == ""


def test_a_mapping_that_became_a_value_is_named_as_it_is() -> None:
    assert describe_differences({"a": {"b": 1}}, {"a": 3}) == "a was {'b': 1}, is 3"
