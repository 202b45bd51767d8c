"""Models of Octopi: both files, read safely, and only if they belong together."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from volproc.core.errors import MissingFileError, ModelError
from volproc.core.model import ModelSpec
from volproc.models.loading import load_model, read_spec, save_model
from volproc.models.memory import activation_bytes, weight_bytes
from volproc.models.networks import build
from volproc.models.octopi import read_octopi_spec, read_octopi_weights

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "octopi"

MODEL: dict[str, Any] = {"architecture": "Unet", "num_classes": 3, "dim_in": 16}
PARAMS: dict[str, Any] = {
    "channels": [4, 8, 8], "strides": [2, 1], "num_res_units": 1, "dropout": 0.0
}  # fmt: skip
LABELS = {"ribosome": 1, "membrane": 2}


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(build("octopi-unet", num_classes=3, **PARAMS).state_dict())


@pytest.fixture
def folder(tmp_path: Path, state: dict[str, torch.Tensor]) -> Path:
    """A model as a training of Octopi leaves it."""
    content = {"model": MODEL | PARAMS, "labels": LABELS, "dataloader": {"voxel_size": 10.0}}
    (tmp_path / "model_config.yaml").write_text(yaml.safe_dump(content))
    torch.save(state, tmp_path / "best_model.pth")
    return tmp_path


def read(folder: Path, **given: Any) -> ModelSpec:
    return read_octopi_spec(folder / "model_config.yaml", folder / "best_model.pth", **given)


def test_a_model_is_read_from_its_two_files(folder: Path) -> None:
    spec = read(folder)
    assert spec.architecture == "octopi-unet"
    assert (spec.patch, spec.params) == ((16, 16, 16), PARAMS)
    assert spec.classes == ("background", "ribosome", "membrane")
    assert (spec.channels, spec.normalization, spec.voxel_size) == (1, "zscore", 10.0)
    assert spec.weights == str(folder / "best_model.pth")
    assert spec.config == str(folder / "model_config.yaml")
    assert len(spec.sha256) == 64
    assert read(folder, labels={"other": 2}).classes == ("background", "class-1", "other")


def test_one_path_is_enough_where_the_other_file_is_beside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read(folder)
    monkeypatch.chdir(folder.parent)
    for address in (folder, folder.name, *sorted(folder.iterdir())):
        assert read_spec(address) == spec
        assert read_spec(address, trust_model=True) == spec
    assert read_spec(folder, labels={"other": 2}).classes[2] == "other"
    (folder / "best_model.pth").rename(folder / "weights.pth")  # as the hub has them
    (folder / "model_config.yaml").rename(folder / "config.yaml")
    for address in (folder, folder / "weights.pth", folder / "config.yaml"):
        assert read_spec(address).sha256 == spec.sha256
    (folder / "config.yaml").rename(folder / "model_config.yaml")
    (folder / "weights.pth").rename(folder / "epoch7.pth")
    (folder / "model_config.yaml").rename(folder / "first.yaml")
    assert read_spec(folder).sha256 == spec.sha256
    (folder / "epoch8.pth").write_bytes(b"")
    with pytest.raises(ModelError, match=r"several files \*\.pth: epoch7\.pth, epoch8\.pth"):
        read_spec(folder / "first.yaml")
    (folder / "first.yaml").unlink()
    with pytest.raises(MissingFileError, match=r"no model_config\.yaml"):
        read_spec(folder)


def test_a_model_of_volproc_beside_such_files_is_read_as_what_it_is(folder: Path) -> None:
    own = ModelSpec("unet3d", "", (4, 4, 4), ("background", "a"), {"widths": [2, 3]})
    state = build("unet3d", widths=[2, 3]).state_dict()
    for name in ("best.pt", "own.pth"):
        save_model(folder / name, own, state)
        assert read_spec(folder / name).architecture == "unet3d"
        with pytest.raises(ModelError, match="names its classes itself"):
            read_spec(folder / name, labels={"a": 1})


def test_a_loaded_model_gives_monais_logits(folder: Path, state: dict[str, torch.Tensor]) -> None:
    from monai.networks.nets import UNet

    network = UNet(3, 1, 3, [4, 8, 8], [2, 1], num_res_units=1).eval()
    network.load_state_dict(state)
    spec = pickle.loads(pickle.dumps(read(folder)))  # as a worker gets it
    batch = torch.randn(2, 1, 16, 16, 16)
    with torch.no_grad():
        assert torch.equal(load_model(spec, "cpu")(batch), network(batch))
    assert weight_bytes(spec) == 4 * sum(value.numel() for value in state.values())
    assert activation_bytes(spec) > weight_bytes(spec)


def test_the_fingerprint_tells_weights_and_settings_apart_and_no_paths(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, state: dict[str, torch.Tensor]
) -> None:
    spec = read(folder)
    elsewhere = tmp_path_factory.mktemp("copy") / "m"
    elsewhere.mkdir()
    for path in folder.iterdir():
        (elsewhere / path.name).write_bytes(path.read_bytes())
    assert read(elsewhere).fingerprint() == spec.fingerprint()
    assert read(elsewhere, labels={"x": 1}).fingerprint() != spec.fingerprint()
    state["model.2.0.conv.bias"] += 1
    torch.save(state, elsewhere / "best_model.pth")
    other = read(elsewhere)
    assert other.fingerprint() != spec.fingerprint()
    with pytest.raises(ModelError, match="is not the model file that was described"):
        load_model(replace(other, weights=spec.weights), "cpu")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {f"module.{k}": v for k, v in state.items()},
        lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
        lambda state: {f"_orig_mod.module.{k}": v for k, v in state.items()},
        lambda state: {k.replace("model.", "model._orig_mod.", 1): v for k, v in state.items()},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"model": state, "optimizer": {"state": {0: {"step": 3}}}, "epoch": 7},
        lambda state: {"model": {"state_dict": state}, "ema": None},
        lambda state: {k: v.half().float() for k, v in state.items()},
    ],
)
def test_wrapped_weights_are_found(
    folder: Path, state: dict[str, torch.Tensor], wrap: Callable[[Any], Any]
) -> None:
    torch.save(wrap(state), folder / "best_model.pth")
    assert read(folder).architecture == "octopi-unet"
    found = read_octopi_weights(folder / "best_model.pth")
    assert set(found) == set(state)
    assert all(torch.allclose(found[name], state[name], atol=1e-3) for name in state)


def test_half_precision_is_widened(folder: Path, state: dict[str, torch.Tensor]) -> None:
    half = {name: value.half() for name, value in state.items()}
    torch.save(half, folder / "best_model.pth")
    assert read(folder).num_classes == 3
    found = read_octopi_weights(folder / "best_model.pth")
    assert {value.dtype for value in found.values()} == {torch.float32}


class Attack:
    """A pickle that makes a folder when it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("attacked",))


def whole_network(state: dict[str, torch.Tensor]) -> Any:
    return build("unet3d", widths=[2, 3])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            lambda state: {"weights": Attack()},
            r"asks for \w+\.mkdir.*would run.*save the weights alone",
        ),
        (whole_network, r"cannot be read.*torch\.save\(network\.state_dict\(\), path\)"),
        (lambda state: {"epoch": 3}, "holds a table with keys epoch, not the weights"),
        (lambda state: {}, "not the weights of a network"),
        (lambda state: [*state.values()], "holds a list, not the weights"),
        (lambda state: {"a": torch.zeros(1).expand(10**9)}, "are not what a file of"),
        (lambda state: state | {"module." + k: v for k, v in state.items()}, "holds weights twice"),
        (
            lambda state: state | {"model.0.adn.A.weight": torch.full((1,), torch.nan)},
            r"model\.0\.adn\.A\.weight.*not finite",
        ),
    ],
)
def test_files_that_are_no_weights_are_refused(
    folder: Path,
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    content: Callable[[Any], Any],
    text: str,
) -> None:
    monkeypatch.chdir(folder)
    torch.save(content(state), folder / "best_model.pth")
    with pytest.raises(ModelError, match=text):
        read(folder)
    assert not (folder / "attacked").exists()


@pytest.mark.parametrize("num_bytes", [0, 10, 2000])
def test_a_truncated_file_is_refused(folder: Path, num_bytes: int) -> None:
    path = folder / "best_model.pth"
    path.write_bytes(path.read_bytes()[:num_bytes])
    with pytest.raises(ModelError, match="damaged: get the original"):
        read(folder)


def write_model(folder: Path, **changes: Any) -> None:
    content = yaml.safe_load((folder / "model_config.yaml").read_text())
    content["model"] |= changes
    (folder / "model_config.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"channels": [4, 8, 16]}, r"of the Unet with 3 classes.*have another size .* instead of"),
        ({"num_classes": 5}, r"Unet with 5 classes.*have another size"),
        ({"num_res_units": 2}, r"\d+ weights are missing \(model\.0\."),
        ({"architecture": "AttentionUnet"}, r"AttentionUnet.*are missing.*are not of this network"),
        ({"channels": [4, 60000, 8]}, r"channels in .* is \[4, 60000, 8\].*belong together"),
        ({"dim_in": 17}, "multiple of 2 along z, got 17. Use 16 or 18"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    folder: Path, changes: dict[str, Any], text: str
) -> None:
    write_model(folder, **changes)
    with pytest.raises(ModelError, match=text):
        read(folder)


def test_a_description_of_a_huge_network_takes_no_memory(
    folder: Path, state: dict[str, torch.Tensor]
) -> None:
    # A row of 65535 numbers lets such widths through; 1.3 TB of weights would be built.
    torch.save(state | {"long": torch.zeros(65535)}, folder / "best_model.pth")
    for words in ({}, {"architecture": "SwinUNETR", "feature_size": 60000, "num_heads": [1] * 4}):
        write_model(folder, channels=[60000, 60000, 60000], **words)
        with pytest.raises(ModelError, match=r"are missing|have another size"):
            read(folder)


def test_files_that_are_not_there_are_named(folder: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no file of weights .*other"):
        read_octopi_spec(folder / "model_config.yaml", folder / "other.pth")
    with pytest.raises(MissingFileError, match=r"no model configuration .*other"):
        read_octopi_spec(folder / "other.yaml", folder / "best_model.pth")


def test_a_file_that_has_changed_is_read_again(
    folder: Path, state: dict[str, torch.Tensor]
) -> None:
    first = read(folder)
    write_model(folder, dim_in=32)
    assert read(folder).patch == (32, 32, 32)
    torch.save({k: v + 1 for k, v in state.items()}, folder / "best_model.pth")
    assert read(folder).sha256 != first.sha256


@pytest.mark.skipif(not SAMPLES.exists(), reason="models that Octopi trained are not here")
@pytest.mark.parametrize(("name", "widths"), [("A", [8, 16, 24, 24]), ("B", [8, 16, 32, 32])])
def test_models_that_octopi_trained_are_read(name: str, widths: list[int]) -> None:
    spec = read_spec(SAMPLES / f"model_{name}")
    assert spec.params["channels"] == widths
    assert spec.patch == (48, 48, 48)
    assert spec.classes == ("background", "apo-ferritin", "beta-galactosidase", "ribosome")
    assert load_model(spec, "cpu")(torch.zeros(1, 1, 8, 8, 8)).shape == (1, 4, 8, 8, 8)
