"""Memory of slabs is what really is held, and does not grow with the volume."""

from __future__ import annotations

from math import prod
from typing import Any
from weakref import finalize

import numpy as np
import pytest
import torch

from volproc.core.model import ModelSpec
from volproc.core.types import Region
from volproc.models.cryosiam_flow import flow_of, plan_flow
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.networks import build
from volproc.models.streaming import Layer, Place, Stream
from volproc.models.streaming_memory import stream_bytes
from volproc.models.streaming_tensors import Tensors

WIDE: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [8, 8, 16, 16], "fpn_channels": 16,
    "projector": [8, 8, 8], "head_widths": [8], "head_kernels": [3, 3],
}  # fmt: skip
SPEC = ModelSpec(SEMANTIC, "", (16,) * 3, ("background", "a"), WIDE)


class Weighed(Tensors):
    """Tensors whose storage is weighed as long as it is there."""

    held = peak = 0

    def _weigh(self, tensor: torch.Tensor) -> torch.Tensor:
        size = tensor.untyped_storage().nbytes()
        self.held += size
        self.peak = max(self.peak, self.held)
        finalize(tensor if tensor._base is None else tensor._base, self._forget, size)
        return tensor

    def _forget(self, size: int) -> None:
        self.held -= size

    def read(self, region: Region) -> torch.Tensor:
        return self._weigh(super().read(region))

    def cut(self, piece: torch.Tensor, region: Region, *, is_copied: bool) -> torch.Tensor:
        part = super().cut(piece, region, is_copied=is_copied)
        return self._weigh(part) if is_copied else part

    def join(
        self, pieces: list[torch.Tensor], before: tuple[int, ...], after: tuple[int, ...]
    ) -> torch.Tensor:
        joined = super().join(pieces, before, after)
        return joined if joined is pieces[0] else self._weigh(joined)

    def compute(
        self, layer: Layer, inputs: list[torch.Tensor], places: list[list[Place]]
    ) -> torch.Tensor:
        return self._weigh(super().compute(layer, inputs, places))


@pytest.mark.parametrize("slab", [2, 8])
def test_the_plan_is_what_tensors_weigh(slab: int) -> None:
    torch.manual_seed(0)
    network: Any = build(SEMANTIC, **WIDE, num_classes=2).eval()
    shape, keep = (70, 60, 50), (slice(16, 64), slice(8, 32), slice(0, 40))
    zeros = np.zeros(shape, np.float32)
    arrays = Weighed(zeros.__getitem__, torch.device("cpu"), torch.float32)
    for _, outputs in Stream(flow_of(network), shape, keep, arrays, slab=slab):
        del outputs
    # Without what PyTorch unfolds, which no tensor of ours holds.
    planned = stream_bytes(plan_flow(SPEC), shape, keep, slab=slab, on_device=True)
    assert 0.9 * planned < arrays.peak < 1.05 * planned


def test_memory_grows_with_the_plane_and_not_with_the_depth() -> None:
    flow = plan_flow(SPEC)

    def need(shape: tuple[int, ...], keep: Region, slab: int = 4) -> int:
        return stream_bytes(flow, shape, keep, slab=slab, on_device=True)

    small = need((200, 100, 100), (slice(0, 200), slice(0, 100), slice(0, 100)))
    assert need((400, 100, 100), (slice(0, 400), slice(0, 100), slice(0, 100))) < 1.02 * small
    assert need((200, 200, 100), (slice(0, 200), slice(0, 200), slice(0, 100))) > 1.9 * small
    assert need((200, 100, 100), (slice(0, 200), slice(0, 100), slice(0, 100)), 8) > 1.2 * small
    # The first stage waits for the coarsest: some 36 planes of its channels are there.
    assert small > 36 * 100 * 100 * WIDE["num_filters"][0] * 4


def test_unfolded_convolutions_count_on_the_cpu() -> None:
    flow = plan_flow(SPEC)
    shape = (16, 20, 400)
    keep = tuple(slice(0, n) for n in shape)
    on_device = stream_bytes(flow, shape, keep, slab=4, on_device=True)
    columns = 27 * 8 * 4 * prod(shape[1:]) * 4
    assert stream_bytes(flow, shape, keep, slab=4) > on_device + columns / 2
