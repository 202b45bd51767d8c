"""Patches through a network, summed in integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ModelError
from volproc.models.sliding import (
    Accumulator,
    Inference,
    Largest,
    to_classes,
    to_probabilities,
)
from volproc.models.views import find_views
from volproc.models.windows import make_window, sum_windows
from volproc.plan.patches import PatchGrid

CPU = torch.device("cpu")
PATCH = (4, 6, 6)


def inference(**changes) -> Inference:
    values = {"patch": PATCH, "num_classes": 3, "views": find_views("none")} | changes
    return Inference(**values)


class Linear:
    """A network without context: classes are multiples of the input. It counts its batches."""

    def __init__(self, num_classes: int = 3) -> None:
        self.factors = torch.arange(1.0, num_classes + 1).reshape(1, -1, 1, 1, 1)
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.shapes.append(tuple(batch.shape))
        return batch[:, :1] * self.factors


def patches(count: int, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(PATCH).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_the_last_batch_is_filled_up_and_every_patch_comes_back(count: int) -> None:
    network = Linear()
    given_patches = patches(count)
    outputs = list(inference(batch_size=2).run(network, given_patches, CPU))
    assert network.shapes == [(2, 1, *PATCH)] * -(-count // 2)
    assert len(outputs) == count
    for output, one in zip(outputs, given_patches, strict=True):
        np.testing.assert_array_equal(output[1].numpy(), 2 * one)


@pytest.mark.parametrize("tta", ["none", "rot4", "octopi8", "all16"])
def test_each_patch_passes_once_per_view(tta: str) -> None:
    network = Linear()
    chosen = inference(views=find_views(tta))
    given_patches = patches(3)
    outputs = list(chosen.run(network, given_patches, CPU))
    assert len(network.shapes) == 3 * chosen.passes_per_patch == 3 * len(find_views(tta))
    for output, one in zip(outputs, given_patches, strict=True):
        np.testing.assert_allclose(output[0].numpy(), one, rtol=1e-6)


def test_the_mean_over_views_is_that_of_the_views_one_by_one() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    views = find_views("octopi8")
    one = patches(1)[0]
    with torch.no_grad():
        (output,) = inference(views=views).run(network, [one], CPU)
        tensor = torch.from_numpy(one)[None, None]
        singles = [view.inverse(network(view.forward(tensor))) for view in views]
    np.testing.assert_allclose(output, torch.stack(singles).mean(0)[0], atol=1e-6)


def test_probabilities_are_averaged_where_that_is_asked() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1)
    with torch.no_grad():
        (output,) = inference(blend="probabilities", views=find_views("rot4")).run(
            network, patches(1), CPU
        )
    np.testing.assert_allclose(output.sum(0), 1, atol=1e-6)
    assert float(output.min()) > 0


def test_patches_and_channels_are_left_alone() -> None:
    channels = [np.stack([p, 2 * p]) for p in patches(3)]
    before = [c.copy() for c in channels]
    network = Linear()
    list(inference(batch_size=2).run(network, channels, CPU))
    assert network.shapes[0] == (2, 2, *PATCH)
    np.testing.assert_array_equal(channels, before)


def test_a_network_that_gives_back_its_input_is_not_overwritten() -> None:
    kept = torch.ones((1, 3, *PATCH))
    (output,) = inference(views=find_views("rot4")[::2]).run(lambda batch: kept, patches(1), CPU)
    assert torch.equal(kept, torch.ones_like(kept))
    assert torch.equal(output, kept[0])


def test_a_network_of_another_shape_is_refused_with_both_shapes() -> None:
    with pytest.raises(ModelError, match=r"\(1, 2, 4, 6, 6\) where \(1, 3, 4, 6, 6\)"):
        list(inference().run(Linear(num_classes=2), patches(1), CPU))
    with pytest.raises(ModelError, match="Check the class names and the patch"):
        list(inference().run(lambda b: Linear()(b)[..., 1:], patches(1), CPU))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e9])
def test_outputs_that_cannot_be_blended_are_refused(value: float) -> None:
    def network(batch: torch.Tensor) -> torch.Tensor:
        output = Linear()(batch)
        output[0, 1, 0, 0, 0] = value
        return output

    with pytest.raises(ModelError, match="which cannot be blended"):
        list(inference().run(network, patches(1), CPU))


@given(st.permutations(range(6)), st.integers(1, 9))
def test_sums_have_the_same_bits_in_any_order_and_from_any_owner(order, cut: int) -> None:
    grid = PatchGrid((4, 6, 10), PATCH, 0.75)
    starts = [*grid, *grid, *grid][:6]
    generator = np.random.default_rng(3)
    # So many magnitudes that floats of any precision would show the order of a sum.
    scale = 10.0 ** generator.uniform(-5, 6, (len(starts), 3, *PATCH))
    values = (generator.normal(0, 1, scale.shape) * scale).astype(np.float32)
    outputs = list(torch.from_numpy(values))
    region = tuple(slice(0, n) for n in grid.shape)
    whole = Accumulator(region, inference(), CPU)
    for start, output in zip(starts, outputs, strict=True):
        whole.add(start, output)
    low = (slice(0, 4), slice(0, 6), slice(0, cut))
    high = (slice(0, 4), slice(0, 6), slice(cut, 10))
    mine, theirs = Accumulator(region, inference(), CPU), Accumulator(high, inference(), CPU)
    for number in order:
        # Even patches are added by the lower block, which hands over what is not its own.
        if number % 2:
            theirs.add(starts[number], outputs[number])
            clipped = Accumulator(low, inference(), CPU)
            clipped.add(starts[number], outputs[number])
            mine.give(low, clipped.take(low))
        else:
            mine.add(starts[number], outputs[number])
    theirs.give(high, mine.take(high))
    np.testing.assert_array_equal(mine.take(low), whole.take(low))
    np.testing.assert_array_equal(theirs.take(high), whole.take(high))


def test_the_mean_is_the_weighted_mean_of_what_was_added() -> None:
    grid = PatchGrid((4, 6, 9), PATCH, 0.5)
    region = tuple(slice(0, n) for n in grid.shape)
    generator = np.random.default_rng(1)
    sums = Accumulator(region, inference(), CPU)
    total, weights = np.zeros((3, *grid.shape)), np.zeros(grid.shape)
    window = make_window(PATCH).astype(float)
    for start in grid:
        output = generator.normal(0, 5, (3, *PATCH)).astype(np.float32)
        sums.add(start, torch.from_numpy(output))
        here = tuple(slice(a, a + p) for a, p in zip(start, PATCH, strict=True))
        total[(slice(None), *here)] += output * window
        weights[here] += window
    found = sums.mean(region, sum_windows(grid, region, kind="gaussian", sigma_scale=0.125))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, total / weights, rtol=1e-5, atol=1e-5)


@given(st.integers(1, 9), st.integers(0, 40), st.sampled_from(["logits", "probabilities"]))
def test_probabilities_of_a_voxel_do_not_depend_on_its_place(classes, cut: int, blend) -> None:
    generator = np.random.default_rng(classes)
    mean = generator.normal(0, 8, (classes, 2, 41)).astype(np.float32)
    if blend == "probabilities":
        mean = np.abs(mean) + np.float32(1e-3)
    whole = to_probabilities(mean, blend=blend)
    # Slices of an array that lie elsewhere in memory, other strides, other lengths.
    for part in (slice(0, cut), slice(cut, 41), slice(cut, cut + 1), slice(None, None, 2)):
        if mean[:, :, part].size:
            found = to_probabilities(mean[:, :, part], blend=blend)
            assert np.array_equal(found, whole[:, :, part])
            found = to_probabilities(np.ascontiguousarray(mean[:, :, part]), blend=blend)
            assert np.array_equal(found, whole[:, :, part])
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)


def test_probabilities_are_the_softmax_of_logits_and_large_ones_do_not_overflow() -> None:
    mean = np.array([[0.0, 1000.0], [1.0, -1000.0]], np.float32)
    found = to_probabilities(mean, blend="logits")
    expected = torch.softmax(torch.from_numpy(mean), 0).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_probabilities_leave_their_input_alone() -> None:
    mean = np.ones((2, 3), np.float32)
    for blend in ("logits", "probabilities"):
        to_probabilities(mean, blend=blend)
    np.testing.assert_array_equal(mean, 1)


def test_the_first_of_equal_classes_wins() -> None:
    mean = np.array([[1, 2, 3], [1, 5, 3], [0, 5, 3]], np.float32)
    found = to_classes(mean, dtype=np.dtype("u2"))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, [0, 1, 0])


def test_patches_are_taken_a_batch_at_a_time() -> None:
    taken: list[int] = []

    def give():
        for number, patch in enumerate(patches(5)):
            taken.append(number)
            yield patch

    outputs = inference(batch_size=2).run(Linear(), give(), CPU)
    next(outputs)
    assert taken == [0, 1]
    assert len(list(outputs)) == 4


def test_the_largest_output_is_known_when_it_is_asked_for() -> None:
    largest = Largest()
    largest.check()
    (good,) = inference().run(Linear(), patches(1), CPU, largest=largest)
    before = largest.so_far()
    assert torch.isfinite(good).all()
    list(inference().run(lambda b: Linear()(b) * torch.inf, patches(1), CPU, largest=largest))
    before.check()
    with pytest.raises(ModelError, match="which cannot be blended"):
        largest.check()
    list(inference().run(Linear(), patches(1), CPU, largest=largest))
    with pytest.raises(ModelError, match="which cannot be blended"):
        largest.check()  # one that was too large is not forgotten


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(-3, 3), st.integers(-5, 4), st.integers(-5, 9)),
    st.sampled_from([1.0, 1e-9, 4e6]),
    st.booleans(),
)
def test_compiled_sums_have_the_bits_of_the_formula(seed, start, scale, is_turned: bool) -> None:
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((3, *PATCH)).astype(np.float32) * np.float32(scale)
    output = torch.from_numpy(values)
    if is_turned:  # what a view gives back
        output = torch.from_numpy(np.ascontiguousarray(values.swapaxes(2, 3))).transpose(2, 3)
    region = (slice(0, 4), slice(-1, 6), slice(2, 11))
    sums = Accumulator(region, inference(), CPU)
    sums.add(start, output)
    sums.add(start, output)
    weighted = (values * make_window(PATCH)).astype(np.float64) * 2.0**32
    everywhere = np.zeros((3, 24, 24, 24), np.int64)
    z, y, x = (a + 6 for a in start)
    everywhere[:, z : z + 4, y : y + 6, x : x + 6] = 2 * np.rint(weighted).astype(np.int64)
    expected = everywhere[:, 6:10, 5:12, 8:17]
    np.testing.assert_array_equal(sums.take(region), expected)
    part = (slice(1, 3), slice(0, 6), slice(3, 9))
    weights = generator.random((2, 6, 6)) + 0.1
    mean = (expected[:, 1:3, 1:7, 1:7] * 2.0**-32 / weights).astype(np.float32)
    np.testing.assert_array_equal(sums.mean(part, weights), mean)
    np.testing.assert_array_equal(to_classes(mean, dtype=np.dtype("u1")), mean.argmax(axis=0))
