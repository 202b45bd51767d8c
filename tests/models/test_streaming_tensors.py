"""Slabs as tensors: folded layers and zeros around them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from volproc.models.streaming_tensors import Tensors, fold

CPU = torch.device("cpu")


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("affine", [None, False, True])
def test_a_folded_layer_is_the_convolution_and_its_normalisation(
    kernel: int, has_bias: bool, affine: bool | None
) -> None:
    torch.manual_seed(0)
    convolution = nn.Conv3d(3, 5, kernel, bias=has_bias).eval()
    norm = None if affine is None else nn.BatchNorm3d(5, affine=affine)
    x = torch.rand(1, 3, 6, 7, 5)
    with torch.no_grad():
        due = convolution(x)
        if norm is not None:
            for value in norm.state_dict().values():
                if value.is_floating_point():
                    value.uniform_(0.5, 2)
            due = norm.eval()(due)
        folded = fold(convolution, norm)
        given = folded(x.movedim(1, -1)).movedim(-1, 1) if kernel == 1 else folded(x)
    torch.testing.assert_close(given, due)


def test_slabs_are_joined_with_zeros_around_them() -> None:
    tensors = Tensors(lambda region: None, CPU, torch.float32)  # type: ignore[arg-type, return-value]
    parts = [torch.ones(1, 2, 3, 4), 2 * torch.ones(2, 2, 3, 4)]
    joined = tensors.join(parts, (1, 0, 2), (0, 1, 0))
    assert joined.shape == (4, 3, 5, 4)
    assert joined.sum() == sum(part.sum() for part in parts)
    assert joined[1:, :2, 2:].amin() == 1
    assert (joined[2:, :2, 2:] == 2).all()
    assert tensors.join(parts[:1], (0,) * 3, (0,) * 3) is parts[0]  # nothing is copied in vain


def test_a_part_that_is_copied_lets_the_rest_go() -> None:
    tensors = Tensors(lambda region: None, CPU, torch.float32)  # type: ignore[arg-type, return-value]
    piece = torch.rand(4, 4, 4, 2)
    cut = (slice(1, 3), slice(0, 2), slice(0, 4))
    for is_copied in (False, True):
        part = tensors.cut(piece, cut, is_copied=is_copied)
        assert torch.equal(part, piece[cut])
        shared = part.untyped_storage().data_ptr() == piece.untyped_storage().data_ptr()
        assert shared is not is_copied
