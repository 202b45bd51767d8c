"""CryoSiam's yaml: what is read, what is refused, what is said to be ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from volproc.config.cryosiam import NEEDED, Command, CryosiamConfig, read_cryosiam
from volproc.core.errors import ConfigError

WHOLE: dict[str, Any] = {
    "data_folder": "./denoised",
    "log_dir": ".",
    "prediction_folder": "./particle",
    "trained_model": "./model.ckpt",
    "file_extension": ".mrc",
    "test_files": None,
    "mask_folder": "./lamella",
    "save_internal_files": False,
    "parameters": {
        "gpu_devices": [0, 1],
        "data": {"patch_size": [128, 128, 128], "min": 0, "max": 1, "mean": 0, "std": 1},
        "network": {
            "in_channels": 1,
            "spatial_dims": 3,
            "out_channels": 4,
            "threshold": 0.7,
            "min_voxels": [20, 30, 40],
            "postprocessing": False,
            "3d_postprocessing": False,
            "postprocessing_sizes": [-1, 150, -1, -1],
        },
    },
    "hyper_parameters": {"batch_size": 2},
}


def write(folder: Path, **changes: Any) -> Path:
    """A file with keys, as ``parameters__network__threshold``, replaced, or left out by None."""
    values = yaml.safe_load(yaml.safe_dump(WHOLE))
    for name, value in changes.items():
        *sections, last = name.split("__")
        place = values
        for section in sections:
            place = place[section]
        if value is None:
            del place[last]
        else:
            place[last] = value
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_a_file_is_read_as_it_is(tmp_path: Path) -> None:
    settings, notes = read_cryosiam(write(tmp_path), "semantic-predict")
    assert settings.parameters.gpu_devices == (0, 1)
    assert settings.parameters.network.threshold == 0.7
    assert settings.least_voxels == (20, 30, 40)
    assert settings.files is None
    assert [note.split()[0] for note in notes] == [
        "log_dir",
        "parameters.data.patch_size",
        "parameters.network.in_channels",
        "parameters.network.spatial_dims",
    ]
    one = write(tmp_path, test_files="a.mrc", parameters__network__min_voxels=None)
    settings, notes = read_cryosiam(one, "semantic-to-centers")
    assert settings.files == ("a.mrc",)
    assert settings.least_voxels == (100, 100, 100)
    assert len(notes) == 1


@pytest.mark.parametrize(
    ("command", "key"), [(command, key) for command, keys in NEEDED.items() for key in keys]
)
def test_a_missing_key_is_refused(tmp_path: Path, command: Command, key: str) -> None:
    path = write(tmp_path, **{key.replace(".", "__"): None})
    with pytest.raises(ConfigError, match=f"{key} missing in .*config.yaml: {command} needs it"):
        read_cryosiam(path, command)


def test_test_files_may_be_null_but_not_missing(tmp_path: Path) -> None:
    path = write(tmp_path, test_files=None)
    with pytest.raises(ConfigError, match="test_files missing"):
        read_cryosiam(path, "semantic-predict")
    read_cryosiam(path, "semantic-predict", has_filename=True)


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("parameters__network__out_chanels", "parameters.network.out_channels"),
        ("parameters__data__treshold", "parameters.network.threshold"),
        ("batch_size", "hyper_parameters.batch_size"),
        ("prediction_foder", "prediction_folder"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_right_one(
    tmp_path: Path, wrong: str, right: str
) -> None:
    path = write(tmp_path, **{right.replace(".", "__"): None}, **{wrong: 4})
    with pytest.raises(ConfigError, match=f'"{wrong.replace("__", ".")}".*did you mean "{right}"'):
        read_cryosiam(path, "semantic-to-centers")


def test_a_key_of_another_command_is_named_and_ignored(tmp_path: Path) -> None:
    _, notes = read_cryosiam(write(tmp_path, scale_prediction=True), "semantic-to-centers")
    assert notes[0].startswith("scale_prediction is no key")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters__network__threshold": "high"}, "parameters.network.threshold in"),
        ({"parameters__network__threshold": 1.5}, "less than or equal to 1, got 1.5"),
        ({"parameters__network__min_voxels": [20, 30]}, "2 numbers for 3 classes"),
        ({"parameters__network__min_voxels": -5}, "min_voxels"),
        ({"parameters__network__3d_postprocessing": "maybe"}, "3d_postprocessing"),
        ({"parameters__data__std": 0}, "parameters.data.std"),
        ({"prediction_folder": 7}, "prediction_folder"),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_cryosiam(write(tmp_path, **changes), "semantic-to-centers")


def test_values_that_do_not_fit_together_are_refused_or_named(tmp_path: Path) -> None:
    sizes = {"parameters__network__postprocessing_sizes": [-1, 150]}
    with pytest.raises(ConfigError, match="2 numbers for 4 classes with the background"):
        read_cryosiam(write(tmp_path, **sizes), "semantic-postprocessing")
    with pytest.raises(ConfigError, match=r"min and max in .* are 2 and 1"):
        read_cryosiam(write(tmp_path, parameters__data__min=2), "semantic-predict")
    changes = {
        "parameters__network__min_voxels": [1, 2, 3, 4],
        "parameters__network__postprocessing_sizes": [-1, 1, 1, 1, 1],
        "parameters__network__postprocessing": True,
    }
    path = write(tmp_path, **changes)
    words = {
        "semantic-to-centers": "min_voxels has 4 numbers for 3",
        "semantic-postprocessing": "postprocessing_sizes has 5 numbers for 4",
        "semantic-predict": "postprocessing is for a model of one channel",
    }
    for command in NEEDED:
        assert words[command] in read_cryosiam(path, command)[1][-1]
    path = write(tmp_path, parameters__network__3d_postprocessing=True)
    assert "3d_postprocessing does nothing" in read_cryosiam(path, "semantic-predict")[1][-1]


@pytest.mark.parametrize("name", ["particles", "lamella"])
def test_the_configurations_that_come_with_volproc_are_whole(name: str) -> None:
    place = Path(__file__).parents[2] / "configs" / f"cryosiam-{name}.yaml"
    settings, notes = read_cryosiam(place, "semantic-predict")
    assert not any("contradict" in note or "no key" in note for note in notes)
    read_cryosiam(place, "semantic-to-centers")
    if name == "particles":
        sizes = read_cryosiam(place, "semantic-postprocessing")[0].parameters.network
        assert len(sizes.postprocessing_sizes or ()) == settings.num_classes + 1
        assert settings.least_voxels == (100, 30)
        known = set(CryosiamConfig.model_fields)
        assert set(yaml.safe_load(place.read_text())) == known


@pytest.mark.parametrize(
    ("given", "read"), [("[1, 0]", (1, 0)), ("0", 0), ("[]", ()), ("[cpu]", "cpu"), ("CPU", "CPU")]
)
def test_devices_are_numbers_indices_or_words(tmp_path: Path, given: str, read: object) -> None:
    path = tmp_path / "a.yaml"
    text = f"parameters: {{gpu_devices: {given}, network: {{out_channels: 2}}}}\n"
    path.write_text(f"prediction_folder: a\n{text}")
    found, _ = read_cryosiam(path, "semantic-to-centers")
    assert found.parameters.gpu_devices == read


@pytest.mark.parametrize("given", ["-1", "[0, -1]", "[0, cpu]", "0.5"])
def test_devices_that_are_none_are_refused(tmp_path: Path, given: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"parameters: {{gpu_devices: {given}}}\n")
    with pytest.raises(ConfigError, match=r"gpu_devices.*a list of their indices"):
        read_cryosiam(path, "semantic-predict")
