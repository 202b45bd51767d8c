"""The verdict on seams: nothing on what is whole, everything on what was cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from itertools import product
from math import asin, sqrt
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError
from volproc.reduce.seam_judgement import ALL_AXES, find_planes, judge_seams
from volproc.reduce.seam_measures import find_measures
from volproc.reduce.seam_report import SeamReport, SeamRule
from volproc.reduce.seams import find_tiles, join_blocks, scan_block

SHAPE = (60, 70, 80)

BLOCKS = (20, 35, 32)

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@cache
def field() -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    smooth = ndi.gaussian_filter(noise, 1.5)
    return smooth / smooth.std()


@cache
def objects() -> np.ndarray:
    return ndi.label(field() > 0.9)[0]


@cache
def cells() -> np.ndarray:
    """A dense packing: every voxel belongs to the nearest of many seeds."""
    seeds = np.random.default_rng(1).integers(0, SHAPE, (600, 3))
    place = np.zeros(SHAPE, int)
    place[tuple(seeds.T)] = np.arange(1, 601)
    nearest = ndi.distance_transform_edt(place == 0, return_indices=True)[1]
    return place[tuple(nearest)]


def cut_of(shape: tuple[int, ...], blocks: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(min(b, n - i) for i in range(0, n, b)) for n, b in zip(shape, blocks, strict=True)
    )


def judge(array: np.ndarray, blocks: tuple[int, ...] = BLOCKS, **options: object) -> SeamReport:
    cuts = cut_of(array.shape, blocks)
    tiles = find_tiles(cuts)
    block = scan_block(
        array,
        kind="labels" if array.dtype.kind in "iu" else "intensity",
        index=(0,) * array.ndim,
        offset=(0,) * array.ndim,
        shape=array.shape,
        tiles=tiles,
    )
    return judge_seams(join_blocks([block], [], array.shape), cuts, **options)


def by_block(
    array: np.ndarray, change: Callable[[np.ndarray, int], np.ndarray], blocks=BLOCKS
) -> np.ndarray:
    """Change a volume block by block."""
    starts = product(*(range(0, n, b) for n, b in zip(array.shape, blocks, strict=True)))
    result: np.ndarray | None = None
    for number, start in enumerate(starts):
        region = tuple(slice(i, i + b) for i, b in zip(start, blocks, strict=True))
        part = change(array[region], number)
        if result is None:
            result = np.zeros(array.shape, part.dtype)
        result[region] = part
    assert result is not None
    return result


def at_seams(array: np.ndarray, change: Callable[[np.ndarray], object], width=(1, 1)) -> np.ndarray:
    """Change the slices beside every seam, in place of a copy."""
    out = array.copy()
    for axis, (n, b) in enumerate(zip(array.shape, BLOCKS, strict=True)):
        for plane in range(b, n, b):
            change(np.moveaxis(out, axis, 0)[plane - width[0] : plane + width[1]])
    return out


def measures_that_fail(report: SeamReport) -> set[str]:
    return {f.measure for f in report.findings if f.verdict == "fail"}


@pytest.mark.parametrize("make", [field, objects, cells])
def test_what_is_whole_passes(make) -> None:
    report = judge(make())
    assert report.verdict == "pass", report.reason
    assert report.passed is True
    assert not measures_that_fail(report)
    assert report.seams == {"z": (20, 40), "y": (35,), "x": (32, 64)}


def test_a_class_map_passes_and_a_full_volume_too() -> None:
    assert judge((field() > 0).astype(np.uint8)).verdict == "pass"
    assert judge(np.ones(SHAPE, np.uint8)).verdict == "pass"


@pytest.mark.parametrize("make", [objects, cells])
def test_objects_cut_by_blocks_fail(make) -> None:
    unstitched = by_block(make(), lambda part, n: np.where(part > 0, part + 10_000 * n, 0))
    report = judge(unstitched)
    assert report.verdict == "fail"
    assert {"changed", "objects"} <= measures_that_fail(report)
    (found,) = (f for f in report.findings if (f.measure, f.axis) == ("changed", ALL_AXES))
    assert found.seam == 1.0
    assert found.effect == pytest.approx(np.pi - 2 * asin(sqrt(found.control)))
    assert (found.num_seams, found.verdict) == (5, "fail")
    assert "changed" in report.reason or "objects" in report.reason


def test_blocks_that_each_count_from_one_fail() -> None:
    assert judge(by_block(objects(), lambda part, n: ndi.label(part > 0)[0])).verdict == "fail"


def clear(part: np.ndarray) -> None:
    part[...] = 0


@pytest.mark.parametrize("width", [(1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("make", [objects, cells])
def test_objects_shrunk_at_seams_fail(make, width) -> None:
    failed = measures_that_fail(judge(at_seams(make(), clear, width)))
    assert ("ended" if sum(width) == 1 else "ended beside") in failed
    assert "density" in failed or sum(width) == 1


def test_objects_merged_at_seams_of_a_dense_packing_fail() -> None:
    """Stitching by contact: where cells touch across a seam they become one."""
    cells_, joined = cells(), list(range(601))

    def root(label: int) -> int:
        while joined[label] != label:
            label = joined[label]
        return label

    for axis, (n, b) in enumerate(zip(SHAPE, BLOCKS, strict=True)):
        for plane in range(b, n, b):
            pairs = np.stack([cells_.take(plane - 1, axis), cells_.take(plane, axis)]).reshape(
                2, -1
            )
            for one, other in np.unique(pairs, axis=1).T:
                low, high = sorted((root(one), root(other)))
                joined[high] = low
    merged = np.array([root(i) for i in range(601)])[cells_]
    report = judge(merged)
    assert report.verdict == "fail"
    larger = [f for f in report.findings if (f.measure, f.verdict) == ("size", "fail")]
    assert larger
    assert all(f.effect > 0 for f in larger)


def dim(part: np.ndarray) -> None:
    part *= 0.8


def repeat_plane(part: np.ndarray) -> None:
    part[1] = part[0]


@pytest.mark.parametrize("change", [dim, repeat_plane])
def test_intensities_changed_at_seams_fail(change) -> None:
    assert "jump" in measures_that_fail(judge(at_seams(field(), change)))


def test_a_level_that_is_wrong_beside_seams_shows_one_plane_further() -> None:
    """Both slices at a seam are dim: the jumps are where the dim slices end."""
    assert "jump beside" in measures_that_fail(judge(at_seams(field() + 5, dim)))


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_blocks_normalised_each_for_itself_fail(noise) -> None:
    rng = np.random.default_rng(3)
    values = field() + noise * rng.standard_normal(SHAPE).astype(np.float32)
    offsets = rng.normal(0, 0.3, 100).astype(np.float32)
    report = judge(by_block(values, lambda part, n: part + offsets[n]))
    assert "step" in measures_that_fail(report)
    assert judge(values).verdict == "pass"


def test_one_seam_is_enough() -> None:
    cut = by_block(cells(), lambda part, n: part + 1000 * n, (31, 70, 80))
    report = judge(cut, (31, 70, 80))
    assert report.verdict == "fail"
    assert {f.axis for f in report.findings} == {"z"}
    assert judge(cells(), (31, 70, 80)).verdict == "pass"


def test_a_micrograph_is_judged_too() -> None:
    flat, blocks = cells()[30], (35, 32)
    assert judge(flat, blocks).verdict == "pass"
    cut = by_block(flat, lambda part, n: part + 1000 * n, blocks)
    assert judge(cut, blocks).verdict == "fail"


def test_where_nothing_can_be_seen_there_is_no_verdict() -> None:
    one = judge(cells(), SHAPE)
    assert (one.verdict, one.passed) == ("cannot judge", None)
    assert "one block" in one.reason
    assert one.findings == ()
    for report in (
        judge(np.zeros(SHAPE, np.uint8)),  # no objects
        judge(np.full(SHAPE, 3.0)),  # no differences
        judge(cells()[:4, :4, :4], (2, 4, 4)),  # hardly a plane between the seams
        judge(cells()[:4, :4, :4], (1, 1, 1)),  # none at all
    ):
        assert report.verdict == "cannot judge"
        assert "too few" in report.reason
        assert {f.verdict for f in report.findings} == {"cannot judge"}


def test_the_worst_planes_are_named() -> None:
    labels = cells().copy()
    labels[40:] += 1000
    report = judge(labels)
    first = report.worst[0]
    assert first.measure in ("changed", "objects")
    assert (first.axis, first.position) == ("z", 40)
    assert first.found == 1.0
    assert len(report.worst) <= 10


def test_the_same_seed_gives_the_same_report() -> None:
    one, again, other = (judge(objects(), seed=s).to_json() for s in (1, 1, 2))
    assert one == again
    assert one != other


def test_a_report_is_json() -> None:
    for report in (judge(objects()), judge(np.zeros(SHAPE, np.uint8))):
        text = json.dumps(report.to_json(), allow_nan=False)
        assert json.loads(text)["verdict"] == report.verdict


def test_figures_of_a_hand_made_volume() -> None:
    labels = np.array([[1, 1, 2, 2, 0, 3]])
    block = scan_block(
        labels, kind="labels", index=(0, 0), offset=(0, 0), shape=labels.shape, tiles=()
    )
    measures = {m.name: m for m in find_measures(join_blocks([block], [], labels.shape))}
    x = 1
    assert measures["changed"].numerators[x].tolist() == [0, 1, 0, 0, 0]
    assert measures["changed"].denominators[x].tolist() == [1, 1, 1, 0, 0]
    assert measures["ended"].numerators[x].tolist() == [0, 0, 0, 1, 1]
    assert measures["ended beside"].numerators[x].tolist() == [0, 0, 1, 1, 1]
    assert measures["objects"].numerators[x].tolist() == [0, 2, 0, 1, 1]
    assert measures["objects"].denominators[x].tolist() == [2, 2, 2, 1, 1]
    assert measures["density"].numerators[x].tolist() == [2, 2, 2, 1, 1]
    sizes = measures["size"].numerators[x] / measures["size"].denominators[x]
    np.testing.assert_allclose(sizes, np.log([2, 2, 2, 2, 1]), atol=1e-12)


def test_controls_keep_away_from_seams_where_blocks_allow_it() -> None:
    planes = find_planes((10, 10))
    assert planes.seams.tolist() == [9]
    assert planes.controls.tolist() == [*range(7), *range(12, 19)]
    assert find_planes((1, 1, 1)).controls.size == 0


@pytest.mark.parametrize(
    "options", [{"significance": 0.0}, {"min_effect": -1.0}, {"num_draws": 10}]
)
def test_a_rule_that_cannot_be_is_refused(options) -> None:
    with pytest.raises(ConfigError):
        SeamRule(**options)


@pytest.mark.parametrize("blocks", [(64, 64, 64), (50, 80, 110), (125, 125, 125)])
def test_a_real_dense_segmentation_passes_whole_and_fails_cut(blocks) -> None:
    path = DATA / "labels" / "ffn_fib25_segmentation.npz"
    if not path.exists():
        pytest.skip("real data are not here")
    labels = np.load(path)["segmentation"].astype(np.uint32)
    assert judge(labels, blocks).verdict == "pass"
    cut = by_block(labels, lambda part, n: np.where(part > 0, part + 300 * n, 0), blocks)
    assert judge(cut, blocks).verdict == "fail"


@pytest.mark.parametrize(
    "options", [{"significance": 1e-9}, {"min_effect": 4.0}, {"min_deviation": 1e6}]
)
def test_each_condition_of_the_rule_counts(options) -> None:
    """No difference between cut cells and whole ones is that rare, that large or that far."""
    unstitched = by_block(cells(), lambda part, n: part + 10_000 * n)
    for rule, verdict in ((SeamRule(), "fail"), (SeamRule(**options), "pass")):
        findings = judge(unstitched, rule=rule).findings
        (found,) = (f for f in findings if (f.measure, f.axis) == ("changed", ALL_AXES))
        assert found.verdict == verdict


def test_a_single_object_is_no_evidence() -> None:
    """One of three rods ends at a seam, where another begins: rare, but one thing only."""
    labels = np.zeros(SHAPE, np.uint32)
    for number, y in enumerate((10, 30, 50), 1):
        labels[4:58, y : y + 8, 10:70] = number
    labels[20:58, 10:18, 10:70] = 4
    report = judge(labels, (20, 70, 80))
    (found,) = (f for f in report.findings if f.measure == "changed")
    assert (found.seam, found.control) == (pytest.approx(1 / 6), 0.0)
    assert found.p_value <= SeamRule().significance
    assert report.verdict == "pass"
