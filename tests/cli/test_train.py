"""``volproc train semantic`` and ``volproc octopi train`` on copick projects, and their options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from volproc.cli.main import run
from volproc.cli.train_options import OCTOPI, OWN, BestMetric, make_settings
from volproc.core.points import Points
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.points import write_points
from volproc.models.octopi import read_octopi_spec

SHAPE = (18, 20, 22)
TINY = ["-nepochs", "1", "--steps-per-epoch", "1", "-dim", "16", "-ch", "4,8", "-s", "2", "-q"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config = create_project(
        tmp_path / "config.json",
        objects=[ProjectObject("ribosome", 5, 40.0), ProjectObject("apo", 2, 30.0)],
    )
    rng = np.random.default_rng(0)
    for name in ("TS_1", "TS_2", "TS_3"):
        voxels = rng.normal(0, 1, SHAPE).astype(np.float32)
        add_tomogram(config, name, "wbp", voxels, voxel_size=10.0)
        points = Points.from_zyx(
            [[6.0, 7.0, 8.0], [12.0, 14.0, 15.0]],
            class_name=["ribosome", "apo"],
            voxel_size=(10.0,) * 3,
            shape=SHAPE,
        )
        write_points(points, f"{config}:{name}/:me/1")
    assert run(["create-targets", "--config", str(config), "-q"]) == 0
    return config


def test_a_project_is_trained_on_by_either_command(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    base = ["-c", str(project), "-truns", "TS_1", "-vruns", "TS_2", *TINY]
    assert run(["octopi", "train", *base, "-bs", "1"]) == 0
    assert "results/best_model.pth" in capsys.readouterr().out
    spec = read_octopi_spec("results/model_config.yaml", "results/best_model.pth")
    assert spec.classes == ("background", "apo", "ribosome")
    text = Path("results/model_config.yaml").read_text()
    assert "TverskyLoss" in text
    pair = ["-mc", "results/model_config.yaml", "-mw", "results/best_model.pth"]
    assert run(["train", "semantic", *base, *pair, "-o", "out"]) == 0
    assert run(["train", "semantic", *base, *pair, "-o", "out"]) == 1
    assert "out holds a training run already" in capsys.readouterr().err
    assert run(["train", "semantic", *base, *pair, "-o", "out", "--resume"]) == 0


def test_what_does_not_go_together_is_said(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(project)
    Path("train.yaml").write_text("classes: [a, b]\ntrain: []\n")
    for words, status, text in (
        (["-c", "train.yaml", "-bs", "4"], 2, "--batch-size is for copick projects"),
        (["-c", "train.yaml", "-uri", "wbp@10"], 2, "--tomo-uri is for copick projects"),
        (["-c", "train.yaml"], 1, "train"),
        (["-c", config, "-mc", "x.yaml"], 2, "belong together"),
        (["-c", config, "-vs", "10,20"], 2, "2 voxel sizes for 1 projects"),
        (["-c", f"a,{config}", "-c", config], 2, "need names of their own"),
        (["-c", config, "-metric", "f1_class7"], 2, "there is no class 7"),
        (["-c", config, "-metric", "speed"], 2, '"speed" is no metric'),
        (["-c", config, "-tinfo", "targets,me"], 2, "targets,me"),
        (["-c", config, "-uri", "wbp"], 2, '"wbp" is no tomogram'),
        (["-c", config, "-uri", "wbp@10", "-vs", "10"], 2, "--tomo-uri and --voxel-size say the"),
        (["-c", config, "-uri", "wbp@10", "-alg", "wbp"], 2, "--tomo-uri and --tomo-alg say the"),
        (["-c", config, "-turi", "t", "-tinfo", "t"], 2, "--target-uri and --target-info say the"),
        (["-c", config, "-turi", "other"], 1, "targets other:octopi/1"),
        (["-c", config, "-uri", "wbp@20"], 1, "has a tomogram wbp at 20 Å"),
        (["-c", config, "-split", "0.8,0.3"], 2, "--data-split 0.8,0.3 is more than there is"),
        (["-c", config, "-split", "1"], 2, "below 1"),
        (["-c", config, "-truns", "TS_8"], 1, 'no project has a run "TS_8"'),
        (["-c", config, "-alg", "denoised"], 1, "no run of"),
        (["-c", config, "-dim", "15"], 1, "15"),
        (["-c", "none.json"], 1, "none.json does not exist"),
    ):
        assert run(["train", "semantic", *words, "-o", "out", "-q"]) == status, words
        assert text in capsys.readouterr().err
    assert not Path("out").exists()


def test_octopis_defaults_are_octopis_and_the_rate_warms_up_for_five_epochs(project: Path) -> None:
    settings, _ = make_settings((str(project),), {"train_run_ids": ("TS_1", "TS_2")}, OCTOPI)
    assert (settings.epochs, settings.batch_size, settings.patch) == (1000, 16, (96, 96, 96))
    assert (settings.learning_rate, settings.weight_decay) == (1e-3, 1e-3)
    assert settings.params["channels"] == [32, 64, 96, 96]
    assert settings.params["dropout"] == 0.1
    assert (settings.loss, settings.tversky_alpha, settings.ema_decay) == ("tversky", 0.3, 0.995)
    assert (settings.steps_per_epoch, settings.warmup_steps) == (2, 10)
    assert settings.learning_rate * settings.final_rate == pytest.approx(1e-6)
    assert settings.foreground == pytest.approx(2 / 3)  # as often as each of two classes
    own, _ = make_settings((str(project),), {"best_metric": ("picks", 4.0, 2)}, OWN)
    assert (own.metric, own.beta, own.metric_class) == ("picks", 4.0, "ribosome")


def test_octopis_uris_say_which_tomograms_a_run_is_seen_in(project: Path) -> None:
    for name in ("TS_1", "TS_2", "TS_3"):
        for kind, size in (("denoised", 10.0), ("wbp", 20.0)):
            add_tomogram(project, name, kind, np.zeros(SHAPE, np.float32), voxel_size=size)
    assert run(["create-targets", "-c", str(project), "-uri", "wbp@20", "-q"]) == 0
    seen: list[Any] = []
    words = ["--trainRunIDs", "TS_1", "--validateRunIDs", "TS_2,TS_3", "-turi", "targets", "-q"]
    uris = ["-uri", "wbp@10", "--tomo-uri", "denoised@10.0", "--tomo-uri", "wbp@20"]

    def keep(settings: Any, **how: Any) -> str:
        seen.append(settings)
        return "out"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("volproc.training.semantic.train_semantic", keep)
        assert run(["octopi", "train", "-c", str(project), *words, *uris, "-o", "out"]) == 0
    train = [(data.tomogram, data.voxel_size, data.runs) for data in seen[0].train]
    one = ("TS_1",)
    assert train == [("wbp", 10.0, one), ("denoised", 10.0, one), ("wbp", 20.0, one)]
    assert {data.runs for data in seen[0].validate} == {("TS_2", "TS_3")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("picks", ("picks", 4.0, 0)),
        ("avg_f1", ("voxels", 1.0, 0)),
        ("fBeta4", ("voxels", 4.0, 0)),
        ("fBeta2_class3", ("voxels", 2.0, 3)),
        ("f1_class1", ("voxels", 1.0, 1)),
    ],
)
def test_octopis_metrics_are_read(text: str, expected: tuple[str, float, int]) -> None:
    assert BestMetric().convert(text, None, None) == expected
    with pytest.raises(click.BadParameter):
        BestMetric().convert(f"{text}_class0", None, None)


@pytest.mark.parametrize("words", [["octopi", "train"], ["train", "semantic"]])
def test_an_interrupted_training_says_how_to_go_on(
    words: list[str],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stop(*arguments: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("volproc.training.semantic.train_semantic", stop)
    assert run([*words, "-c", str(project), "-o", "out", *TINY]) == 130
    text = capsys.readouterr().err
    assert "What is finished is kept" in text
    assert "--resume" in text
