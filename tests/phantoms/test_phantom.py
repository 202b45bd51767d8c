"""Laws of phantoms: any region has the bits of the whole, and the truth is true."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volproc.core.arrays import Source
from volproc.core.errors import ShapeError
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec

SHAPE = (71, 90, 101)
"""Odd sizes, across tiles of 64 on every axis."""


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return Phantom(PhantomSpec(SHAPE, seed=7, noise=0.5))


@pytest.fixture(scope="module")
def whole(phantom: Phantom) -> tuple[np.ndarray, np.ndarray]:
    return phantom.read(), phantom.truth_classes()


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[slice, ...]:
    out = []
    for size in shape:
        start = draw(st.integers(0, size - 1))
        out.append(slice(start, draw(st.integers(start, min(size, start + 40)))))
    return tuple(out)


@settings(max_examples=20)
@given(region=regions())
def test_a_region_has_the_bits_of_the_whole(phantom, whole, region) -> None:
    alone = Phantom(phantom.spec)
    np.testing.assert_array_equal(alone.read(region), whole[0][region])
    np.testing.assert_array_equal(alone.truth_classes(region), whole[1][region])


@settings(max_examples=10)
@given(region=regions())
def test_points_of_a_region_are_those_of_the_whole_that_lie_in_it(phantom, region) -> None:
    everything = phantom.points().zyx
    voxel = np.floor(everything + 0.5)
    low, high = [s.start for s in region], [s.stop for s in region]
    inside = everything[((voxel >= low) & (voxel < high)).all(axis=1)]
    found = Phantom(phantom.spec).points(region).zyx
    assert sorted(map(tuple, found)) == sorted(map(tuple, inside))


def test_a_larger_volume_has_the_same_noise_and_another_size_changes_only_the_edge() -> None:
    small = Phantom(PhantomSpec((40, 50, 60), seed=2))
    large = Phantom(PhantomSpec((80, 90, 100), seed=2))
    region = tuple(slice(0, n) for n in small.shape)
    np.testing.assert_array_equal(small.unit_noise(), large.unit_noise(region))


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(phantom, whole) -> None:
    region = (slice(5, 30), slice(60, 70), slice(60, 90))
    again = Phantom(PhantomSpec(SHAPE, seed=7, noise=0.5)).read(region)
    np.testing.assert_array_equal(again, whole[0][region])
    other = Phantom(PhantomSpec(SHAPE, seed=8, noise=0.5))
    correlation = np.corrcoef(other.unit_noise(region).ravel(), phantom.unit_noise(region).ravel())
    assert abs(correlation[0, 1]) < 0.1
    assert other.points().zyx.tolist() != phantom.points().zyx.tolist()


def test_every_point_lies_inside_a_core_of_its_class(phantom, whole) -> None:
    points = phantom.points()
    assert len(points) > 10
    at = whole[1][tuple(np.rint(points.zyx).astype(int).T)]
    names = [phantom.class_names[value] for value in at]
    assert names == points.table["class_name"].tolist()


def test_class_map_and_points_agree_one_component_a_point_centred_on_it(phantom, whole) -> None:
    points, classes = phantom.points(), whole[1]
    for value, name in enumerate(phantom.class_names):
        if name not in phantom.radii:
            continue
        labels, count = ndimage.label(classes == value, np.ones((3, 3, 3)))
        truth = points.select(name).zyx
        assert count == len(truth)
        centres = ndimage.center_of_mass(labels > 0, labels, range(1, count + 1))
        distance = np.linalg.norm(truth[:, None] - np.array(centres)[None], axis=2)
        assert distance.min(axis=1).max() < 0.5


def test_every_class_occurs_in_a_medium_volume() -> None:
    phantom = Phantom(PhantomSpec((96, 128, 128), seed=1))
    assert set(np.unique(phantom.truth_classes())) == set(range(6))
    assert set(phantom.points().class_names) == set(phantom.radii)


def test_particles_are_dark_and_membranes_too(phantom, whole) -> None:
    signal, classes = phantom.signal(), whole[1]
    for value in np.unique(classes)[1:]:
        assert signal[classes == value].mean() < -0.3


@pytest.mark.parametrize("level", [0.5, 1.0])
def test_noise_has_the_stated_deviation(level: float) -> None:
    spec = PhantomSpec((64, 64, 64), seed=3, noise=level)
    phantom = Phantom(spec)
    noise = phantom.read() - phantom.signal()
    assert noise.std() == pytest.approx(phantom.noise_std(), rel=1e-3)
    # White noise of deviation `level`, blurred (0.51), over 0.6, about two thirds measured.
    assert noise.std() == pytest.approx(level * 0.514 / 0.6 * np.sqrt(2 / 3), rel=0.03)
    assert abs(noise.mean()) < 0.02 * level


def test_signal_to_noise_falls_with_the_square_of_the_noise() -> None:
    ratios = [Phantom(PhantomSpec((64, 64, 64), seed=1, noise=n)).snr() for n in (0.5, 1.0)]
    assert ratios[0] == pytest.approx(4 * ratios[1], rel=1e-3)
    assert Phantom(PhantomSpec((20, 20, 20), noise=0.0)).snr() == np.inf


def test_without_noise_the_volume_is_the_signal() -> None:
    phantom = Phantom(PhantomSpec((40, 41, 42), noise=0.0))
    np.testing.assert_array_equal(phantom.read(), phantom.signal())


def test_more_crowding_gives_more_particles() -> None:
    counts = [
        len(Phantom(PhantomSpec((96, 96, 96), crowding=c, membranes=0)).points())
        for c in (0, 1, 3, 9)
    ]
    assert counts[0] == 0
    assert counts == sorted(set(counts))


def test_particles_never_touch(phantom) -> None:
    table = phantom.points().table
    radius = np.array([phantom.radii[n] / 10 for n in table["class_name"]])
    zyx = phantom.points().zyx
    distance = np.linalg.norm(zyx[:, None] - zyx[None], axis=2) + 1e3 * np.eye(len(zyx))
    assert (distance > radius[:, None] + radius[None]).all()


@pytest.mark.parametrize("shape", [(5, 7, 11), (1, 1, 1), (3, 80, 2)])
def test_any_size_can_be_made(shape: tuple[int, ...]) -> None:
    phantom = Phantom(PhantomSpec(shape))
    assert phantom.read().shape == phantom.truth_classes().shape == shape
    assert np.isfinite(phantom.read()).all()


def test_a_region_far_inside_a_huge_phantom_is_made_alone() -> None:
    phantom = Phantom(PhantomSpec((4000, 100_000, 100_000), seed=1))
    region = (slice(2000, 2040), slice(50_000, 50_020), slice(70_000, 70_050))
    assert phantom.read(region).std() > 0.1
    assert phantom.points((slice(2000, 2064), slice(0, 64), slice(0, 64))).shape == phantom.shape


def test_a_phantom_is_a_source_that_travels(phantom) -> None:
    assert isinstance(phantom, Source)
    region = (slice(0, 4), slice(0, 5), slice(0, 6))
    copy = pickle.loads(pickle.dumps(phantom))
    np.testing.assert_array_equal(copy.read(region), phantom.read(region))
    assert copy.identity() == phantom.identity()
    assert Phantom(PhantomSpec(SHAPE, seed=8)).identity() != phantom.identity()
    assert copy.read(region).flags.writeable


@pytest.mark.parametrize(
    "region",
    [
        (slice(0, 5), slice(0, 5)),
        (slice(0, 5), slice(0, 5), slice(0, 1000)),
        (slice(-1, 5), slice(0, 5), slice(0, 5)),
        (slice(None), slice(0, 5), slice(0, 5)),
    ],
)
def test_a_region_outside_is_refused(phantom, region) -> None:
    with pytest.raises(ShapeError, match="leaves the phantom"):
        phantom.read(region)


def test_tiles_leave_no_seams(phantom, whole, monkeypatch) -> None:
    import volproc.phantoms.phantom as module

    monkeypatch.setattr(module, "TILE", 47)
    other = Phantom(phantom.spec)
    np.testing.assert_allclose(other.read(), whole[0], atol=1e-5)
    np.testing.assert_array_equal(other.truth_classes(), whole[1])
