"""A region of a network's outputs, slab by slab, is that of the whole volume."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.core.types import Region
from volproc.graph.cut_tiles import tile_work
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC
from volproc.models.cryosiam_streaming import stream_region
from volproc.models.loading import LoadedModel
from volproc.models.networks import build
from volproc.models.views import VIEW_SETS
from volproc.plan.tiles import HaloTiles, iterate_tiles

TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [3, 4, 4, 6], "fpn_channels": 4,
    "projector": [4, 4, 4], "head_widths": [3, 5], "head_kernels": [3, 3, 3],
}  # fmt: skip


def make(architecture: str = SEMANTIC, channels: int = 1, **other: Any) -> LoadedModel:
    """A network whose normalisation suits noise, so that all of its levels count."""
    torch.manual_seed(1)
    params = {**TINY, **other}
    network = build(architecture, **params, in_channels=channels)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.momentum = None
    with torch.no_grad():
        network(torch.rand(1, channels, 24, 64, 32))
    spec = ModelSpec(architecture, "", (16,) * 3, ("background", "a"), params, channels=channels)
    return LoadedModel(network.eval(), spec, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize(
    "other",
    [
        {},
        {"max_pool": True},
        {"block_type": "bottleneck", "num_layers": [2, 1, 2, 1]},
        {"later_conv": True, "head_widths": [7], "head_kernels": [5, 1]},
        {"heads": ["semantic", "distance"], "activation": "sigmoid", "intensity": [0, 1, 0.5, 0.2]},
        {"architecture": DENOISER, "max_pool": True, "head_widths": [], "head_kernels": [3]},
    ],
)
def test_any_region_is_that_of_the_whole_volume(other: dict[str, Any]) -> None:
    model = make(**other)
    generator = np.random.default_rng(0)
    views = VIEW_SETS["all16"]
    for shape, slab in (((5, 7, 11), 4), ((1, 40, 3), 1), ((35, 58, 21), 5), ((40, 16, 56), 16)):
        volume = generator.random(shape, np.float32)
        view = views[generator.integers(len(views))]
        turned = view.forward(torch.from_numpy(volume))[None, None].contiguous()
        due = view.inverse(model(turned))[0]
        sides = [sorted(generator.choice(n + 1, 2, replace=False)) for n in shape]
        keep = tuple(slice(int(low), int(high)) for low, high in sides)
        given = torch.full_like(due, torch.nan)
        for region, outputs in stream_region(
            model, shape, keep, volume.__getitem__, slab=slab, view=view
        ):
            given[(slice(None), *region)] = outputs
        inner = (slice(None), *keep)
        assert int(given.isfinite().sum()) == given[inner].numel()
        torch.testing.assert_close(given[inner], due[inner], rtol=1e-5, atol=3e-5)
        assert due.std() > 0.05


def test_a_gpus_precision_passes_through_all_layers() -> None:
    model = make(max_pool=True, later_conv=True)
    half = replace(model, precision=torch.bfloat16)
    shape = (20, 24, 36)
    volume = np.random.default_rng(0).random(shape, np.float32)
    batch = torch.from_numpy(volume)[None, None]
    keep = (slice(0, 20), slice(3, 9), slice(30, 36))
    parts = stream_region(half, shape, keep, volume.__getitem__)
    given = torch.cat([outputs for _, outputs in parts], 1)
    assert given.dtype == torch.float32
    due, exact = (own(batch)[0][(slice(None), *keep)] for own in (half, model))
    rounding = (due - exact).abs().max()
    assert 0 < (given - exact).abs().max() < 2 * rounding < 0.2 * exact.abs().max()


@contextmanager
def counted() -> Iterator[list[int]]:
    """Multiplications of all layers that are run."""
    found: list[int] = []

    def count(module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(module, nn.Conv3d):
            found.append(output.numel() * module.in_channels * prod(module.kernel_size))
        elif isinstance(module, nn.Linear):
            found.append(output.numel() * module.in_features)

    hook = register_module_forward_hook(count)
    try:
        yield found
    finally:
        hook.remove()


def test_the_work_is_what_the_plan_counts() -> None:
    model = make()
    shape = (40, 75, 30)
    volume = np.random.default_rng(0).random(shape, np.float32)
    tiles = HaloTiles(shape, (24, 32, 32), 48, 8)
    with counted() as whole:
        model(torch.from_numpy(volume)[None, None])
    with counted() as work:
        for index in iterate_tiles(tiles):
            list(stream_region(model, shape, tiles[index].keep, volume.__getitem__))
    assert sum(work) / sum(whole) == pytest.approx(tile_work(model.spec, tiles).part, rel=1e-12)
    with counted() as once:
        list(stream_region(model, shape, tuple(slice(0, n) for n in shape), volume.__getitem__))
    assert sum(once) == sum(whole)  # nothing is computed twice


def test_only_what_the_outputs_depend_on_is_read_and_once() -> None:
    model = make()
    shape = (30, 400, 30)
    reads = np.zeros(shape, int)

    def read(region: Region) -> npt.NDArray[np.float32]:
        reads[region] += 1
        return np.zeros([s.stop - s.start for s in region], np.float32)

    list(stream_region(model, shape, (slice(0, 30), slice(200, 208), slice(3, 4)), read))
    assert reads.max() == 1
    seen = np.flatnonzero(reads.any((0, 2)))
    assert seen[0] >= 200 - 43
    assert seen[-1] <= 207 + 36


def test_a_network_of_several_channels_is_refused() -> None:
    model = make(channels=2)
    with pytest.raises(ModelError, match="takes 2 input channels, the volume has 1"):
        list(stream_region(model, (8, 8, 8), (slice(0, 8),) * 3, lambda region: np.zeros(())))
