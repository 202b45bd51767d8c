"""CryoSiam's denoiser: lazily and as a story, held against the whole volume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import torch

from volproc.cli.main import run
from volproc.core.errors import ConfigError, ExistsError, ModelError, NonFiniteError, ResumeError
from volproc.core.events import Event
from volproc.core.volume import Volume
from volproc.graph.denoise import cryosiam_denoise, invert, scale_percentiles
from volproc.io.open import open_
from volproc.models.cryosiam import read_cryosiam_denoiser
from volproc.models.cryosiam_networks import DENOISER
from volproc.models.loading import load_model
from volproc.models.networks import build
from volproc.workflows.denoise import DenoiseTask, denoise

SHAPE = (11, 37, 22)
PARAMS: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 2, 2, 3], "fpn_channels": 2,
    "projector": [2, 2, 2], "head_widths": [2], "head_kernels": [3, 3],
}  # fmt: skip

Make = Callable[..., DenoiseTask]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint as CryoSiam's training of a denoiser leaves it."""
    torch.manual_seed(2)
    state = build(DENOISER, **PARAMS).state_dict()
    named = {
        f"{'_model.' if '_head.' in name else '_model_backbone.'}{name}": value
        for name, value in state.items()
    }
    network = {
        "spatial_dims": 3, "in_channels": 1, "block_type": "basic", "num_layers": [1, 1, 1, 1],
        "num_filters": [2, 2, 2, 3], "fpn_channels": 2, "no_max_pool": True, "dense_dim": 2,
    }  # fmt: skip
    data = {"patch_size": [16, 16, 16], "min": 0, "max": 1, "mean": 0, "std": 1}
    settings = {
        "config": {"parameters": {"data": data, "network": {}}},
        "backbone_config": {"parameters": {"network": network}},
    }
    path = tmp_path_factory.mktemp("model") / "denoiser.ckpt"
    torch.save({"state_dict": named, "hyper_parameters": settings}, path)
    return str(path)


@pytest.fixture(scope="module")
def raw() -> npt.NDArray[np.float32]:
    return np.random.default_rng(5).normal(30, 8, SHAPE).astype(np.float32)


@pytest.fixture(scope="module")
def due(model: str, raw: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What the network gives for the whole volume after the steps of CryoSiam."""
    low, high = np.percentile(-raw, (0.1, 99.9))
    scaled = ((-raw - np.float32(low)) / np.float32(high - low)).astype(np.float32)
    loaded = load_model(read_cryosiam_denoiser(model), "cpu")
    found = loaded(torch.from_numpy(scaled)[None, None])[0, 1].numpy()
    assert found.std() > 1e-3
    return found


@pytest.fixture
def make(tmp_path: Path, model: str, raw: npt.NDArray[np.float32]) -> Make:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "raw.npy", raw)
    usual: dict[str, Any] = {
        "address": str(tmp_path / "in" / "raw.npy"), "output": str(tmp_path / "denoised.zarr"),
        "model": model, "voxel_size": 6.8, "device": "cpu", "chunks": (16, 16, 24),
    }  # fmt: skip
    return lambda **changes: DenoiseTask(**(usual | changes))


def read(address: str) -> npt.NDArray[Any]:
    return open_(address).data.compute()


def test_steps_are_lazy_and_give_what_the_whole_volume_gives(
    model: str, raw: npt.NDArray[np.float32], due: npt.NDArray[np.float32]
) -> None:
    volume = Volume(da.from_array(raw, (4, 20, 22)), (6.8,) * 3, name="raw")
    scaled = scale_percentiles(invert(volume))
    low, high = np.percentile(-raw, (0.1, 99.9))
    np.testing.assert_allclose(
        scaled.data.compute(scheduler="sync"), (-raw - low) / (high - low), atol=2e-6
    )
    found = cryosiam_denoise(volume, model, device="cpu", chunks=(5, 24, 22))
    assert found.dtype == np.float32
    assert np.abs(found.data.compute(scheduler="sync") - due).max() < 1e-5
    plain = cryosiam_denoise(invert(volume), model, device="cpu", is_inverted=False)
    assert np.abs(plain.data.compute(scheduler="sync") - due).max() < 1e-5
    corner = Volume(da.from_array(raw[:8, :24, :16]), (6.8,) * 3)
    patches, tiles = (
        cryosiam_denoise(corner, model, device="cpu", compat=compat).data.compute(scheduler="sync")
        for compat in ("cryosiam", "none")
    )
    assert np.abs(patches - tiles).max() > 1e-4


@pytest.mark.parametrize("name", ["denoised.mrc", "denoised.zarr", "denoised.h5:/tomogram"])
def test_a_tomogram_is_written_in_any_format(
    make: Make, tmp_path: Path, due: npt.NDArray[np.float32], name: str
) -> None:
    task = make(output=str(tmp_path / name))
    report = denoise(task)
    volume = open_(report.output)
    assert volume.dtype == np.float32
    assert volume.voxel_size == pytest.approx((6.8,) * 3)
    assert np.abs(volume.data.compute() - due).max() < 1e-5
    record = json.loads(report.record.read_text())
    assert record["percentiles"] == [0.1, 99.9]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    with pytest.raises(ExistsError):
        denoise(task)
    again = denoise(make(output=task.output, resume=True, chunks=None))
    assert again.was_finished
    with pytest.raises(ResumeError, match="made otherwise"):
        denoise(make(output=task.output, resume=True, percentiles=(1, 99)))


def test_a_killed_run_goes_on_with_the_tiles_that_are_left(make: Make, tmp_path: Path) -> None:
    class Killed(BaseException):
        """Nothing that code would catch."""

    def die(event: Event) -> None:
        if event.kind == "block" and event.stage == "predict":
            raise Killed

    task = make()
    with pytest.raises(Killed):
        denoise(task, observe=die)
    assert not Path(task.output).exists()
    with pytest.raises(ResumeError, match=r"begun otherwise: .*percentiles"):
        denoise(make(percentiles=(1.0, 99.0)))
    events: list[Event] = []
    report = denoise(make(chunks=None), observe=events.append)
    done = [e for e in events if e.kind == "block" and e.stage == "predict"]
    assert report.num_skipped >= 1
    assert report.num_skipped + len(done) == 3
    assert not [e for e in events if e.stage == "histogram"]  # the percentiles are known
    whole = denoise(make(output=str(tmp_path / "other.zarr")))
    np.testing.assert_array_equal(read(report.output), read(whole.output))


def test_bad_input_leaves_nothing_behind(
    make: Make, tmp_path: Path, raw: npt.NDArray[np.float32]
) -> None:
    bad = raw.copy()
    bad[1, 2, 3] = np.nan
    np.save(tmp_path / "in" / "nan.npy", bad)
    task = make(address=str(tmp_path / "in" / "nan.npy"))
    with pytest.raises(NonFiniteError, match="1 NaN"):
        denoise(task)
    with pytest.raises(ConfigError, match="percentiles are two of"):
        denoise(make(percentiles=(99.9, 0.1)))
    with pytest.raises(ConfigError, match="patches say how the volume is cut"):
        denoise(make(compat="cryosiam"))
    with pytest.raises(ModelError):
        denoise(make(model=str(tmp_path / "in" / "raw.npy")))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]
    mended = denoise(make(address=task.address, replace_nonfinite=-30.0))
    assert np.isfinite(read(mended.output)).all()


def test_the_command_writes_a_tomogram_and_says_what_it_takes_otherwise(
    make: Make, model: str, due: npt.NDArray[np.float32], capsys: pytest.CaptureFixture[str]
) -> None:
    task = make()
    words = ["denoise", task.address, "-o", task.output, "-m", model, "-vs", "6.8", "-q"]
    assert run([*words, "--device", "cpu", "--chunks", "16,24,24"]) == 0
    assert "denoised" in capsys.readouterr().out
    assert np.abs(read(task.output) - due).max() < 1e-5
    assert run(["segment", "semantic", task.address, "-m", model, "-vs", "6.8", "-q"]) == 1
    assert "volproc denoise" in capsys.readouterr().err
