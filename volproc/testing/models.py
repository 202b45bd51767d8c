"""Conformance suite of networks: subclass it to test your own architecture or checkpoint."""

# The name of a law is its sentence; a docstring would say it twice.
# ruff: noqa: D102

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from volproc.core.types import ZYX

Batch: TypeAlias = npt.NDArray[np.float32]

Model: TypeAlias = Callable[[Batch], Batch]
"""What sliding-window inference asks of a network: patches (b, c, z, y, x) float32 in, one float
a class and voxel (b, classes, z, y, x) out."""


class ModelTests:
    """Laws every network obeys that patches are sent through. Give it a ``model`` fixture.

    A prediction has the same bits for every cut of the volume only if a network obeys them: a
    patch may come in any batch, beside any other patches, after any other volume.

    Examples
    --------
    >>> class TestMine(ModelTests):
    ...     patch = (8, 16, 16)
    ...     num_classes = 3
    ...
    ...     @pytest.fixture
    ...     def model(self):
    ...         loaded = load_model(read_spec("mine.pt"), "cpu")
    ...         return lambda batch: loaded(torch.from_numpy(batch)).numpy()
    """

    patch: ZYX[int] = (8, 8, 8)
    """Size of the patches, (z, y, x), voxels."""

    channels: int = 1
    """Input channels."""

    num_classes: int = 2
    """Output channels, the background included."""

    is_exact: bool = True
    """Whether equal input gives equal bits; otherwise equal to 1e-5, and so the predictions."""

    @pytest.fixture
    def model(self) -> Model:
        """Override this: the network as a function of NumPy arrays."""
        pytest.fail("a ModelTests suite gives a model fixture")

    @pytest.fixture
    def batch(self) -> Batch:
        """Three patches of noise, so that every voxel matters."""
        generator = np.random.default_rng(0)
        shape = (3, self.channels, *self.patch)
        return generator.standard_normal(shape).astype(np.float32)

    def assert_same(self, found: Batch, expected: Batch) -> None:
        """Compare two outputs for the same patch."""
        if self.is_exact:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

    def test_every_voxel_gets_one_number_a_class(self, model: Model, batch: Batch) -> None:
        output = model(batch)
        assert output.shape == (3, self.num_classes, *self.patch)
        assert output.dtype.kind == "f"

    def test_the_numbers_are_finite_and_not_huge(self, model: Model, batch: Batch) -> None:
        for input_ in (batch, np.zeros_like(batch), 1000 * batch):
            assert np.abs(model(input_)).max() < 2**23  # NaN is not less than anything

    def test_a_warm_model_forgets_the_last_volume(self, model: Model, batch: Batch) -> None:
        other = 5 * batch[:, :, ::-1].copy() + 3
        first = model(batch).copy()
        theirs = model(other).copy()
        self.assert_same(model(batch), first)
        self.assert_same(model(other), theirs)
        assert not np.array_equal(theirs, first)

    def test_the_input_is_left_alone(self, model: Model, batch: Batch) -> None:
        before = batch.copy()
        model(batch)
        np.testing.assert_array_equal(batch, before)

    def test_an_output_is_not_written_into_later(self, model: Model, batch: Batch) -> None:
        output = model(batch)
        before = output.copy()
        model(batch[::-1].copy())
        np.testing.assert_array_equal(output, before)

    def test_patches_of_a_batch_do_not_see_each_other(self, model: Model, batch: Batch) -> None:
        others = batch.copy()
        others[1:] = 7 * others[1:] - 2
        self.assert_same(model(others)[0], model(batch)[0])

    def test_the_place_in_a_batch_does_not_matter(self, model: Model, batch: Batch) -> None:
        whole = model(batch)
        turned = model(np.roll(batch, 1, axis=0))
        for row in range(3):
            self.assert_same(turned[(row + 1) % 3], whole[row])
