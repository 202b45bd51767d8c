"""Configurations of Octopi: every generation's, and what a damaged one says."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from volproc.core.errors import MissingFileError, ModelError
from volproc.models.octopi_config import name_channels, parse_labels, read_config

WHOLE: dict[str, Any] = {
    "model": {
        "architecture": "Unet",
        "num_classes": 4,
        "channels": [8, 16, 16],
        "strides": [2, 1],
        "num_res_units": 1,
        "dropout": 0.1,
        "dim_in": 48,
    },
    "labels": {"ribosome": 3, "apo-ferritin": 1},
    "optimizer": {"lr": 0.001, "best_trial": None},
    "dataloader": {"voxel_size": 10, "trainRunIDs": ["TS_1"], "config": "c.json"},
}


def write(folder: Path, content: object) -> Path:
    path = folder / "model_config.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def changed(**blocks: Any) -> dict[str, Any]:
    """The whole configuration with keys of its blocks set, or taken out where None."""
    content = deepcopy(WHOLE)
    for name, block in blocks.items():
        if not isinstance(block, dict) or name == "labels":
            content[name] = block
            continue
        for key, value in block.items():
            if value is None:
                del content[name][key]
            else:
                content[name][key] = value
    return content


def test_a_configuration_is_read_whole(tmp_path: Path) -> None:
    found = read_config(write(tmp_path, WHOLE))
    assert found.architecture == "octopi-unet"
    assert found.params == {
        "channels": [8, 16, 16], "strides": [2, 1], "num_res_units": 1, "dropout": 0.1
    }  # fmt: skip
    assert found.patch == (48, 48, 48)
    assert found.classes == ("background", "apo-ferritin", "class-2", "ribosome")
    assert found.voxel_size == 10.0


def test_missing_keys_have_octopis_values(tmp_path: Path) -> None:
    unet = changed(model={"num_res_units": None, "dropout": None}, dataloader=None, optimizer=None)
    found = read_config(write(tmp_path, unet))
    assert (found.params["num_res_units"], found.params["dropout"]) == (1, 0.0)
    assert found.voxel_size is None
    block = {"architecture": "SegResNet", "num_classes": 2, "init_filters": 8, "dim_in": 32}
    segresnet = {"model": block | {"preprocess": None, "note": 1}, "labels": {"a": 1}}
    assert read_config(write(tmp_path, segresnet)).params == {
        "init_filters": 8, "blocks_down": [1, 2, 2, 4], "blocks_up": None, "dsdepth": 1,
        "act": "prelu", "norm": "instance", "upsample_mode": "deconv", "resolution": None,
    }  # fmt: skip


def test_labels_of_the_command_line_count_more(tmp_path: Path) -> None:
    path = write(tmp_path, changed(labels=None))
    with pytest.raises(ModelError, match=r"no labels.*when a training ends.*--labels ribosome=1"):
        read_config(path)
    labels = parse_labels("membrane=2,ribosome=1, beta-gal = 3")
    found = read_config(path, labels).classes
    assert found == ("background", "ribosome", "membrane", "beta-gal")
    assert read_config(write(tmp_path, WHOLE), {"only": 1}).classes[1] == "only"


@pytest.mark.parametrize(
    "text", ["", "ribosome", "=1", "ribosome=x", "ribosome=1.5", "ribosome=-1", "a=1,a=2", "a=1,"]
)
def test_labels_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ModelError, match=r"a channel each.*Write ribosome=1,membrane=2"):
        parse_labels(text)


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ({}, "no labels"),
        ([1, 2], "a whole number to each name"),
        ({"a": "1"}, "a whole number to each name"),
        ({"a": 1.0}, "a whole number to each name"),
        ({"a": True}, "a whole number to each name"),
        ({1: "a"}, "a whole number to each name"),
        ({"": 1}, "a whole number to each name"),
        ({"a": 1, "b": 4}, r"labels are 1 to 3, got b: 4.*not those of the copick project"),
        ({"a": 0}, "got a: 0"),
        ({"a": -1}, "got a: -1"),
        ({"a": 2, "b": 2}, "gives the label 2 to a and b"),
        ({"background": 1}, "gives the label 1 to background"),
    ],
)
def test_labels_that_fit_no_channel_are_named(labels: object, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        name_channels(labels, 4, Path("model_config.yaml"))


def test_a_made_up_name_is_taken_by_nobody_else() -> None:
    found = name_channels({"background": 0, "class-2": 1}, 3, Path("c.yaml"))
    assert found == ("background", "class-2", "class-2'")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (changed(model=None), r"the model block is missing.*AttentionUnet.*dim_in: 96"),
        (changed(model={"architecture": None}), "the architecture None"),
        (changed(model={"architecture": "UNet"}), 'did you mean "Unet"'),
        (changed(model={"architecture": "UnetPlusPlus"}), "the architecture 'UnetPlusPlus'"),
        (changed(model={"architecture": ["Unet"]}), "asks for the architecture"),
        (changed(model={"channels": None, "strides": None}), "Unet without channels, strides"),
        (changed(model={"num_classes": None}), "how many classes.*num_classes is missing"),
        (changed(model={"num_classes": 1}), "counts the background too"),
        (changed(model={"num_classes": 10**9}), "from 1 to 4096"),
        (changed(model={"num_classes": "4"}), "num_classes is '4'"),
        (changed(model={"dim_in": None}), "the edge of its window.*dim_in is missing"),
        (changed(model={"dim_in": 0}), "dim_in is 0"),
        (changed(model={"dim_in": 9.5}), r"dim_in is 9\.5"),
        (changed(model={"channels": 8}), "channels in .* one whole number a level, got 8"),
        (changed(model={"channels": []}), "one whole number a level"),
        (changed(model={"strides": [0, 1]}), "strides in .* one whole number a level"),
        (changed(model={"strides": [2, "x"]}), "one whole number a level"),
        (changed(model={"channels": [10**12, 8, 8]}), "describes no network"),
        (changed(model={"channels": [8] * 1000}), "describes no network"),
        (changed(model={"dropout": float("nan")}), "dropout in .* holds nan"),
        (changed(model={"num_res_units": -1}), "holds -1"),
        ("model: [", "is not a model configuration of Octopi"),
        ("", "holds a NoneType"),
        ("- 1", "holds a list"),
        ("model: !!python/object/apply:os.system [true]", "is not a model configuration"),
        ("model: !!python/tuple [1]", "is not a model configuration"),
        ("[" * 600 + "]" * 600, "is not a model configuration"),
        ("#" * 2**21, "it has 2097152 bytes"),
        ("\0", "is not a model configuration"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_what_describes_no_network_is_named(tmp_path: Path, content: object, text: str) -> None:
    with pytest.raises(ModelError, match=text):
        read_config(write(tmp_path, content))


@pytest.mark.parametrize("key", ["architecture", "num_classes", "dim_in", "channels", "dropout"])
def test_a_value_that_unfolds_without_end_is_named_in_short(tmp_path: Path, key: str) -> None:
    bomb = "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    block = "architecture: Unet, num_classes: 4, channels: [4, 8], strides: [2], dim_in: 8"
    text = f"{bomb}model: {{{block}, {key}: *x11}}\nlabels: {{a: 1}}\n"
    with pytest.raises(ModelError, match=key) as found:
        read_config(write(tmp_path, text))
    assert len(str(found.value)) < 1000
    with pytest.raises(ModelError, match="a whole number to each name"):
        read_config(write(tmp_path, f"{bomb}model: {{{block}}}\nlabels: {{a: *x11}}\n"))


def test_a_preparing_function_cannot_be_had_from_a_file(tmp_path: Path) -> None:
    block = {"architecture": "SegResNet", "num_classes": 2, "init_filters": 8, "dim_in": 32}
    path = write(tmp_path, {"model": block | {"preprocess": "normalize"}, "labels": {"a": 1}})
    with pytest.raises(ModelError, match="preprocess"):
        read_config(path)


def test_a_window_with_three_sides_is_taken(tmp_path: Path) -> None:
    path = write(tmp_path, changed(model={"dim_in": [32, 48, 64]}))
    assert read_config(path).patch == (32, 48, 64)


def test_a_configuration_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no model configuration"):
        read_config(tmp_path / "model_config.yaml")
    with pytest.raises(ModelError, match="is not a model configuration"):
        read_config(tmp_path)
