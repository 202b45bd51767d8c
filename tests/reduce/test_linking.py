"""Links of greatest overlap between slices: as brute force finds them, whatever the labels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ConfigError
from volproc.reduce.linking import (
    LinkRule,
    fill_slices,
    link_array,
    link_sections,
    no_chains,
    number_chains,
)
from volproc.reduce.linking_tables import measure_slices, merge_slices

SHAPE = (6, 5, 11)

Section = tuple[int, int]


def stack(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Up to four instances a slice that keep a little of their place, and empty slices."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, int)
    for plane in labels:
        for label in generator.permutation(4)[: generator.integers(0, 5)] + 1:
            y, x = (generator.integers(0, n) for n in shape[1:])
            height, width = generator.integers(1, 5, 2)
            plane[max(0, y - height) : y + 1, max(0, x - 2 * width) : x + 1] = label
    return labels


def overlap_of(one: np.ndarray, other: np.ndarray, method: str) -> float:
    common = (one & other).sum()
    iou = common / (one | other).sum()
    if method == "hungarian":
        return float(iou)
    return float(common / min(one.sum(), other.sum()) + iou * 2.0**-20)


def chosen_by_brute_force(
    lower: list[np.ndarray], upper: list[np.ndarray], rule: LinkRule
) -> list[int]:
    """Partner of each lower section, -1 for none, of all assignments that are possible."""
    weights = np.zeros((len(lower), len(upper)), np.int64)
    for i, j in np.ndindex(weights.shape):
        common = (lower[i] & upper[j]).sum()
        areas = lower[i].sum(), upper[j].sum()
        base = min(areas) if rule.method == "containment" else sum(areas) - common
        if common and common / base >= rule.min_iou:
            weights[i, j] = round(overlap_of(lower[i], upper[j], rule.method) * 2**40)
    best = None
    for chosen in product(range(-1, len(upper)), repeat=len(lower)):
        partners = [j for j in chosen if j >= 0]
        if len(set(partners)) < len(partners):
            continue
        got = [weights[i, j] if j >= 0 else 0 for i, j in enumerate(chosen)]
        if any(j >= 0 and not w for w, j in zip(got, chosen, strict=True)):
            continue
        key = (-sum(got), [(j < 0, -w, j) for w, j in zip(got, chosen, strict=True)])
        if best is None or key < best[0]:
            best = (key, list(chosen))
    assert best is not None
    return best[1]


def linked_by_brute_force(labels: np.ndarray, rule: LinkRule) -> tuple[np.ndarray, dict]:
    """Objects by their first voxels, and the links, as the docstring says it."""
    order = {
        z: sorted(set(plane[plane > 0]), key=lambda v, p=plane: np.flatnonzero(p == v)[0])
        for z, plane in enumerate(labels)
    }
    above: dict[Section, Section] = {}
    below: dict[Section, Section] = {}
    for distance in range(1, rule.max_distance_z + 1):
        for z in range(len(labels) - distance):
            one = [(z, v) for v in order[z] if (z, v) not in above]
            other = [
                (z + distance, v) for v in order[z + distance] if (z + distance, v) not in below
            ]
            masks = [[labels[s[0]] == s[1] for s in side] for side in (one, other)]
            for i, j in enumerate(chosen_by_brute_force(*masks, rule)):
                if j >= 0:
                    above[one[i]], below[other[j]] = other[j], one[i]
    objects: dict[Section, int] = {}
    out = np.zeros_like(labels)
    for z, v in [(plane, label) for plane in order for label in order[plane]]:
        begins = (z, v) not in below
        objects[z, v] = max(objects.values(), default=0) + 1 if begins else objects[below[z, v]]
        out[z][labels[z] == v] = objects[z, v]
    return out, above


def filled_by_brute_force(labels: np.ndarray, objects: np.ndarray, above: dict) -> np.ndarray:
    out = objects.copy()
    gaps = []
    for (z, v), (top, w) in above.items():
        both = (labels[z] == v) & (labels[top] == w)
        gaps += [(top - z, objects[z][both][0], z, both)] if both.any() else []
    for distance, number, z, both in sorted(gaps, key=lambda g: (-g[0], -g[1])):
        for plane in range(z + 1, z + distance):
            out[plane][both & (objects[plane] == 0)] = number
    return out


@given(
    st.integers(0, 9999),
    st.sampled_from([0.0, 0.1, 0.3, 0.5, 1.0]),
    st.integers(1, 4),
    st.sampled_from(["hungarian", "containment"]),
    st.booleans(),
)
def test_links_are_those_of_brute_force(seed, min_iou, distance, method, fill_gaps) -> None:
    labels = stack(seed)
    rule = LinkRule(min_iou, distance, method)
    expected, above = linked_by_brute_force(labels, rule)
    num_expected = expected.max()
    if fill_gaps:
        expected = filled_by_brute_force(labels, expected, above)
    found, num_objects = link_array(labels, rule, fill_gaps=fill_gaps)
    np.testing.assert_array_equal(found, expected)
    assert num_objects == num_expected


@given(st.integers(0, 9999), st.sampled_from([0.0, 0.3]))
def test_labels_of_the_slices_do_not_matter(seed, min_iou) -> None:
    labels = stack(seed)
    generator = np.random.default_rng(seed)
    renamed = [np.append(0, generator.permutation(999)[:4] * 1009 + 1)[plane] for plane in labels]
    rule = LinkRule(min_iou)
    np.testing.assert_array_equal(
        link_array(np.stack(renamed), rule)[0], link_array(labels, rule)[0]
    )


def test_a_second_pass_is_the_identity() -> None:
    for seed in range(20):
        once, count = link_array(stack(seed))
        again, _ = link_array(once)
        if (np.diff([len(np.unique(p)) for p in once]) == 0).all():
            assert again.max() == count
        np.testing.assert_array_equal(again, once)


def lines(*rows: str) -> np.ndarray:
    """One row of voxels a slice; letters are sections, dots background."""
    return np.array([[[0 if c == "." else ord(c) for c in row]] for row in rows])


def linked(*rows: str, **options: float | str) -> list[str]:
    labels, _ = link_array(lines(*rows), LinkRule(**options))
    return ["".join("." if v == 0 else str(v) for v in plane[0]) for plane in labels]


def test_an_object_missing_in_one_slice_is_one_object() -> None:
    assert linked("aaa..", ".....", "bbb..") == ["111..", ".....", "111.."]
    assert linked("aaa..", ".....", "bbb..", max_distance_z=1) == ["111..", ".....", "222.."]
    assert linked("aa", "..", "..", "bb") == ["11", "..", "..", "22"]
    assert linked("aa", "..", "..", "bb", max_distance_z=3) == ["11", "..", "..", "11"]


def test_numbers_are_not_used_again() -> None:
    found = linked("aa.bb.cc", "aa......", "aa.bb.cc", max_distance_z=1)
    assert found == ["11.22.33", "11......", "11.44.55"]
    assert linked("aa.bb.cc", "aa......", "aa....cc") == ["11.22.33", "11......", "11....33"]


SHIFTED = ("." * 12 + "a" * 16 + "b" * 20, "q" * 20 + "p" * 16 + "." * 12)
"""IoU of a and p is 8 / 24; of a and q, and of b and p, 8 / 28."""


def test_pairs_below_the_threshold_do_not_displace_a_link() -> None:
    assert linked(*SHIFTED) == ["." * 12 + "1" * 16 + "2" * 20, "3" * 20 + "1" * 16 + "." * 12]


def test_the_sum_counts_and_not_the_greatest_pair() -> None:
    found = linked(*SHIFTED, min_iou=0.2)
    assert found == ["." * 12 + "1" * 16 + "2" * 20, "1" * 20 + "2" * 16 + "." * 12]


def test_nearest_slices_come_first() -> None:
    # c fits a exactly, but b lies between and fits well enough
    assert linked("aaaa", "bbb.", "cccc") == ["1111", "111.", "1111"]
    # b is too small for a; then c, two slices up, is a's, and b stays alone between them
    assert linked("aaaa", "b...", "cccc") == ["1111", "2...", "1111"]


def test_containment_keeps_an_object_that_shrinks() -> None:
    assert linked("aaaaaaaa", "bb......") == ["11111111", "22......"]
    assert linked("aaaaaaaa", "bb......", method="containment") == ["11111111", "11......"]
    # both lie inside a; the larger one goes on
    assert linked("aaaaaaaa", "b.ccccc.", method="containment") == ["11111111", "2.11111."]


def test_of_equal_partners_the_first_in_the_slice_is_taken() -> None:
    assert linked("zzzz", "bbaa") == ["1111", "1122"]
    assert linked("bbaa", "zzzz") == ["1122", "1111"]
    # a ring of ties: each section overlaps two by a third
    assert linked("aabbcc..", ".ddeeff.") == ["112233..", ".112233."]


def test_of_equal_assignments_the_first_section_gets_its_greatest_overlap() -> None:
    # z-q and y-r, or z-p and y-q: 2/5 + 1/3 either way
    assert linked("zzzyyy", "pqqqqr") == ["111222", "311112"]
    assert linked("yyyzzz", "rqqqqp") == ["111222", "311112"]


@pytest.mark.parametrize("count", [2, 3])
def test_a_filled_gap_shows_where_both_sections_are(count) -> None:
    rows = ["aaaa..", *["....b."] * count, ".cccc."]
    stacked = lines(*rows)
    filled, _ = link_array(stacked, LinkRule(max_distance_z=count + 1), fill_gaps=True)
    between = ["".join(map(str, plane[0])) for plane in filled[1:-1]]
    assert between == ["011120"] * count


def test_filling_never_paints_over_a_section() -> None:
    stacked = lines("aaaa", ".bb.", "aaaa")
    rule = LinkRule(min_iou=0.6)
    filled, _ = link_array(stacked, rule, fill_gaps=True)
    assert filled[1, 0].tolist() == [1, 2, 2, 1]


def test_the_shortest_gap_paints_first_then_the_smaller_object() -> None:
    ids = np.array([1, 2, 0, 2, 1])[:, None, None]
    reach = np.array([4, 2, 0, 0, 0])[:, None, None]
    filled = fill_slices(ids, reach, start=2, stop=3, max_distance_z=4)
    assert filled.ravel().tolist() == [2]
    ids = np.array([2, 1, 0, 2, 1])[:, None, None]
    reach = np.array([3, 3, 0, 0, 0])[:, None, None]
    filled = fill_slices(ids, reach, start=2, stop=3, max_distance_z=3)
    assert filled.ravel().tolist() == [1]


def test_slices_above_decide_and_slices_below_do_not() -> None:
    labels = stack(11, (9, 7, 13))
    rule = LinkRule(0.1, 3)

    def links_of(first: int, stop: int) -> np.ndarray:
        table = measure_slices(
            labels[first:stop], offset=(first, 0, 0), shape=labels.shape, max_distance_z=3
        )[1]
        return link_sections(merge_slices([table]), rule)

    whole = links_of(0, 9)
    plane = 7 * 13
    part = links_of(2, 8)
    for z in range(2, 5):
        rows = whole[whole[:, 0] // plane == z]
        np.testing.assert_array_equal(part[part[:, 0] // plane == z], rows)


def test_chains_go_on_over_slabs_that_do_not_show_them() -> None:
    labels = lines("aa.", "..b", "..b", "aa.")
    rule = LinkRule(max_distance_z=3)
    options = {"shape": labels.shape, "max_distance_z": 3}
    whole = merge_slices([measure_slices(labels, offset=(0, 0, 0), **options)[1]])
    links = link_sections(whole, rule)
    chains = no_chains()
    found = []
    for z, plane in enumerate(labels):
        table = merge_slices([measure_slices(plane[None], offset=(z, 0, 0), **options)[1]])
        chains, ids, reach = number_chains(chains, table, links[links[:, 0] // 3 == z], 3)
        found.append((ids.tolist(), reach.tolist()))
    assert found == [([1], [3]), ([2], [1]), ([2], [0]), ([1], [0])]
    assert chains.num_objects == 2


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"min_iou": 1.5}, "between 0 and 1, got 1.5"),
        ({"min_iou": float("nan")}, "between 0 and 1, got nan"),
        ({"min_iou": -0.1}, "got -0.1"),
        ({"max_distance_z": 0}, "at least 1 slice, got 0"),
        ({"max_distance_z": 1.5}, "whole number of slices, got 1.5"),
        ({"max_distance_z": True}, "whole number of slices, got True"),
        ({"method": "hungarien"}, 'unknown method "hungarien": did you mean "hungarian"'),
    ],
)
def test_rules_that_cannot_be_are_refused(options, text) -> None:
    with pytest.raises(ConfigError, match=text):
        LinkRule(**options)
