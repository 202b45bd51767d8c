"""Octopi's segmentation as its users call it: flags, projects, logs, and what goes wrong there."""

from __future__ import annotations

import json
from pathlib import Path

import copick
import numpy as np
import pytest
import torch
import yaml
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet

from volproc.cli.main import run
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.open import open_

SHAPE = (9, 20, 13)
LOG = "project/logs/segment-octopi_1_predict.yaml"
OBJECTS = (ProjectObject("ribosome", 1, 130.0), ProjectObject("apo", 2, 60.0))
MODEL = ("--model-config", "model_config.yaml", "--model-weights", "best_model.pth")
SEMANTIC = ("segment", "semantic", "--config", "copick.json", *MODEL, "-q")
OCTOPI = ("octopi", "segment", "-c", "copick.json", "-mc", "model_config.yaml")
OCTOPI = (*OCTOPI, "-mw", "best_model.pth", "-q")


@pytest.fixture(scope="module")
def network() -> UNet:
    torch.manual_seed(1)
    network = UNet(3, 1, 3, channels=(3, 5), strides=(2,), num_res_units=1)
    with torch.no_grad():
        for parameter in list(network.parameters())[-2:]:
            parameter *= 8
    return network.eval()


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(3, 2, SHAPE).astype(np.float32)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: UNet) -> Path:
    """A project with a run, and a model of Octopi."""
    monkeypatch.chdir(tmp_path)
    create_project("copick.json", objects=OBJECTS, runs=())
    add_tomogram("copick.json", "TS_1", "wbp", noise(), voxel_size=10.0)
    write_model("labels: {ribosome: 1, apo: 2}\n")
    torch.save(network.state_dict(), "best_model.pth")
    return tmp_path


def write_model(labels: str) -> None:
    Path("model_config.yaml").write_text(
        "model: {architecture: Unet, num_classes: 3, channels: [3, 5], strides: [2], "
        f"num_res_units: 1, dropout: 0.0, dim_in: 8}}\n{labels}"
    )


def octopis(network: UNet, voxels: np.ndarray, views: list, overlap: float = 0.5) -> np.ndarray:
    """What Octopi gives, with a few of its views."""
    scaled = torch.from_numpy((voxels - voxels.mean()) / voxels.std())[None, None]
    with torch.no_grad():
        logits = [
            back(sliding_window_inference(turn(scaled), (8,) * 3, 4, network, overlap=overlap))[0]
            for turn, back in views
        ]
    return torch.stack(logits).mean(0).argmax(0).numpy()


IDENTITY = (lambda v: v, lambda v: v)
HALF_TURN = (lambda v: v.rot90(2, (-2, -1)), lambda v: v.rot90(-2, (-2, -1)))
FOUR = [
    IDENTITY,
    HALF_TURN,
    *[(lambda v, a=a: v.flip(a), lambda v, a=a: v.flip(a)) for a in (-3, -1)],
]


def test_segmentations_and_log_are_octopis_and_verified(here: Path, network, capsys) -> None:
    assert run([*SEMANTIC, "--chunks", "5,8,13"]) == 0
    capsys.readouterr()
    (found,) = copick.from_file("copick.json").get_run("TS_1").get_segmentations(
        name="predict", user_id="octopi", session_id="1", voxel_size=10.0, is_multilabel=True
    )  # fmt: skip
    assert found.numpy().dtype == np.uint8
    np.testing.assert_array_equal(found.numpy(), octopis(network, noise(), FOUR))
    log = yaml.safe_load(Path(LOG).read_text())
    assert list(log)[:5] == ["inputs", "labels", "model", "parameters", "outputs"]
    assert log["inputs"] == {"config": str(here / "copick.json"), "tomo_alg": "wbp",
                             "voxel_size": 10.0}  # fmt: skip
    assert log["labels"] == {"ribosome": 1, "apo": 2}
    assert log["model"]["weights"] == [str(here / "best_model.pth")]
    assert log["parameters"] == {"sw_bs": 1, "overlap": 0.5, "ntta": 4}
    assert log["outputs"] == {"seg_name": "predict", "seg_user_id": "octopi",
                              "seg_session_id": "1"}  # fmt: skip
    assert log["settings"]["preset"] == "octopi"
    assert len(log["hashes"]["weights"][0]) == len(log["hashes"]["configs"][0]) == 64
    assert run(["verify", "copick.json:TS_1/predict:octopi/1@10", "-q"]) == 0
    assert "verdict      equal" in capsys.readouterr().out


def test_octopis_short_flags_mean_what_they_mean_there(here: Path, network, capsys) -> None:
    words = ["-vs", "10", "-alg", "wbp", "-runs", "TS_1", "-seginfo", "mine,me,7", "-swbs", "3"]
    assert run([*OCTOPI, *words, "-o", "0.25", "-ntta", "2"]) == 0
    found = open_("copick.json:TS_1/mine:me/7@10").data.compute()
    expected = octopis(network, noise(), [IDENTITY, HALF_TURN], overlap=0.25)
    np.testing.assert_array_equal(found, expected)
    log = yaml.safe_load(Path("project/logs/segment-me_7_mine.yaml").read_text())
    assert log["parameters"] == {"sw_bs": 3, "overlap": 0.25, "ntta": 2}
    # The same with the flags of 1.7: the same segmentation, so it is done already.
    words = ["--tomo-uri", "wbp@10", "--seg-uri", "mine:me/7", "-swbs", "3", "--resume"]
    assert run([*OCTOPI, *words, "--overlap", "0.25", "--ntta", "2"]) == 0
    assert "skipped" in capsys.readouterr().out


def test_bad_runs_are_named_and_do_not_stop_the_others(here: Path, capsys) -> None:
    add_tomogram("copick.json", "TS_2", "wbp", noise(1), voxel_size=10.0)
    (chunk,) = Path("project/ExperimentRuns/TS_2/VoxelSpacing10.000/wbp.zarr/0").rglob("0/0/0")
    chunk.write_bytes(b"no chunk")
    add_tomogram("copick.json", "TS_3", "denoised", noise(2), voxel_size=10.0)
    holes = noise(3)
    holes[1, 2, 3:5] = np.nan
    add_tomogram("copick.json", "TS_4", "wbp", holes, voxel_size=10.0)
    add_tomogram("copick.json", "TS_5", "wbp", noise(4), voxel_size=20.0)
    add_tomogram("copick.json", "TS_6", "wbp", noise(5)[:, :3, :], voxel_size=10.0)
    assert run([*OCTOPI, "-ntta", "1"]) == 1
    captured = capsys.readouterr()
    rows = {line.split()[0]: line for line in captured.out.splitlines()}
    assert "done" in rows["TS_1"]
    assert "done" in rows["TS_6"]  # thinner than a window: padded
    assert "failed" in rows["TS_2"]
    assert "no tomogram" in rows["TS_3"]
    assert "wbp@10" in rows["TS_3"]
    assert "2 NaN" in rows["TS_4"]
    assert "other voxel spacings than 10 Å: TS_5" in captured.err
    log = yaml.safe_load(Path(LOG).read_text())
    assert log["runs"] == {"done": ["TS_1", "TS_6"], "failed": ["TS_2", "TS_3", "TS_4"]}
    assert not list(Path("project").rglob("*partial*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--overlap", "1.0"), "less than 1, got 1.0"),
        (("--run-ids", "TS_9"), 'no run "TS_9"'),
        (("--voxel-size", "7"), "no run with tomograms at 7 Å"),
        (("--tomo-alg", "raw"), "no tomogram"),
        (("--seg-info", "a_b"), "underscores"),
        (
            ("--model-weights", "best_model.pth", "--model-config", "a.yaml,b.yaml"),
            "2 model configu",
        ),
        (("--variance", "uint8", "--ntta", "1"), "one view of one model"),
    ],
)
def test_a_run_that_fails_leaves_an_older_log_alone(here: Path, words, said, capsys) -> None:
    Path(LOG).parent.mkdir(parents=True)
    Path(LOG).write_text("labels: {ribosome: 1}\n")
    assert run([*SEMANTIC, *words]) == 1
    captured = capsys.readouterr()
    assert said in captured.err + captured.out
    assert Path(LOG).read_text() == "labels: {ribosome: 1}\n"
    assert not list(Path("project").rglob("*multilabel*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seg-info", "a,b"), "Write its name, or name,user,session"),
        (("--tomo-uri", "wbp"), "Write its type and spacing, wbp@10"),
        (("noise.npy",), "names all inputs and outputs"),
        (("--tomo-uri", "wbp@10", "--tomo-alg", "wbp"), "say the same"),
        (("--preset", "guide", "--ntta", "3"), "4 views or 1"),
    ],
)
def test_flags_that_cannot_be_are_misuse(here: Path, words, said, capsys) -> None:
    assert run([*SEMANTIC, *words]) == 2
    assert said in capsys.readouterr().err


def test_flags_of_a_project_need_one(here: Path, capsys) -> None:
    assert run(["segment", "semantic", "noise.npy", "--tomo-alg", "wbp"]) == 2
    assert "--tomo-alg needs --config PROJECT.json" in capsys.readouterr().err


def test_more_views_than_octopi_has_are_all_of_them(here: Path, capsys) -> None:
    assert run(["plan", "--config", "copick.json", *MODEL, "--ntta", "12"]) == 0
    captured = capsys.readouterr()
    assert "--ntta 12 is more than the 8 views of Octopi" in captured.err
    # Windows of 8 at steps of 4: two, four and three a volume, for each of the views.
    assert f"{8 * 2 * 4 * 3} passes in batches of 1" in captured.out


def test_a_model_without_labels_needs_them_said(here: Path, capsys) -> None:
    write_model("")
    assert run([*SEMANTIC, "--ntta", "1"]) == 1
    assert "--labels" in capsys.readouterr().err
    assert run([*SEMANTIC, "--ntta", "1", "--labels", "apo=2,ribosome=1"]) == 0
    assert yaml.safe_load(Path(LOG).read_text())["labels"] == {"ribosome": 1, "apo": 2}
    assert run(["verify", "copick.json:TS_1/predict:octopi/1@10", "-q"]) == 0


def test_a_model_that_does_not_fit_the_project_is_named(here: Path, capsys) -> None:
    write_model("labels: {virus: 1, ribosom: 2}\n")
    assert run([*SEMANTIC, "--ntta", "1"]) == 1
    message = capsys.readouterr().err
    assert "(virus, ribosom) are no objects of" in message
    assert "it has ribosome, apo. Say which channel is what with --labels" in message
    assert not list(Path("project").rglob("*multilabel*"))
    write_model("labels: {virus: 1, apo: 2}\n")
    assert run([*SEMANTIC, "--ntta", "1"]) == 0
    assert "nothing will be picked of them: virus. --labels" in capsys.readouterr().err


def test_maps_are_stored_with_their_scale_and_verified(here: Path, capsys) -> None:
    np.save("noise.npy", noise())
    words = ["segment", "semantic", "noise.npy", "-vs", "10", "--model", ".", "-q", "--preset",
             "guide", "--chunks", "5,9,13"]  # fmt: skip
    maps = ["--max-probability", "uint8", "--variance", "uint8", "--probabilities", "uint8"]
    assert run([*words, *maps]) == 0
    shown = capsys.readouterr().out
    scales = {}
    for kind in ("maximum", "variance"):
        attributes = json.loads(Path(f"noise_classes_{kind}.zarr/.zattrs").read_text())
        scales[kind] = attributes["volproc"]["scale"]
        assert f"noise_classes_{kind}.zarr" in shown
    assert scales == {"maximum": 255, "variance": 1020}
    most = open_("noise_classes_maximum.zarr").data.compute()
    classes = np.stack(
        [open_("noise_classes_probabilities.zarr", c=c).data.compute() for c in range(3)]
    )
    np.testing.assert_array_equal(most, classes.max(axis=0))
    assert open_("noise_classes_variance.zarr").data.compute().any()
    assert run(["verify", "noise_classes.zarr", "-q"]) == 0
    assert "verdict      equal" in capsys.readouterr().out


def test_a_settings_file_may_name_octopis_model_and_preset(here: Path, network) -> None:
    np.save("noise.npy", noise())
    Path("settings.yaml").write_text(
        "input: noise.npy\nvoxel_size_angstrom: 10\noctopi_config: model_config.yaml\n"
        "octopi_weights: best_model.pth\noverlap: 0.25\n"
    )
    assert run(["segment", "semantic", "--config", "settings.yaml", "-q", "--ntta", "1"]) == 0
    found = open_("noise_classes.zarr").data.compute()
    np.testing.assert_array_equal(found, octopis(network, noise(), [IDENTITY], overlap=0.25))
    record = json.loads(Path("noise_classes.zarr.json").read_text())
    assert record["settings"]["window"] == "constant"
