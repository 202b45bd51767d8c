"""Segmentation by networks of CryoSiam as a story: tiles of any size, masks, views, kills."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest
import torch

from volproc.core.errors import (
    ConfigError,
    DtypeError,
    MissingFileError,
    ModelError,
    NonFiniteError,
    PlanError,
    ShapeError,
    VerifyError,
    VolprocError,
)
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.save import save
from volproc.graph.settings import Settings
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.open import open_
from volproc.models.cryosiam import activate, split_outputs
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.loading import load_model, read_spec, save_model
from volproc.models.networks import build
from volproc.models.tile_network import choose_labels
from volproc.models.views import find_views
from volproc.workflows.calibrate import calibrate
from volproc.workflows.segment import plan_segment, segment
from volproc.workflows.segment_task import SegmentTask
from volproc.workflows.verify import verify

SHAPE = (16, 40, 24)
CHUNKS = (16, 16, 24)
TINY: dict[str, Any] = {
    "num_layers": [1, 1, 1, 1], "num_filters": [2, 2, 2, 3], "fpn_channels": 2,
    "projector": [2, 2, 2], "head_widths": [2], "head_kernels": [3, 3],
    "activation": "softmax", "intensity": [0, 1, 0.5, 0.25], "heads": ["semantic", "distance"],
}  # fmt: skip

Make = Callable[..., SegmentTask]


@pytest.fixture(scope="module")
def siam(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of a tiny network of CryoSiam, its normalisation adapted to noise."""
    torch.manual_seed(1)
    network = build(SEMANTIC, **TINY, num_classes=3)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None
    with torch.no_grad():
        network(torch.rand(1, 1, 16, 64, 16))
    path = tmp_path_factory.mktemp("model") / "siam.pt"
    names = ("background", "a", "b")
    save_model(path, ModelSpec(SEMANTIC, "", (16, 16, 16), names, TINY), network.state_dict())
    return str(path)


@pytest.fixture(scope="module")
def noise() -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).random(SHAPE, np.float32)


@pytest.fixture
def make(tmp_path: Path, siam: str, noise: npt.NDArray[np.float32]) -> Make:
    """Make a task; keywords replace what is to be otherwise."""
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "noise.npy", noise)
    usual: dict[str, Any] = {
        "address": str(tmp_path / "in" / "noise.npy"),
        "output": str(tmp_path / "classes.zarr"),
        "model": siam,
        "voxel_size": 10.0,
        "chunks": CHUNKS,
        "settings": Settings(device="cpu"),
    }
    return lambda **changes: SegmentTask(**(usual | changes))


def whole(
    siam: str, noise: npt.NDArray[np.float32], views: str = "none"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Probabilities and distances of the whole volume, by view."""
    spec, batch = read_spec(siam), torch.from_numpy(noise)[None, None]
    model, found = load_model(spec, "cpu"), []
    for view in find_views(views):
        logits, distances = split_outputs(spec, view.inverse(model(view.forward(batch))))
        assert distances is not None
        found.append((activate(spec, logits)[0].numpy(), distances[0].numpy()))
    probabilities, distances = zip(*found, strict=True)
    return np.stack(probabilities), np.stack(distances)


def channels(address: str, count: int = 3) -> npt.NDArray[Any]:
    return np.stack([open_(address, c=c, voxel_size=10.0).data.compute() for c in range(count)])


def read(address: str) -> npt.NDArray[Any]:
    return open_(address, voxel_size=10.0).data.compute()


def test_tiles_of_any_size_give_what_the_whole_volume_gives(
    make: Make, siam: str, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    due, distances = whole(siam, noise)
    assert due.std() > 0.05
    chosen = Settings(device="cpu", threshold={"a": 0.36, "b": 0.2})
    labels = choose_labels(due[0], (0, 0.36, 0.2))
    assert len(np.unique(labels)) == 3
    for number, chunks in enumerate([(5, 13, 24), None]):
        report = segment(
            make(
                output=str(tmp_path / f"{number}.zarr"), chunks=chunks, probabilities="float32",
                maximum="float32", distances="float32", settings=chosen,
            )
        )  # fmt: skip
        found = channels(report.probabilities)
        assert np.abs(found - due[0]).max() < 1e-5
        assert np.abs(channels(report.maps["distances"]) - distances[0]).max() < 1e-4
        own = read(report.output)
        assert (own != labels).mean() < 1e-3  # of probabilities that are equal but for a rounding
        np.testing.assert_array_equal(
            read(report.maps["maximum"]), np.take_along_axis(found, own[None].astype(int), 0)[0]
        )
        assert report.tiles == {"computed": len(report.plan.grid), "outside": 0}
    assert report.plan.num_passes == 1  # all of it fits into memory
    assert json.loads(report.record.read_text())["settings"]["threshold"] == {"a": 0.36, "b": 0.2}


def test_views_are_averaged_and_their_spread_is_kept(
    make: Make, siam: str, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    due, _ = whole(siam, noise, "octopi4")
    report = segment(
        make(
            output=str(tmp_path / "classes.mrc"), probabilities="float32", variance="float32",
            settings=Settings(device="cpu", tta="octopi4"),
        )
    )  # fmt: skip
    assert np.abs(channels(report.probabilities) - due.mean(0)).max() < 1e-5
    labels = read(report.output).astype(int)
    spread = np.take_along_axis(due.var(0), labels[None], 0)[0]
    assert spread.max() > 1e-4
    assert np.abs(read(report.maps["variance"]) - spread).max() < 1e-5
    assert open_(report.output).voxel_size == pytest.approx((10.0, 10.0, 10.0))
    assert report.plan.num_passes == 4 * len(report.plan.grid)


def test_models_of_other_orders_are_averaged_into_a_project(
    make: Make, siam: str, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    spec = read_spec(siam)
    state = load_model(spec, "cpu").network.state_dict()
    other = tmp_path / "in" / "other.pt"
    save_model(other, replace(spec, classes=("background", "b", "a")), state)
    config = create_project(
        tmp_path / "copick.json", objects=(ProjectObject("a", 1, 15.0),), runs=["TS_1"]
    )
    add_tomogram(config, "TS_1", "wbp", noise, voxel_size=10.0)
    inside = np.zeros(SHAPE, np.uint8)
    inside[:, :30] = 1
    place = f"{config}:TS_1/lamella:volproc/1@10"
    save(Volume(da.from_array(inside), (10.0,) * 3), place, kind="labels")
    report = segment(
        make(
            address=f"{config}:TS_1/wbp@10", output=f"{config}:TS_1/predict:volproc/1@10",
            voxel_size=None, model=f"{siam},{other}", mask=place, probabilities="float32",
        )
    )  # fmt: skip
    due = whole(siam, noise)[0][0]
    due = (due + due[[0, 2, 1]]) / 2
    due[:, :, 30:] = 0
    assert np.abs(channels(report.probabilities) - due).max() < 1e-5
    assert (read(report.output) != choose_labels(due, 0)).mean() < 1e-3
    assert report.plan.num_passes == 2 * len(report.plan.grid)


def test_tiles_outside_the_mask_are_not_computed(
    make: Make, siam: str, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    inside = np.zeros((8, 20, 12), np.uint8)
    inside[:, :9] = 1  # 0…17 along y of the volume
    np.save(tmp_path / "in" / "mask.npy", inside)
    task = make(mask=str(tmp_path / "in" / "mask.npy"), probabilities="float32")
    report = segment(task)
    assert report.tiles == {"computed": 2, "outside": 1}
    due, _ = whole(siam, noise)
    due[:, :, :, 18:] = 0
    assert np.abs(channels(report.probabilities) - due[0]).max() < 1e-5
    record = json.loads(report.record.read_text())
    assert record["tiles"] == report.tiles
    assert record["mask_address"].endswith("mask.npy")
    with pytest.raises(VolprocError, match="was made otherwise"):
        segment(make(probabilities="float32", resume=True))


def test_a_run_that_is_killed_goes_on_with_the_tiles_that_are_left(
    make: Make, tmp_path: Path
) -> None:
    class Killed(BaseException):
        """Nothing that code would catch."""

    def die(event: Event) -> None:
        if event.kind == "block" and event.stage == "predict":
            raise Killed

    task = make(probabilities="float32")
    with pytest.raises(Killed):
        segment(task, observe=die)
    assert not Path(task.output).exists()
    events: list[Event] = []
    report = segment(task, observe=events.append)
    done = [e.block for e in events if e.kind == "block" and e.stage == "predict"]
    assert report.num_skipped + len(done) == len(report.plan.grid) == 3
    assert report.num_skipped >= 1
    assert report.tiles == {"computed": 3, "outside": 0}
    other = segment(make(output=str(tmp_path / "b.zarr"), probabilities="float32"))
    for one, two in ((report.output, other.output), (report.probabilities, other.probabilities)):
        files = sorted(p.relative_to(one) for p in Path(one).rglob("*") if p.is_file())
        assert len(files) > 4
        chunks = [name for name in files if name.parts[0].isdigit()]
        assert all((Path(one) / c).read_bytes() == (Path(two) / c).read_bytes() for c in chunks)


def test_cryosiams_patches_are_written_in_any_format(
    make: Make, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    small = str(tmp_path / "in" / "small.npy")
    np.save(small, noise[:8, :24, :16])
    settings = Settings(device="cpu", compat="cryosiam", threshold=0.4)
    found = []
    for name in ("a.zarr", "a.h5:/labels"):
        task = make(address=small, output=str(tmp_path / name), chunks=None, settings=settings)
        report = segment(task)
        found.append(read(report.output))
        assert report.plan.chunks == (4, 4, 4)
    np.testing.assert_array_equal(found[0], found[1])
    plain = segment(make(address=small, settings=Settings(device="cpu", threshold=0.4)))
    assert (read(plain.output) != found[0]).any()
    with pytest.raises(ConfigError, match="patches say how the volume is cut"):
        plan_segment(make(settings=settings))


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (np.zeros(SHAPE, np.uint8), ConfigError, "is empty: nothing is left to predict"),
        (np.full(SHAPE, 2, np.uint8), DtypeError, "holds 2 beside 0 and"),
        (np.ones((16, 40, 30), np.uint8), ShapeError, "not of one box"),
        (None, MissingFileError, "does not exist"),
    ],
)
def test_bad_masks_are_refused_before_any_work(
    make: Make, tmp_path: Path, mask: Any, error: type[VolprocError], message: str
) -> None:
    path = tmp_path / "in" / "mask.npy"
    if mask is not None:
        np.save(path, mask)
    with pytest.raises(error, match=message):
        segment(make(mask=str(path)))
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_what_does_not_go_together_is_refused(make: Make, model: str, siam: str) -> None:
    for settings, message in (
        (Settings(overlap=0.5), r"overlap=0.5 does not go with .*siam.pt"),
        (Settings(compat="cryosiam", tta="rot4"), "turns nothing and averages no models, got 4"),
        (Settings(threshold={"c": 0.4}), "a threshold of c, which the model does not have"),
        (Settings(threshold=1.2), "a threshold is a probability, in 0…1, got 1.2"),
    ):
        with pytest.raises(ConfigError, match=message):
            segment(make(settings=settings))
    with pytest.raises(ConfigError, match=r"threshold=0.5 does not go with .*model.pt"):
        segment(make(model=model, settings=Settings(threshold=0.5)))
    with pytest.raises(ConfigError, match="mask go with networks of CryoSiam only"):
        segment(make(model=model, mask="m.npy"))
    with pytest.raises(ModelError, match=r"classes are|cannot be averaged"):
        segment(make(model=f"{siam},{model}"))
    with pytest.raises(PlanError, match=r"may be used|a worker has"):
        segment(make(host_limit=10**6))


def test_voxels_that_are_no_numbers_or_out_of_range_are_named(
    make: Make, noise: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    bad = 3 * noise - 1
    np.save(tmp_path / "in" / "wide.npy", bad)
    events: list[Event] = []
    task = make(address=str(tmp_path / "in" / "wide.npy"))
    segment(task, observe=events.append)
    notes = [e.text for e in events if e.kind == "note" and "contrast" in e.text]
    assert len(notes) == 1
    assert "-1" in notes[0]
    assert "the model wants 0…1" in notes[0]
    bad[3, 4, 5] = np.nan
    np.save(tmp_path / "in" / "nan.npy", bad)
    task = make(address=str(tmp_path / "in" / "nan.npy"), output=str(tmp_path / "nan.zarr"))
    with pytest.raises(NonFiniteError, match="1 NaN"):
        segment(task)
    assert not (tmp_path / "nan.zarr").exists()
    quiet = Settings(device="cpu", replace_nonfinite=0.0, intensity=(-1, 2, 0.5, 0.25))
    events.clear()
    segment(make(address=task.address, output=task.output, settings=quiet), observe=events.append)
    assert not [e for e in events if e.kind == "note" and "contrast" in e.text]


def test_a_plan_says_tiles_memory_and_work_and_can_be_measured(make: Make) -> None:
    task = make(probabilities="float16")
    found = plan_segment(task)
    text = found.explain()
    assert "3 (1 × 3 × 1) of 16 × 16 × 24 voxels with a halo of 48, 1 view: 3 passes" in text
    assert "times the network's on the whole volume at once" in text
    assert "peak per worker on the host" in text
    rate = calibrate(task, found, executor=SerialExecutor())
    assert rate.num_blocks == 1
    assert not Path(task.output).exists()


def test_bits_of_other_tiles_are_not_verified(make: Make) -> None:
    report = segment(make())
    with pytest.raises(VerifyError, match="agree to"):
        verify(report.output)
