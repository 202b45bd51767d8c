"""Stories on small volumes made here: plan, segment, localize, convert, train."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.cli.main import run
from volproc.cli.options import Bytes, Named
from volproc.core.model import ModelSpec
from volproc.io.open import open_
from volproc.io.points import read_points
from volproc.models.loading import save_model
from volproc.models.networks import build

SHAPE = (20, 24, 28)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "noise.npy", rng.normal(size=SHAPE).astype(np.float32))
    return tmp_path


@pytest.fixture
def model(here: Path) -> str:
    params = {"in_channels": 1, "num_classes": 2, "widths": [2, 4]}
    torch.manual_seed(0)
    spec = ModelSpec(
        "unet3d",
        "tiny.pt",
        patch=(16, 16, 16),
        classes=("background", "ball"),
        params={"widths": [2, 4]},
        radii={"ball": 30.0},
    )
    save_model(here / "tiny.pt", spec, build("unet3d", **params).state_dict())
    return "tiny.pt"


def test_plan_says_what_it_takes_and_writes_nothing(
    here: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    words = ["noise.npy", "--model", model, "--voxel-size", "10", "--tta", "rot4"]
    assert run(["plan", *words]) == 0
    out = capsys.readouterr().out
    for word in ("volume", "blocks", "patches", "4 views", "memory", "output"):
        assert word in out
    assert sorted(here.iterdir()) == before


def test_a_plan_that_cannot_fit_is_refused_with_both_numbers(
    model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["noise.npy", "--model", model, "-vs", "10", "--memory-limit", "100 MB"]
    assert run(["plan", *words]) == 1
    captured = capsys.readouterr()
    assert "a worker has 100 MB" in captured.err
    assert "blocks" in captured.out


def test_segment_then_localize(here: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "settings.yaml").write_text("overlap: 0.5\nvoxel_size_angstrom: 10\n")
    words = ["semantic", "noise.npy", "--model", model, "--config", "settings.yaml", "-q"]
    assert run(["segment", *words, "-o", "noise_classes.zarr"]) == 0
    assert "noise_classes.zarr" in capsys.readouterr().out
    record = json.loads((here / "noise_classes.zarr.json").read_text())
    assert record["settings"]["overlap"] == 0.5
    classes = open_("noise_classes.zarr")
    assert classes.shape == SHAPE
    assert classes.voxel_size == (10.0, 10.0, 10.0)

    assert run(["segment", *words, "-o", "noise_classes.zarr"]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert run(["localize", "noise_classes.zarr", "-q"]) == 0
    assert "noise_picks.csv" in capsys.readouterr().out
    assert (here / "noise_picks.csv").is_file()


def test_localize_finds_a_ball(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    z, y, x = np.ogrid[:20, :24, :28]
    ball = ((z - 9) ** 2 + (y - 11) ** 2 + (x - 13) ** 2 <= 16).astype(np.uint8)
    np.save(here / "map.npy", ball)
    words = ["map.npy", "-vs", "10", "--radius", "ball=40", "--class", "ball=1", "-q"]
    assert run(["localize", *words, "-o", "picks.csv"]) == 0
    assert capsys.readouterr().out.split() == [
        "ball", "1", "picks", "picks.csv", "record", "picks.csv.json"
    ]  # fmt: skip
    points = read_points("picks.csv", voxel_size=(10.0,) * 3, shape=SHAPE)
    np.testing.assert_allclose(points.zyx, [[9, 11, 13]], atol=1e-5)


def test_convert_keeps_voxels_and_frame(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["convert", "noise.npy", "noise.mrc", "-vs", "7.5", "-q"]) == 0
    assert "noise.mrc" in capsys.readouterr().out
    copy = open_("noise.mrc")
    assert copy.voxel_size == (7.5, 7.5, 7.5)
    assert np.array_equal(copy.data.compute(), np.load(here / "noise.npy"))


def test_processes_write_the_same_as_one_thread(here: Path) -> None:
    words = ["convert", "noise.npy", "-vs", "10", "-q"]
    for name, where in (("one.zarr", "serial"), ("many.zarr", "local")):
        assert run([*words, "--cluster", where, "--workers", "1", name]) == 0
    one, many = open_("one.zarr"), open_("many.zarr")
    assert np.array_equal(one.data.compute(), many.data.compute())


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["convert", "noise.npy", "noise.mrc"], 1, "gives no usable voxel size"),
        (["convert", "nois.npy", "noise.mrc", "-vs", "1"], 1, "does not exist"),
        (["convert", "noise.npy", "noise.xyz", "-vs", "1"], 1, "noise.xyz"),
        (["segment", "semantic"], 2, "Missing argument 'INPUT'"),
        (["segment", "semantic", "noise.npy", "--overlap", "1"], 1, "the option --overlap: "),
        (["segment", "semantic", "noise.npy", "--cluster", "slurm"], 1, "slurm"),
        (["segment", "semantic", "noise.npy", "-vs", "1", "-m", "nowhere.pt"], 1, "nowhere.pt"),
        (["segment", "semantc"], 2, 'did you mean "semantic"?'),
        (["localize", "noise.npy", "-vs", "1", "--radius", "ball"], 2, "is not NAME=Å"),
        (["plan", "noise.npy", "-vs", "1", "-m", "tiny.pt", "--tta", "rot5"], 1, "rot4"),
        (["train", "semantic", "--config", "no.yaml", "-o", "x"], 1, "no.yaml does not exist"),
    ],
)
def test_a_mistake_ends_in_one_message_and_leaves_nothing(
    here: Path, words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(here.iterdir())
    assert run(words) == status
    captured = capsys.readouterr()
    assert said in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert sorted(here.iterdir()) == before


def test_an_unknown_key_in_a_config_is_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "settings.yaml").write_text("overlp: 0.5\n")
    assert run(["segment", "semantic", "noise.npy", "--config", "settings.yaml"]) == 1
    assert 'unknown key "overlp" in settings.yaml, did you mean "overlap"?' in (
        capsys.readouterr().err
    )


def test_train_writes_a_model_that_plan_reads(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(here / "truth.npy", np.zeros(SHAPE, np.uint8) + np.uint8(np.arange(28) > 13))
    (here / "train.yaml").write_text(
        "classes: [background, half]\n"
        "train: [{kind: volume, image: noise.npy, classes: truth.npy, values: {1: half},"
        " voxel_size_angstrom: 10}]\n"
        "params: {widths: [2, 4]}\npatch: [16, 16, 16]\nepochs: 9\nsteps_per_epoch: 1\n"
        "batch_size: 1\nvalidation_patches: 1\ndevice: cpu\n"
    )
    assert run(["train", "semantic", "--config", "train.yaml", "-o", "out", "--epochs", "1"]) == 0
    captured = capsys.readouterr()
    best = captured.out.split()[-1]
    assert "train" in captured.err
    assert run(["plan", "noise.npy", "-vs", "10", "--model", best]) == 0


def test_demo_leaves_scores_and_a_page(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("background", "apo-ferritin", "ribosome", "proteasome", "beta-amylase", "membrane")
    params = {"widths": [2, 4]}
    spec = ModelSpec(
        "unet3d", "untrained.pt", patch=(32, 32, 32), classes=names, params=params,
        radii={"apo-ferritin": 60.0, "ribosome": 95.0, "proteasome": 80.0, "beta-amylase": 45.0},
    )  # fmt: skip
    network = build("unet3d", in_channels=1, num_classes=len(names), **params)
    save_model(here / "untrained.pt", spec, network.state_dict())
    words = ["demo", "-o", "out", "--shape", "32,40,36", "-m", "untrained.pt", "-q"]
    assert run(words) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == [
        "class", "true", "predicted", "found", "precision", "recall", "F1",
    ]  # fmt: skip
    scores = json.loads((here / "out" / "scores.json").read_text())
    assert {"precision", "recall", "f1"} <= set(scores["overall"])
    assert (here / "out" / "report.html").is_file()
    assert run(words) == 1
    assert "--overwrite" in capsys.readouterr().err


def test_amounts_and_names_are_read() -> None:
    assert Bytes().convert("8 GiB", None, None) == 8 * 2**30
    assert Bytes().convert("1.5kB", None, None) == 1500
    assert Bytes().convert("12", None, None) == 12
    assert Named(float, "NAME=Å").convert("a=b=1.5", None, None) == ("a=b", 1.5)


def test_a_pickled_network_needs_trust_to_be_planned_segmented_and_verified(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    torch.save(torch.nn.Conv3d(1, 2, 3, padding=1), "net.pt")
    (here / "net.pt.json").write_text('{"patch": [16, 16, 16], "classes": ["background", "ball"]}')
    words = ["noise.npy", "-m", "net.pt", "-vs", "10"]
    before = sorted(here.iterdir())
    for command in (["plan", *words], ["segment", "semantic", *words, "-o", "out.zarr"]):
        assert run(command) == 1
        assert "allow it with --trust-model" in capsys.readouterr().err
    assert sorted(here.iterdir()) == before
    assert run(["plan", *words, "--trust-model"]) == 0
    assert "blocks" in capsys.readouterr().out
    assert run(["segment", "semantic", *words, "-o", "out.zarr", "--trust-model", "-q"]) == 0
    assert open_("out.zarr").shape == SHAPE
    capsys.readouterr()
    assert run(["verify", "out.zarr", "--regions", "1", "-q"]) == 1
    assert "--trust-model" in capsys.readouterr().err
    run(["verify", "out.zarr", "--regions", "1", "-q", "--trust-model"])
    assert "verdict" in capsys.readouterr().out
    (here / "settings.yaml").write_text("input: noise.npy\nmodel: net.pt\ntrust_model: true\n")
    words = ["--config", "settings.yaml", "-vs", "10", "-o", "again.zarr", "-q"]
    assert run(["segment", "semantic", *words]) == 0
