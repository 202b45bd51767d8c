"""Tiles of CryoSiam's networks: those of the whole volume by default, CryoSiam's own on request."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from volproc.core.errors import ConfigError, NonFiniteError
from volproc.core.model import ModelSpec
from volproc.core.types import Region
from volproc.graph.cut_tiles import halo_tiles
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.tile_predict import TileJob
from volproc.models.cryosiam import activate
from volproc.models.loading import load_model
from volproc.models.tile_network import choose_labels
from volproc.models.views import find_views
from volproc.plan.tiles import QuarterTiles
from volproc.training.labelled import ArraySource

SHAPE = (8, 100, 16)


@pytest.fixture(scope="module")
def spec(siam: ModelSpec) -> ModelSpec:
    return siam


@pytest.fixture
def volume() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random(SHAPE, np.float32)


def run(job: TileJob) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], int]:
    """Labels and probabilities of a volume, and how many tiles were not computed."""
    shape = job.source.shape
    labels = np.full(shape, 0, np.uint8)
    probabilities = np.zeros((job.spec.num_classes, *shape), np.float32)
    skipped = 0
    for index in job.indices():
        for result in job(index):
            if result.outputs is None:
                skipped += 1
                continue
            labels[result.region] = result.outputs.labels
            probabilities[(slice(None), *result.region)] = result.outputs.probabilities
    return labels, probabilities, skipped


def whole(spec: ModelSpec, volume: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Probabilities that the network gives for the whole volume."""
    batch = torch.from_numpy(volume)[None, None]
    return activate(spec, load_model(spec, "cpu")(batch))[0].numpy()


@pytest.mark.parametrize("core", [16, 50])
def test_tiles_give_what_the_whole_volume_gives(
    spec: ModelSpec, volume: npt.NDArray[np.float32], core: int
) -> None:
    tiles = halo_tiles(spec, SHAPE, memory_bytes=10**10, device="cpu", core=core)
    job = pickle.loads(pickle.dumps(TileJob(ArraySource(volume), spec, tiles, 0.4, "cpu")))
    labels, probabilities, _ = run(job)
    due = whole(spec, volume)
    assert due.std() > 0.05
    assert np.abs(probabilities - due).max() < 1e-5
    np.testing.assert_array_equal(labels, choose_labels(probabilities, 0.4))
    assert len(np.unique(labels)) > 1
    bare = replace(job, has_outputs=False, tiles=replace(tiles, slab=3))
    given = [bare(index)[0].outputs for index in bare.indices()]
    assert all(outputs is not None and not outputs.probabilities.size for outputs in given)
    np.testing.assert_array_equal(np.concatenate([o.labels for o in given if o], 1), labels)


def test_views_are_averaged_for_every_cut(spec: ModelSpec, volume: npt.NDArray[np.float32]) -> None:
    found = []
    for core in (56, 104):
        tiles = halo_tiles(spec, SHAPE, memory_bytes=10**10, device="cpu", core=core)
        job = TileJob(ArraySource(volume), spec, tiles, 0.4, "cpu", views=find_views("octopi4"))
        found.append(run(job)[1])
    views, batch = find_views("octopi4"), torch.from_numpy(volume)
    due = sum(
        view.inverse(torch.from_numpy(whole(spec, view.forward(batch).contiguous().numpy())))
        for view in views
    ) / len(views)
    for probabilities in found:
        assert np.abs(probabilities - due.numpy()).max() < 1e-5
    assert np.abs(found[0] - whole(spec, volume)).max() > 1e-3


def test_tiles_outside_the_mask_are_not_computed(
    spec: ModelSpec, volume: npt.NDArray[np.float32]
) -> None:
    inside = np.zeros((4, 50, 8), np.uint8)
    inside[:, 20:30] = 1  # 40…59 along y
    mask = PhysicalMask(ArraySource(inside), SHAPE, "m.h5")
    tiles = halo_tiles(spec, SHAPE, memory_bytes=10**10, device="cpu", core=16)
    job = TileJob(ArraySource(volume), spec, tiles, 0.4, "cpu", mask)
    _, probabilities, skipped = run(job)
    assert skipped == 7 - 2  # tiles 32…47 and 48…63 are left
    due = whole(spec, volume)
    due[:, :, :40] = due[:, :, 60:] = 0
    assert np.abs(probabilities - due).max() < 1e-5
    large = replace(job, tiles=replace(tiles, core=(8, 104, 16)))
    assert np.abs(run(large)[1] - due).max() < 1e-5


def test_only_what_the_mask_has_of_a_tile_is_read(spec: ModelSpec) -> None:
    read: list[Region] = []

    class Watched(ArraySource):
        def read(self, region: Region) -> npt.NDArray[Any]:
            read.append(region)
            return super().read(region)

    shape = (8, 400, 16)
    inside = np.zeros(shape, np.uint8)
    inside[2:4, 197:203, 5] = 1
    mask = PhysicalMask(ArraySource(inside), shape, "m.h5")
    tiles = halo_tiles(spec, shape, memory_bytes=10**10, device="cpu", core=400)
    source = Watched(np.zeros(shape, np.float32))
    ((result,),) = (
        job(index)
        for job in [TileJob(source, spec, tiles, 0.4, "cpu", mask)]
        for index in job.indices()
    )
    assert min(r[1].start for r in read) >= 192 - 43
    assert max(r[1].stop for r in read) <= 208 + 36
    assert result.outputs is not None
    assert result.outputs.labels.shape == shape
    np.testing.assert_array_equal(result.outputs.probabilities.any(0), inside)


def test_bad_numbers_are_refused(spec: ModelSpec, volume: npt.NDArray[np.float32]) -> None:
    tiles = halo_tiles(spec, SHAPE, memory_bytes=10**10, device="cpu")
    with pytest.raises(ConfigError, match="a threshold is a probability"):
        TileJob(ArraySource(volume), spec, tiles, 1.5)
    with pytest.raises(ConfigError, match="CryoSiam turns nothing"):
        TileJob(
            ArraySource(volume), spec, QuarterTiles(SHAPE, (16,) * 3), 0.5, views=find_views("rot4")
        )
    with pytest.raises(ConfigError, match="got 0"):
        TileJob(ArraySource(volume), spec, tiles, 0.5, batch=0)
    with pytest.raises(ConfigError, match=r"got \(0.5, 2\)"):
        TileJob(ArraySource(volume), spec, tiles, (0.5, 2))
    volume[3, 4, 5] = np.nan
    with pytest.raises(NonFiniteError, match="1 voxels of a tile are NaN"):
        TileJob(ArraySource(volume), spec, tiles, 0.5, "cpu")((0, 0, 0))


def test_what_is_missing_at_the_end_comes_from_the_beginning(
    spec: ModelSpec, volume: npt.NDArray[np.float32]
) -> None:
    tiles = QuarterTiles(SHAPE, (16, 16, 16))
    _, probabilities, _ = run(TileJob(ArraySource(volume), spec, tiles, 0.4, "cpu"))
    # The last patch along y begins at 88; z is smaller than a patch: zeros after scaling follow.
    scaled = ((volume - 0.5) / 0.25)[:, np.arange(88, 104) % 100]
    patch = np.zeros((16, 16, 16), np.float32)
    patch[:8] = scaled
    plain = replace(spec, params={**spec.params, "intensity": None})
    due = activate(spec, load_model(plain, "cpu")(torch.from_numpy(patch)[None, None]))[0].numpy()
    given = probabilities[:, :, 92:, :12]
    assert np.abs(given - due[:, :8, 4:12, :12]).max() < 1e-5
