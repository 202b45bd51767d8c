"""Models written as Octopi writes them: whole, loadable, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models import octopi_saving
from volproc.models.loading import load_model, read_spec
from volproc.models.networks import build
from volproc.models.octopi_saving import save_octopi_model

PARAMS: dict[str, Any] = {"channels": [4, 8, 8], "strides": [2, 1]}
SPEC = ModelSpec(
    "octopi-unet", "", (16, 16, 16), ("background", "ribosome", "β-gal"), PARAMS, voxel_size=10.0
)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(build("octopi-unet", num_classes=3, **PARAMS).state_dict())


def test_the_files_are_laid_out_as_octopis(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    config, weights = save_octopi_model(
        tmp_path / "new" / "m", SPEC, state,
        optimizer={"lr": 0.001}, dataloader={"trainRunIDs": ["TS_1", "TS_2"]},
    )  # fmt: skip
    assert config.read_text(encoding="utf-8") == (
        "model:\n  architecture: Unet\n  num_classes: 3\n  channels: [4, 8, 8]\n"
        "  strides: [2, 1]\n  num_res_units: 1\n  dropout: 0.0\n  dim_in: 16\n"
        "labels:\n  ribosome: 1\n  β-gal: 2\n"
        "optimizer:\n  lr: 0.001\n"
        "dataloader:\n  voxel_size: 10.0\n  trainRunIDs: [TS_1, TS_2]\n"
    )
    content = torch.load(weights, weights_only=True)
    assert type(content) is dict
    assert all(torch.equal(content[name], value) for name, value in state.items())
    assert sorted(p.name for p in weights.parent.iterdir()) == [weights.name, config.name]


@pytest.mark.parametrize(
    ("architecture", "params"),
    [
        ("octopi-dynunet", {
            "kernel_size": [3, 3, 3], "strides": [1, 2, 1], "upsample_kernel_size": [2, 1],
            "filters": [4, 8, 8], "deep_supervision": True,
        }),
        ("octopi-segresnet", {"init_filters": 4, "blocks_down": [1, 1]}),
        ("octopi-swinunetr", {"feature_size": 12, "depths": [1, 1, 1, 1]}),
        ("octopi-attentionunet", {"channels": [4, 8], "strides": [2]}),
        ("octopi-mednext", {"init_filters": 4, "blocks_down": [1, 1], "blocks_up": [1, 1]}),
    ],
)  # fmt: skip
def test_what_was_saved_is_read_and_saved_the_same(
    tmp_path: Path, architecture: str, params: dict[str, Any]
) -> None:
    spec = ModelSpec(architecture, "", (32, 32, 32), ("background", "a"), params, voxel_size=7.5)
    network = build(architecture, **params).eval()
    save_octopi_model(tmp_path / "first", spec, network.state_dict())
    found = read_spec(tmp_path / "first")
    for same in ("architecture", "patch", "classes", "voxel_size"):
        assert getattr(found, same) == getattr(spec, same)
    loaded = load_model(found, "cpu").network
    assert all(torch.equal(v, loaded.state_dict()[k]) for k, v in network.state_dict().items())
    config, _ = save_octopi_model(tmp_path / "second", found, loaded.state_dict())
    assert config.read_bytes() == (tmp_path / "first" / config.name).read_bytes()
    assert read_spec(tmp_path / "second").params == found.params


def test_volprocs_own_unet_becomes_octopis(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build("monai-unet").eval()  # with the defaults of that network
    spec = ModelSpec("monai-unet", "", (8, 8, 8), ("background", "a"), {"norm": "INSTANCE"})
    save_octopi_model(tmp_path, spec, network.state_dict())
    found = load_model(read_spec(tmp_path), "cpu")
    assert found.spec.params["channels"] == [16, 32, 64]
    batch = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(found(batch), network(batch))
    with pytest.raises(ModelError, match=r"Octopi has no monai-unet with .*BATCH"):
        save_octopi_model(tmp_path, replace(spec, params={"norm": "BATCH"}), network.state_dict())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"architecture": "unet3d"}, "Octopi has no unet3d"),
        ({"channels": 2}, "only input channels 1, the model has 2"),
        ({"normalization": "none"}, "only normalization zscore, the model has none"),
        ({"patch": (16, 16, 32)}, "only sides of the patch"),
        ({"patch": (15, 15, 15)}, "multiple of 2"),
        ({"classes": ("background", "a", "a")}, "labels of Octopi are found by name"),
        ({"classes": ("background", "a")}, "is missing in the weights or does not belong"),
        ({"params": {"channels": [4, 8], "strides": [2]}}, "does not belong to octopi-unet"),
    ],
)
def test_what_octopi_could_not_run_is_refused_and_nothing_written(
    tmp_path: Path, state: dict[str, torch.Tensor], changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ModelError, match=text):
        save_octopi_model(tmp_path, replace(SPEC, **changes), state)
    with pytest.raises(ModelError, match="YAML has no words for"):
        save_octopi_model(tmp_path, SPEC, state, optimizer={"lr": torch.zeros(1)})
    assert not list(tmp_path.iterdir())


def test_a_killed_run_leaves_no_pair_that_does_not_belong_together(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    save_octopi_model(tmp_path, SPEC, state)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*arguments: object) -> str:
        msg = "disk full"
        raise OSError(msg)

    # The same training goes on: its pair stays usable.
    monkeypatch.setattr(octopi_saving, "save_whole", fail)
    with pytest.raises(OSError, match="disk full"):
        save_octopi_model(tmp_path, SPEC, state)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old
    # Another model: the old words for the new weights would be wrong.
    monkeypatch.undo()
    monkeypatch.setattr(octopi_saving, "write_whole", fail)
    with pytest.raises(OSError, match="disk full"):
        save_octopi_model(tmp_path, replace(SPEC, classes=("background", "x", "y")), state)
    assert [path.name for path in tmp_path.iterdir()] == ["best_model.pth"]


def test_each_value_is_written_out(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    runs = ["TS_1"]
    config, _ = save_octopi_model(
        tmp_path, SPEC, state, dataloader={"trainRunIDs": runs, "valRunIDs": runs}
    )
    assert "&" not in config.read_text(encoding="utf-8")  # references are not for people
    loader = yaml.safe_load(config.read_text(encoding="utf-8"))["dataloader"]
    assert loader == {"voxel_size": 10.0, "trainRunIDs": runs, "valRunIDs": runs}
