"""Every command and example of the README, the configs and the examples runs."""

import json
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import torch

import volproc
from volproc.cli.main import run
from volproc.models.loading import load_model
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the README needs: a tomogram, its particles, and the configs."""
    phantom = Phantom(PhantomSpec((48, 56, 64), seed=4_000_000, noise=0.5))
    volume = volproc.from_source(phantom, voxel_size=phantom.voxel_size)
    volproc.save(volume, tmp_path / "tomogram.mrc")
    volproc.save(phantom.points(), tmp_path / "truth.csv")
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_set_up_takes_two_commands_that_ci_runs() -> None:
    demo, test = blocks("bash")
    assert "volproc demo --output demo" in demo
    assert "-m pytest" in test
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_commands_of_the_readme_run_in_their_order(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (console,) = blocks("console")
    commands = [line.removeprefix("$ ") for line in console.splitlines()]
    assert len(commands) >= 7
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "volproc"
        assert run(arguments) == 0, f"{command}\n{capsys.readouterr().err}"
    for made in ("tomogram.zarr", "classes.zarr", "picks.star", "quick/best.pt", "quick.mrc"):
        assert (folder / made).exists(), made
    assert volproc.open("quick.mrc").shape == (48, 56, 64)


def test_the_python_of_the_readme_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    for code in blocks("python"):  # the second goes on where the first ends
        exec(compile(code, "README.md", "exec"), names)
    assert names["large"].max() <= names["num_large"]
    assert len(names["table"]) == len(set(names["large"].ravel())) - 1
    assert volproc.open("ribosomes.zarr").shape == (48, 56, 64)
    assert set(volproc.read_points("ribosomes.star").class_names) <= {"ribosome"}
    assert "num_voxels" in capsys.readouterr().out


def test_the_example_counts_particles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["count_particles.py", "--output", str(tmp_path / "o")])
    runpy.run_path(str(ROOT / "examples" / "count_particles.py"), run_name="__main__")
    assert "ribosome: " in capsys.readouterr().out
    assert (tmp_path / "o" / "classes.zarr").is_dir()


def test_the_network_for_nuclei_can_be_trained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cellpose")
    words = ["train_demo_cells.py", "--output", str(tmp_path / "o"), "--quick"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(ROOT / "examples" / "train_demo_cells.py"), run_name="__main__")
    figures = json.loads((tmp_path / "o" / "figures.json").read_text())
    assert figures["num_slices"] == 4


def test_the_example_goes_from_picks_to_evaluation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["picks_to_evaluation.py", "--output", str(tmp_path / "o"), "--quick"]
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(ROOT / "examples" / "picks_to_evaluation.py"), run_name="__main__")
    assert "volproc localize" in capsys.readouterr().out
    assert (tmp_path / "o" / "model" / "best_model.pth").is_file()
    assert len(list((tmp_path / "o").glob("project/*/*/Segmentations/*predict*"))) == 1


def test_the_example_goes_from_a_denoised_tomogram_to_particles_with_cryosiams_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "o"
    monkeypatch.setattr(sys, "argv", ["cryosiam.py", "--output", str(place), "--steps", "8"])
    runpy.run_path(str(ROOT / "examples" / "cryosiam_particles.py"), run_name="__main__")
    assert f"particles in {place / 'particles.star'}" in capsys.readouterr().out
    assert "rlnTomoName" in (place / "particles.star").read_text()
    assert (place / "predictions" / "labels_2_particles.star").is_file()


def test_the_description_of_a_model_of_others_is_one(tmp_path: Path) -> None:
    (text,) = [block for block in blocks("json") if '"patch"' in block]
    torch.save(torch.nn.Conv3d(1, 2, 1), tmp_path / "net.pt")
    (tmp_path / "net.pt.json").write_text(text)
    spec = volproc.read_model(tmp_path / "net.pt", trust_model=True)
    assert spec.patch == (64, 96, 96)
    assert spec.classes == ("background", "ribosome")
    assert load_model(spec, "cpu").spec.params == {"multiple": [16, 16, 16]}
