"""Decisions on the merged table of all objects."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import ConfigError
from volproc.reduce.filtering import FilterRule, as_pairs, mapped_labels
from volproc.reduce.numbering import LabelTable


def table(**columns: list[int]) -> LabelTable:
    label = np.array(columns.pop("label"), np.uint64)
    zero = np.zeros(len(label), np.int64)
    given = {name: np.array(values, np.int64) for name, values in columns.items()}
    return LabelTable(label, **(dict.fromkeys(("count", "first", "edges", "inside"), zero) | given))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (FilterRule(), [2, 5, 9]),
        (FilterRule(min_voxels=10), [5, 9]),
        (FilterRule(max_voxels=10), [2, 5]),
        (FilterRule(min_volume=2.5, voxel_volume=0.25), [5, 9]),
        (FilterRule(max_volume=2.5, voxel_volume=0.25), [2, 5]),
        (FilterRule(touching_edge=True, edge_bits=0b11), [5]),
        (FilterRule(touching_edge=False, edge_bits=0b111), [2]),
        (FilterRule(min_inside=0.5), [5]),
        (FilterRule(keep=(9, 2), remove=(2,)), [9]),
    ],
)
def test_a_rule_keeps_what_fulfils_it(rule, expected) -> None:
    objects = table(label=[2, 5, 9], count=[9, 10, 11], edges=[0, 2, 4], inside=[4, 5, 5])
    assert objects.label[rule.chosen(objects)].tolist() == expected


def test_pairs_are_sorted_and_said_once() -> None:
    old, new = as_pairs(np.array([[9, 1], [3, 2], [9, 1]], np.int8))
    assert (old.tolist(), new.tolist()) == ([3, 9], [2, 1])
    assert [part.tolist() for part in as_pairs({})] == [[], []]
    assert as_pairs({0: 0, 2**63 + 1: 4})[0].tolist() == [0, 2**63 + 1]


def test_labels_are_looked_up() -> None:
    objects = table(label=[2, 5, 9])
    pairs = as_pairs({5: 50, 7: 70})
    assert mapped_labels(objects, *pairs, "keep").tolist() == [2, 50, 9]
    assert mapped_labels(objects, *pairs, "remove").tolist() == [0, 50, 0]
    assert mapped_labels(objects, *as_pairs({}), "keep").tolist() == [2, 5, 9]
    with pytest.raises(ConfigError, match=r"2 labels.*\[2, 9\]"):
        mapped_labels(objects, *pairs, "error")
