"""Validation by picks: the particles that localization finds, and how they are counted."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import volproc
from volproc.training.labelled import ArraySource, LabelledVolume
from volproc.training.layers import Balls, LayeredClasses
from volproc.training.picks import MOST_PARTICLES, count_matches, find_centres
from volproc.training.validation import middle_region, predict_classes, validate_picks

SHAPE = (30, 44, 52)
WHOLE = tuple(slice(0, n) for n in SHAPE)
VOXEL = (10.0, 10.0, 10.0)
RADII = {1: 60.0, 2: 45.0}
ONES = np.array([[8.0, 9, 10], [8, 18, 10], [20, 30, 40], [14, 8, 40.5]])
TWOS = np.array([[21.0, 10, 25], [10, 35, 12]])


def class_map() -> np.ndarray:
    """Balls of 0.7 of the radius; the first two touch."""
    layers = [(1, Balls(ONES, 4.6)), (2, Balls(TWOS, 3.15))]
    return LayeredClasses(SHAPE, SHAPE, layers).read(WHOLE)


@pytest.mark.parametrize("voxel_size", [VOXEL, (14.0, 10.0, 9.0)])
def test_centres_are_those_of_localize(voxel_size: tuple[float, float, float]) -> None:
    classes = class_map()
    rng = np.random.default_rng(0)
    classes[rng.random(SHAPE) < 0.02] = 0
    found = find_centres(classes, RADII, voxel_size)
    volume = volproc.from_source(ArraySource(classes), voxel_size=voxel_size)
    points = volproc.localize(volume, {"one": 60.0, "two": 45.0}, class_values={"one": 1, "two": 2})
    table = points.compute()
    for value, name in ((1, "one"), (2, "two")):
        expected = table.select(name).zyx
        np.testing.assert_allclose(found[value], expected, atol=1e-9)
    assert len(found[1]) >= 4


def test_an_object_that_is_no_particle_is_left_out() -> None:
    classes = np.ones((80, 80, 80), np.uint8)
    assert (4 / 3 * np.pi * 4.5**3) * MOST_PARTICLES < classes.size
    assert len(find_centres(classes, {1: 45.0}, VOXEL)[1]) == 0
    assert len(find_centres(np.zeros(SHAPE, np.uint8), RADII, VOXEL)[2]) == 0


def test_picks_are_counted_one_to_one_within_half_a_radius_in_angstrom() -> None:
    truth = {1: np.array([[5.0, 5, 5], [5, 5, 30]])}
    found = {1: np.array([[6.4, 5, 5], [5, 5, 6], [5, 5, 33.1]]), 2: np.ones((1, 3))}
    counts = count_matches(truth, found, RADII, (20.0, 10.0, 10.0))
    assert counts[1].tolist() == [1, 2, 1]
    assert counts[2].tolist() == [0, 1, 0]


def volume() -> LabelledVolume:
    """An image that is the class map itself, with known centres of the first class."""
    classes = class_map()
    return LabelledVolume(
        "test",
        ArraySource(classes.astype(np.float32)),
        ArraySource(classes),
        0.0,
        1.0,
        {},
        voxel_size=VOXEL,
        centres={1: ONES},
    )


def read_off(batch: torch.Tensor) -> torch.Tensor:
    """A network that knows the classes from the voxels."""
    classes = batch[:, 0].round().long()
    return torch.nn.functional.one_hot(classes, 3).movedim(-1, 1).float()


@pytest.mark.parametrize("patch", [(16, 16, 16), (40, 20, 64)])
def test_a_class_map_is_put_together_from_overlapping_patches(patch: tuple[int, int, int]) -> None:
    for region in (WHOLE, (slice(0, 30), slice(3, 43), slice(0, 52))):
        predicted = predict_classes(
            read_off, volume(), region, patch=patch, overlap=0.5, device=torch.device("cpu")
        )
        np.testing.assert_array_equal(predicted, class_map()[region])


def test_where_patches_overlap_logits_are_averaged() -> None:
    """Two patches along z disagree: the one that is surer wins where both are."""
    calls: list[int] = []

    def forward(batch: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        logits = torch.zeros(1, 3, *batch.shape[2:])
        logits[:, len(calls)] = float(len(calls))
        return logits

    small = LabelledVolume(
        "small",
        ArraySource(np.zeros((12, 8, 8), np.float32)),
        ArraySource(np.zeros((12, 8, 8), np.uint8)),
        0.0,
        1.0,
        {},
    )
    region = tuple(slice(0, n) for n in small.shape)
    predicted = predict_classes(
        forward, small, region, patch=(8, 8, 8), overlap=0.5, device=torch.device("cpu")
    )
    assert predicted[:, 4, 4].tolist() == [1] * 4 + [2] * 8


def score(most_patches: int, **changes: object) -> object:
    how: dict[str, object] = {
        "patch": (16, 16, 16),
        "overlap": 0.25,
        "classes": ("background", "one", "two"),
        "radii": {"one": 60.0, "two": 45.0},
        "beta": 4.0,
        "most_patches": most_patches,
        "device": torch.device("cpu"),
    }
    return validate_picks(read_off, [volume()], **{**how, **changes})


def test_a_perfect_network_scores_one_on_a_whole_volume_and_on_a_part() -> None:
    everything = score(64)
    assert (everything.overall, everything.overall_picks) == (1.0, 1.0)
    assert set(everything.picks) == {"one", "two"}
    assert score(8).overall_picks == 1.0


def test_particles_that_are_known_but_not_in_the_class_map_are_missed() -> None:
    one = volume()
    more = np.concatenate([ONES, [[24.0, 8, 8]]])
    changed = LabelledVolume(
        one.name, one.image, one.classes, 0.0, 1.0, {}, voxel_size=VOXEL, centres={1: more}
    )
    scores = validate_picks(
        read_off,
        [changed],
        patch=(16, 16, 16),
        overlap=0.25,
        classes=("background", "one", "two"),
        radii={"one": 60.0},
        beta=1.0,
        most_patches=64,
        device=torch.device("cpu"),
    )
    assert scores.picks["one"] == pytest.approx(8 / 9)


def test_the_middle_of_a_large_volume_holds_no_more_voxels_than_allowed() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        shape = tuple(int(n) for n in rng.integers(5, 900, 3))
        region = middle_region(shape, (32, 32, 32), 27)
        size = [s.stop - s.start for s in region]
        assert np.prod(size) <= 27 * 32**3
        for s, n, m in zip(region, shape, size, strict=True):
            assert abs((s.start + s.stop) - n) <= 1
            assert m == n or m >= 32
        # Nothing is given away: a volume that fits is whole, others are nearly filled.
        assert np.prod(size) >= 0.8 * min(np.prod(shape), 27 * 32**3)
