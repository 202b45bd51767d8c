"""Lazy prediction with networks of CryoSiam: the whole volume's numbers for every chunking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import numpy.typing as npt
import pytest
import torch

from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, SeveralError
from volproc.core.executor import SerialExecutor
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.mask_input import check_mask, open_mask
from volproc.graph.predict import predict
from volproc.graph.settings import Settings
from volproc.graph.tile_settings import plan_tiles
from volproc.models.cryosiam import activate
from volproc.models.loading import load_model
from volproc.models.tile_network import choose_labels

SHAPE = (13, 70, 21)


@pytest.fixture(scope="module")
def noise() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random(SHAPE, np.float32)


def lazy(voxels: npt.NDArray[Any], chunks: Any = -1, size: float = 10.0) -> Volume:
    return Volume(da.from_array(voxels, chunks), (size,) * 3, name="noise")


def compute(volume: Volume) -> npt.NDArray[Any]:
    return volume.data.compute(scheduler="sync")


def whole(siam: ModelSpec, noise: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return activate(siam, load_model(siam, "cpu")(torch.from_numpy(noise)[None, None]))[0].numpy()


@pytest.mark.parametrize("chunks", [None, (13, 24, 24), (5, 40, 1)])
def test_any_chunks_give_what_the_whole_volume_gives(
    siam: ModelSpec, noise: npt.NDArray[np.float32], chunks: Any, tmp_path: Path
) -> None:
    volume, due = lazy(noise, (6, 33, 21)), whole(siam, noise)
    found = predict(
        volume, siam, output="probabilities", dtype="float32", chunks=chunks, device="cpu",
        scratch=tmp_path,
    )  # fmt: skip
    assert found.channels == ("background", "a", "b")
    assert np.abs(compute(found) - due).max() < 1e-5
    thresholds = {"background": 0.4, "b": 0.3}
    labels = compute(predict(volume, siam, threshold=thresholds, chunks=chunks, device="cpu"))
    assert (labels != choose_labels(due, (0.4, 0, 0.3))).mean() < 1e-3
    assert len(np.unique(labels)) == 3


def test_a_mask_may_be_computed_and_have_larger_voxels(
    siam: ModelSpec, noise: npt.NDArray[np.float32]
) -> None:
    inside = np.zeros((7, 35, 11), bool)
    inside[:, 20:26] = True  # 40…51 along y
    options: dict[str, Any] = {"output": "probabilities", "dtype": "float32", "device": "cpu"}
    masked = lazy(inside, (4, 35, 11), 20.0)
    found = compute(predict(lazy(noise), siam, mask=masked, chunks=(16, 24, 24), **options))
    due = whole(siam, noise)
    due[:, :, :40] = due[:, :, 52:] = 0
    assert np.abs(found - due).max() < 1e-5
    bad = predict(lazy(noise), siam, mask=lazy(inside * 3, -1, 20.0), **options)
    with pytest.raises(DtypeError, match="holds 3 beside 0"):
        compute(bad)


def test_what_only_these_networks_have_is_refused_of_others(
    siam: ModelSpec, spec: ModelSpec, noise: npt.NDArray[np.float32]
) -> None:
    volume = lazy(noise)
    with pytest.raises(ConfigError, match="mask go with networks of CryoSiam only"):
        predict(volume, spec, mask=volume)
    with pytest.raises(ConfigError, match="distances go with networks"):
        predict(volume, spec, output="distances")
    with pytest.raises(ConfigError, match=r"intensity=\(0, 1, 0, 1\) does not go with"):
        predict(volume, spec, intensity=(0, 1, 0, 1))
    with pytest.raises(ConfigError, match=r"window='constant', sigma_scale=0.2 does not go with"):
        predict(volume, siam, window="constant", sigma_scale=0.2)
    noise = noise.copy()
    noise[2, 3, 4] = np.inf
    with pytest.raises(NonFiniteError):
        compute(predict(lazy(noise), siam, device="cpu"))
    noise[2, 3, 4] = 0.25
    due = compute(predict(lazy(noise), siam, output="probabilities", device="cpu"))
    noise[2, 3, 4] = np.nan
    mended = predict(
        lazy(noise), siam, output="probabilities", device="cpu", replace_nonfinite=0.25
    )
    np.testing.assert_array_equal(compute(mended), due)


def test_a_mask_in_a_file_of_several_arrays_is_that_of_the_labels(tmp_path: Path) -> None:
    path = tmp_path / "TS_1_preds.h5"
    with h5py.File(path, "w") as file:
        file["labels"] = np.eye(6, dtype=np.uint8)[None].repeat(4, 0)
        file["probs"] = np.ones((1, 4, 6, 6), np.float32)
    mask = open_mask(path, (8, 12, 12), None)
    assert check_mask(mask, executor=SerialExecutor()) == 4 * 6 * 8
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["one"] = file["two"] = np.ones((4, 6, 6), np.uint8)
    with pytest.raises(SeveralError):
        open_mask(other, (8, 12, 12), None)


def test_tiles_are_smaller_where_workers_or_what_is_kept_ask_for_it(siam: ModelSpec) -> None:
    what: dict[str, Any] = {
        "shape": (464, 960, 928), "dtype": np.dtype("float32"), "storage_chunks": (1, 1, 1),
    }  # fmt: skip
    settings = Settings(device="cpu")
    one = plan_tiles(settings, siam, **what)
    many = plan_tiles(settings, siam, **what, num_workers=3 * len(one.grid))
    assert len(many.grid) >= 3 * len(one.grid)
    assert many.work > one.work > 1
    assert one.host_bytes < 3e9
    kept = plan_tiles(
        settings.changed({"tta": "octopi4"}), siam, **what, stored={"probabilities": 4}
    )
    assert kept.host_bytes < 3e9
    assert kept.num_passes == 4 * len(kept.grid)
    given = plan_tiles(settings, siam, **what, chunks=(100, 200, 1000))
    assert given.chunks == (104, 200, 928)
    assert given.grid.tiles[0, 0, 0].read[0] == slice(0, 152)
