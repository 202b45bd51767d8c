"""Files that end in .ckpt and are no models of CryoSiam, or not such that give classes."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from volproc.core.errors import ModelError
from volproc.models.cryosiam_checkpoint import open_checkpoint
from volproc.models.loading import read_spec

WEIGHT = torch.ones(2, 1, 3, 3, 3)
STATE = {"_model_backbone.encoder.conv1.weight": WEIGHT, "_model.semantic_head.0.weight": WEIGHT}
SETTINGS: dict[str, Any] = {"config": {"a": 1}, "backbone_config": {"b": 2}}


class Surprise:
    """An object that a checkpoint may hold, and that is never made."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list, and no checkpoint"),
        ({"state_dict": STATE}, "holds a table with keys state_dict, and no checkpoint"),
        ({"state_dict": {}, "hyper_parameters": SETTINGS}, "no checkpoint of CryoSiam, which has"),
        ({"state_dict": STATE, "hyper_parameters": {"lr": 1}}, "lacks hyper_parameters.config"),
        (
            {"state_dict": STATE, "hyper_parameters": {"config": {}}},
            "lacks hyper_parameters.backbone_config",
        ),
        (
            {"state_dict": {"net.0.weight": WEIGHT}, "hyper_parameters": SETTINGS},
            "another program: no weight is called _model.semantic_head, the first is net.0.weight",
        ),
        (
            {"state_dict": {"_model.encoder.conv1.weight": WEIGHT}, "hyper_parameters": SETTINGS},
            "CryoSiam's pretraining: it has a backbone and no head",
        ),
        (
            {
                "state_dict": {
                    "_model.foreground_head.0.weight": WEIGHT,
                    "_model.distance_head.0.weight": WEIGHT,
                },
                "hyper_parameters": SETTINGS,
            },
            "model of instances",
        ),
        ({"state_dict": {"a": 1}, "hyper_parameters": SETTINGS}, "not what a file of"),
        (
            {
                "state_dict": STATE | {"big": torch.ones(1).expand(10**12)},
                "hyper_parameters": SETTINGS,
            },
            "not what a file of",
        ),
        ({"state_dict": STATE, "hyper_parameters": Surprise()}, "would run whatever its author"),
    ],
)
def test_what_gives_no_classes_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    with pytest.raises(ModelError, match=message):
        read_spec(path)


def test_a_damaged_file_is_refused_at_any_length(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save({"state_dict": STATE, "hyper_parameters": SETTINGS}, path)
    whole = path.read_bytes()
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
            read_spec(path)


def test_prefixes_are_taken_off_and_other_weights_dropped(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    state = OrderedDict(STATE | {"_loss.weight": WEIGHT, "_model.norm.weight": WEIGHT})
    torch.save({"state_dict": state, "hyper_parameters": SETTINGS}, path)
    opened = open_checkpoint(path)
    assert set(opened.state) == {"encoder.conv1.weight", "semantic_head.0.weight"}
    assert (opened.kind, opened.task, opened.backbone) == ("semantic", {"a": 1}, {"b": 2})
