"""Tiles on disk: put together they are the prediction, and what is gone is noticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from volproc.core.model import ModelSpec
from volproc.graph.kept_tiles import keep_tiles, revoke_missing
from volproc.graph.ledger import Ledger
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.tile_predict import TileJob
from volproc.plan.tiles import HaloTiles, QuarterTiles
from volproc.training.labelled import ArraySource

SHAPE = (11, 36, 21)


@pytest.fixture(scope="module")
def spec(siam: ModelSpec) -> ModelSpec:
    return siam


@pytest.fixture
def volume() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random(SHAPE, np.float32)


@pytest.mark.parametrize(
    "tiles", [HaloTiles(SHAPE, (16, 16, 16), 48, 8), QuarterTiles(SHAPE, (16,) * 3)]
)
def test_kept_tiles_are_the_prediction(
    spec: ModelSpec,
    volume: npt.NDArray[np.float32],
    tiles: HaloTiles | QuarterTiles,
    tmp_path: Path,
) -> None:
    box = np.zeros(SHAPE, np.uint8)
    box[:, :16] = 1
    mask = PhysicalMask(ArraySource(box), SHAPE, "mask")
    job = TileJob(ArraySource(volume), spec, tiles, 0.34, "cpu", mask)
    work = keep_tiles(job, tmp_path / "tiles", ("labels", "probabilities", "foreground"))
    indices = list(job.indices())
    ledger = Ledger.begin(tmp_path / "work", {})
    for index in indices:
        ledger.keep("tiles", index, work(index))
    facts = dict(ledger.finished("tiles"))
    assert sum(found["outside"] for found in facts.values())
    lowest = min(found["lowest"] for found in facts.values())
    assert volume.min() <= lowest <= volume[:, :16].min()
    json.dumps(facts[indices[0]])
    found = {
        part: array.read(tuple(slice(0, n) for n in array.shape))
        for part, array in work.arrays.items()
    }
    assert found["probabilities"].shape == (3, *SHAPE)
    for index in indices:
        for result in job(index):
            if result.outputs is None:
                assert not found["labels"][result.region].any()
                continue
            np.testing.assert_array_equal(found["labels"][result.region], result.outputs.labels)
            own = result.outputs.probabilities
            np.testing.assert_array_equal(
                found["probabilities"][(slice(None), *result.region)], own
            )
            np.testing.assert_array_equal(found["foreground"][result.region], own[0])


def test_a_pass_whose_tiles_are_gone_is_done_again(
    spec: ModelSpec, volume: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    job = TileJob(ArraySource(volume), spec, QuarterTiles(SHAPE, (16, 16, 16)), 0.34, "cpu")
    work = keep_tiles(job, tmp_path / "tiles", ("labels",))
    ledger = Ledger.begin(tmp_path / "work", {})
    first, second, *_ = job.indices()
    for index in (first, second):
        ledger.keep("tiles", index, work(index))
    assert revoke_missing(work, ledger, "tiles") == []
    (tmp_path / "tiles" / "labels" / "0.0.0.npy").unlink()
    assert revoke_missing(work, ledger, "tiles") == [first]
    assert ledger.done("tiles") == {second}
