"""The suite of networks: ours pass it, and each law catches a network that breaks it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volproc.models.networks import build
from volproc.testing.models import Batch, Model, ModelTests


def numpy_of(network: torch.nn.Module) -> Model:
    network.eval().requires_grad_(False)
    return lambda batch: network(torch.from_numpy(batch)).numpy()


class TestUNet3d(ModelTests):
    patch = (4, 8, 12)
    num_classes = 3

    @pytest.fixture
    def model(self) -> Model:
        torch.manual_seed(0)
        return numpy_of(build("unet3d", widths=[2, 4], num_classes=3))


class TestUNet3dWithTwoChannels(ModelTests):
    patch = (8, 4, 4)
    channels = 2

    @pytest.fixture
    def model(self) -> Model:
        torch.manual_seed(0)
        return numpy_of(build("unet3d", widths=[2, 4, 6], in_channels=2))


@pytest.mark.parametrize("norm", ["INSTANCE", "BATCH"])
class TestMonaiUnet(ModelTests):
    patch = (4, 8, 12)

    @pytest.fixture
    def model(self, norm: str) -> Model:
        torch.manual_seed(0)
        return numpy_of(build("monai-unet", channels=[2, 4], strides=[2], norm=norm))


def sums(batch: Batch) -> Batch:
    """Good, but for what a test does to it."""
    return np.concatenate([batch, -batch], 1)


class Remembering:
    def __init__(self) -> None:
        self.last = np.float32(0)

    def __call__(self, batch: Batch) -> Batch:
        output = sums(batch) + self.last
        self.last = batch.mean()
        return output


class Reusing:
    def __init__(self) -> None:
        self.buffer = np.zeros((3, 2, 8, 8, 8), np.float32)

    def __call__(self, batch: Batch) -> Batch:
        self.buffer[:] = sums(batch)
        return self.buffer


def overwriting(batch: Batch) -> Batch:
    batch *= 2
    return sums(batch)


def by_row(batch: Batch) -> Batch:
    return sums(batch) * np.arange(1, 4, dtype=np.float32).reshape(3, 1, 1, 1, 1)


def dividing(batch: Batch) -> Batch:
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums(batch) / batch.std(axis=(2, 3, 4), keepdims=True)


@pytest.mark.parametrize(
    ("model", "law"),
    [
        (lambda batch: sums(batch)[:, :1], "every_voxel_gets_one_number_a_class"),
        (lambda batch: sums(batch)[..., 1:], "every_voxel_gets_one_number_a_class"),
        (lambda batch: sums(batch).astype(int), "every_voxel_gets_one_number_a_class"),
        (dividing, "the_numbers_are_finite_and_not_huge"),
        (lambda batch: sums(batch) * 1e7, "the_numbers_are_finite_and_not_huge"),
        (Remembering(), "a_warm_model_forgets_the_last_volume"),
        (lambda batch: np.zeros((3, 2, 8, 8, 8)), "a_warm_model_forgets_the_last_volume"),
        (overwriting, "the_input_is_left_alone"),
        (Reusing(), "an_output_is_not_written_into_later"),
        (lambda batch: sums(batch) - batch.mean(), "patches_of_a_batch_do_not_see_each_other"),
        (by_row, "the_place_in_a_batch_does_not_matter"),
    ],
)
def test_a_network_that_breaks_a_law_is_caught_by_it(model: Model, law: str) -> None:
    generator = np.random.default_rng(0)
    batch = generator.standard_normal((3, 1, 8, 8, 8)).astype(np.float32)
    check = getattr(ModelTests(), f"test_{law}")
    check(sums, batch.copy())
    with pytest.raises(AssertionError):
        check(model, batch.copy())


def test_a_suite_without_a_model_says_so() -> None:
    with pytest.raises(pytest.fail.Exception, match="gives a model fixture"):
        ModelTests.model.__wrapped__(ModelTests())
