"""Model files: one file, loaded safely, once, and only if it is what was described."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from volproc.core.errors import MissingFileError, ModelError
from volproc.core.model import ModelSpec
from volproc.models.loading import (
    check_channels,
    load_model,
    read_spec,
    save_model,
    save_whole,
)
from volproc.models.networks import build

PARAMS = {"widths": [2, 3]}


@pytest.fixture
def spec() -> ModelSpec:
    return ModelSpec(
        architecture="unet3d",
        weights="",
        patch=(4, 6, 8),
        classes=("background", "ribosome"),
        params=PARAMS,
        voxel_size=10.0,
        radii={"ribosome": 95.0},
    )


@pytest.fixture
def path(tmp_path: Path, spec: ModelSpec) -> Path:
    torch.manual_seed(0)
    network = build("unet3d", **PARAMS)
    save_model(tmp_path / "model.pt", spec, network.state_dict())
    return tmp_path / "model.pt"


def test_a_saved_model_comes_back_with_path_and_hash(path: Path, spec: ModelSpec) -> None:
    found = read_spec(path)
    assert replace(found, weights="", sha256="") == spec
    assert found.weights == str(path.absolute())
    assert len(found.sha256) == 64


def test_a_loaded_model_computes_what_was_saved(path: Path) -> None:
    torch.manual_seed(0)
    network = build("unet3d", **PARAMS).eval()
    model = load_model(read_spec(path), "cpu")
    batch = torch.randn(1, 1, 4, 6, 8)
    with torch.no_grad():
        torch.testing.assert_close(model(batch), network(batch))
    assert not model.network.training
    assert not any(p.requires_grad for p in model.network.parameters())


def test_a_model_is_loaded_once_per_description_and_device(path: Path, spec: ModelSpec) -> None:
    first = load_model(read_spec(path), "cpu")
    assert load_model(read_spec(path), torch.device("cpu")) is first
    other = load_model(read_spec(path), "cpu", precision=torch.bfloat16)
    assert other.network is first.network
    batch = torch.randn(1, 1, 4, 6, 8)
    assert not torch.equal(other(batch), first(batch))  # it computes with what was asked for
    assert load_model(read_spec(path), "cpu", precision=torch.float32) is first
    save_model(path, spec, build("unet3d", **PARAMS).state_dict())
    assert load_model(read_spec(path), "cpu") is not first


def test_a_model_forgets_the_last_batch(path: Path) -> None:
    model = load_model(read_spec(path), "cpu")
    a, b = torch.randn(2, 1, 1, 4, 6, 8).unbind(0)
    first = model(a)
    model(b)
    assert torch.equal(model(a), first)


def test_half_precision_weights_compute_in_single_precision(path: Path, spec: ModelSpec) -> None:
    state = {k: v.half() for k, v in build("unet3d", **PARAMS).state_dict().items()}
    save_model(path, spec, state)
    assert load_model(read_spec(path), "cpu")(torch.zeros(1, 1, 4, 6, 8)).dtype == torch.float32


def test_another_file_under_the_same_name_is_refused(path: Path, spec: ModelSpec) -> None:
    described = read_spec(path)
    save_model(path, replace(spec, voxel_size=5.0), build("unet3d", **PARAMS).state_dict())
    wrong = replace(described, voxel_size=7.0)  # not in the cache
    with pytest.raises(ModelError, match=r"its sha256 is [0-9a-f]{16}…, expected"):
        load_model(wrong, "cpu")


def test_weights_that_do_not_fit_are_refused(path: Path) -> None:
    wrong = replace(read_spec(path), params={"widths": [2, 4]})
    with pytest.raises(ModelError, match="do not fit unet3d"):
        load_model(wrong, "cpu")


def test_weights_that_lack_a_layer_are_refused(path: Path, spec: ModelSpec) -> None:
    state = build("unet3d", **PARAMS).state_dict()
    state.pop("head.bias")
    save_model(path, spec, state)
    with pytest.raises(ModelError, match=r"head\.bias"):
        load_model(read_spec(path), "cpu")


def test_a_patch_that_the_network_cannot_take_is_refused(path: Path) -> None:
    with pytest.raises(ModelError, match="multiple of 2 along z, got 5"):
        load_model(replace(read_spec(path), patch=(5, 6, 8)), "cpu")


def test_another_number_of_channels_is_refused(spec: ModelSpec) -> None:
    check_channels(spec, 1)
    with pytest.raises(ModelError, match="takes 1 input channels, the volume has 3"):
        check_channels(spec, 3)


@pytest.mark.parametrize("content", [b"", b"no model", b"PK\x03\x04 damaged", b"\x80\x01."])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is not a model file of volproc"):
        read_spec(path)


def test_a_truncated_model_is_refused(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is not a model file of volproc"):
        read_spec(path)


def test_weights_without_a_description_are_refused(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "weights.pt")
    with pytest.raises(ModelError, match=r"a table with keys layer\.weight, not a model"):
        read_spec(tmp_path / "weights.pt")
    torch.save(torch.zeros(2), tmp_path / "tensor.pt")
    with pytest.raises(ModelError, match="holds a Tensor, not a model"):
        read_spec(tmp_path / "tensor.pt")


def test_a_model_file_of_another_version_is_refused(tmp_path: Path, spec: ModelSpec) -> None:
    content = {"volproc_model": 99, "spec": spec.to_json(), "state_dict": {}}
    save_whole(tmp_path / "model.pt", content)
    with pytest.raises(ModelError, match="version 99"):
        read_spec(tmp_path / "model.pt")


class _Touch:
    """Would create a file if it were unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


def test_a_model_file_runs_no_code(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    torch.save({"volproc_model": 1, "spec": _Touch(str(witness))}, tmp_path / "evil.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Touch(str(witness))))
    for name in ("evil.pt", "plain.pt"):
        with pytest.raises(ModelError):
            read_spec(tmp_path / name)
    assert not witness.exists()


def test_a_name_that_is_no_file_lists_the_embedded_models(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="phantom-unet"):
        read_spec("phantom-une")
    with pytest.raises(MissingFileError, match="there is no model file"):
        read_spec(tmp_path / "nothing.pt")


def test_a_failed_save_leaves_what_was_there(path: Path, spec: ModelSpec, monkeypatch) -> None:
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_model(path, spec, {})
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_result_depends_on_the_batch_alone_not_on_its_neighbours(path: Path) -> None:
    model = load_model(read_spec(path), "cpu")
    a, b = torch.randn(2, 1, 1, 4, 6, 8).unbind(0)
    together = model(torch.cat([a, b]))
    np.testing.assert_allclose(together[:1].numpy(), model(a).numpy(), rtol=1e-4, atol=1e-5)


def test_a_description_is_read_once_as_long_as_its_file_is_the_same(
    path: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    from volproc.models import loading

    original, read = loading._load, []
    monkeypatch.setattr(loading, "_load", lambda p: read.append(p) or original(p))
    first = read_spec(path)
    assert read_spec(path) == first
    num_reads = len(read)
    assert num_reads <= 1
    torch.manual_seed(1)
    save_model(path, spec, build("unet3d", num_classes=2, **PARAMS).state_dict())
    assert read_spec(path).sha256 != first.sha256
    assert len(read) == num_reads + 1
