"""Config files of training: unknown keys are named, units are in the keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from volproc.config.loading import load
from volproc.config.training import TrainConfig
from volproc.core.errors import ConfigError

GOOD = """
classes: [background, rod]
radii_angstrom: {rod: 40}
voxel_size_angstrom: 8
train:
  - kind: volume
    image: image.npy
    classes: mask.npy
    values: {255: rod}
    voxel_size_angstrom: 8
  - kind: copick
    config: copick.json
    tomogram: wbp
    voxel_size_angstrom: 10
    runs: [TS_1]
    picks: {rod: rod:me/1}
validate_on:
  - {kind: phantoms, shape: [5, 7, 11], noise: [0.1, 0.2]}
augmentation: {rotate90: false}
"""


def write(folder: Path, text: str) -> Path:
    (folder / "train.yaml").write_text(text)
    return folder / "train.yaml"


def test_units_leave_the_keys_at_the_door(tmp_path: Path) -> None:
    values = load(write(tmp_path, GOOD), TrainConfig).to_training()
    assert values["voxel_size"] == 8
    assert values["radii"] == {"rod": 40}
    assert values["train"][0]["values"] == {255: "rod"}
    assert [d["voxel_size"] for d in values["train"]] == [8, 10]
    assert values["validate"][0]["shape"] == (5, 7, 11)
    assert values["augmentation"]["rotate90"] is False
    assert not any("angstrom" in key for key in values)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rat: 0.1", r'"learning_rat" in .*, did you mean "learning_rate"'),
        ("voxel_size: 8", r'unknown key "voxel_size" .*did you mean "voxel_size_angstrom"'),
        ("patch: [48, 48]", "patch"),
        ("epochs: 0", "epochs"),
        ("normalization: z-score", "normalization"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, f"{GOOD}\n{line}\n"), TrainConfig)


def test_an_unknown_key_of_a_data_set_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("    image: image.npy", "    image: image.npy\n    valus: {1: rod}")
    with pytest.raises(ConfigError, match="valus"):
        load(write(tmp_path, text), TrainConfig)


def test_an_unknown_kind_of_data_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind"):
        load(write(tmp_path, GOOD.replace("kind: copick", "kind: copik")), TrainConfig)
