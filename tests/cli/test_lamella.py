"""``volproc lamella`` from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volproc.cli.main import run
from volproc.io.open import open_


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    classes = np.zeros((12, 14, 16), np.uint8)
    classes[3:9], classes[:, :4] = 2, 1
    np.save("classes.npy", classes)
    return tmp_path


def test_a_class_becomes_a_mask_and_its_size_is_said(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["lamella", "classes.npy", "-vs", "10", "-o", "mask.h5", "--smooth", "1", "-q"]
    assert run(words) == 1
    assert "holds 2 beside 0 and 1" in capsys.readouterr().err
    assert sorted(p.name for p in here.iterdir()) == ["classes.npy"]
    assert run([*words, "--class", "2", "--hull", "plane", "--min-size", "100"]) == 0
    out = capsys.readouterr().out.splitlines()
    due = np.zeros((12, 14, 16), np.uint8)
    due[3:9, 4:] = 1
    assert out[0].split() == ["mask", "mask.h5:/labels"]
    assert out[1].split() == ["lamella", *f"{due.sum()} voxels, 35.7 % of the volume".split()]
    np.testing.assert_array_equal(open_("mask.h5:/labels").data, due)
    assert run([*words, "--class", "2", "--hull", "plane", "--min-size", "100", "--resume"]) == 0
    assert "finished before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--class", "7"], 1, "classes.npy has no lamella"),
        (["--class", "2", "--min-size", "1e6"], 1, "--min-size"),
        (["--class", "2", "--hull", "volume"], 1, "CryoSiam's alone"),
        (["--class", "2", "--threshold", "0.5"], 1, "exclude each other"),
        (["--class", "0"], 2, "--class"),
        (["--smooth", "-1"], 2, "--smooth"),
        (["--resume", "--overwrite"], 2, "give one of them"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_written(
    here: Path, words: list[str], status: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["lamella", "classes.npy", "-vs", "10", "-o", "mask.zarr", "-q", *words]) == status
    assert text in capsys.readouterr().err
    assert sorted(p.name for p in here.iterdir()) == ["classes.npy"]
