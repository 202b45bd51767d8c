"""Models of others: refused, unless trusted and described."""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.loading import load_model, read_spec, read_weights, save_model, save_whole
from volproc.models.memory import activation_bytes, weight_bytes
from volproc.models.networks import build
from volproc.models.trusted import find_kind

PARAMS: dict[str, Any] = {"widths": [2, 3]}
DESCRIPTION = {"patch": [8, 8, 12], "classes": ["background", "ball"], "multiple": [2, 2, 2]}


class Own(nn.Module):
    """A network that volproc does not know, with a weight that is in no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(1, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose3d(4, 2, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.up(torch.relu(self.down(x)))


class Touch:
    """What a hostile pickle holds: it makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def network() -> Own:
    torch.manual_seed(0)
    return Own().eval()


def save_as(network: nn.Module, path: Path, kind: str) -> Path:
    if kind == "torchscript":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            torch.jit.script(network).save(str(path))
    else:
        torch.save(network, path, _use_new_zipfile_serialization=kind == "pickled")
    return path


def describe(path: Path, **values: object) -> None:
    path.with_name(f"{path.name}.json").write_text(json.dumps({**DESCRIPTION, **values}))


@pytest.mark.parametrize("kind", ["torchscript", "pickled", "old pickle"])
def test_a_model_of_others_works_only_where_it_is_trusted(
    tmp_path: Path, network: Own, kind: str
) -> None:
    path = save_as(network, tmp_path / "net.pt", kind)
    describe(path, voxel_size=10.0, radii={"ball": 50.0})
    with pytest.raises(ModelError, match=r"runs whatever its author put in.*--trust-model"):
        read_spec(path)
    spec = read_spec(path, trust_model=True)
    assert spec.architecture == ("torchscript" if kind == "torchscript" else "pickled")
    assert (spec.patch, spec.classes, spec.voxel_size) == ((8, 8, 12), ("background", "ball"), 10.0)
    assert len(spec.sha256) == 64
    model = load_model(spec, "cpu")
    batch = torch.randn(2, 1, 8, 8, 12)
    with torch.no_grad():
        assert torch.equal(model(batch), network(batch))
    assert not any(p.requires_grad for p in model.network.parameters())
    assert weight_bytes(spec) == 4 * sum(p.numel() for p in network.parameters())
    assert activation_bytes(spec) > weight_bytes(spec) + 4 * (2 + 4 / 8) * 8 * 8 * 12


def test_an_untrusted_pickle_is_never_run(tmp_path: Path) -> None:
    for name, is_new in (("new.pt", True), ("old.pt", False)):
        path, trace = tmp_path / name, tmp_path / f"{name}.trace"
        torch.save({"x": Touch(trace)}, path, _use_new_zipfile_serialization=is_new)
        describe(path)
        with pytest.raises(ModelError, match="pickle of Python objects"):
            read_spec(path)
        assert not trace.exists()
        with pytest.raises(ModelError, match="holds a dict, not a network"):
            load_model(read_spec(path, trust_model=True), "cpu")
        assert trace.exists()  # that is what trust means


def test_trust_changes_nothing_for_a_model_of_volproc(tmp_path: Path) -> None:
    spec = ModelSpec("unet3d", "", (4, 6, 8), ("background", "ball"), PARAMS)
    path = tmp_path / "model.pt"
    save_model(path, spec, build("unet3d", **PARAMS).state_dict())
    assert read_spec(path, trust_model=True) == read_spec(path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "net.pt.json is missing. Write it as"),
        ("{", "is no JSON file"),
        ("[" * 100_000, "is no JSON file"),
        ("[]", "lacks patch or classes"),
        ('{"patch": [8, 8, 8]}', "lacks patch or classes"),
        (json.dumps({**DESCRIPTION, "voxelsize": 1}), 'did you mean "voxel_size"'),
        (json.dumps({**DESCRIPTION, "multiple": [0, 1, 1]}), "three whole numbers"),
        (json.dumps({**DESCRIPTION, "patch": ["a", "b", "c"]}), "."),
        (json.dumps({**DESCRIPTION, "voxel_size": -1}), "cannot be"),
        (json.dumps({**DESCRIPTION, "channels": 0}), "cannot be"),
        (" " * 2**21, "is no JSON file"),
    ],
)
def test_a_description_that_cannot_be_is_refused(
    tmp_path: Path, network: Own, text: str | None, said: str
) -> None:
    path = save_as(network, tmp_path / "net.pt", "pickled")
    if text is not None:
        path.with_name("net.pt.json").write_text(text)
    with pytest.raises(ModelError) as caught:
        read_spec(path, trust_model=True)
    assert said in str(caught.value)


def test_a_network_that_is_not_as_described_says_so(tmp_path: Path, network: Own) -> None:
    path = save_as(network, tmp_path / "net.pt", "pickled")
    describe(path, classes=["background", "a", "b"])
    model = load_model(read_spec(path, trust_model=True), "cpu")
    with pytest.raises(ModelError, match=r"gives \(1, 2, 8, 8, 12\).*\(1, 3, 8, 8, 12\) are due"):
        model(torch.zeros(1, 1, 8, 8, 12))
    describe(path, patch=[8, 8, 9])
    with pytest.raises(ModelError, match="multiple of 2 along x, got 9"):
        load_model(read_spec(path, trust_model=True), "cpu")


def test_a_model_file_cannot_pass_itself_off_as_trusted(tmp_path: Path) -> None:
    spec = ModelSpec("unet3d", "", (4, 6, 8), ("background", "ball"), PARAMS)
    state = build("unet3d", **PARAMS).state_dict()
    values = {**asdict(spec), "architecture": "pickled", "params": {"multiple": [1, 1, 1]}}
    path = tmp_path / "model.pt"
    save_whole(path, {"volproc_model": 1, "spec": values, "state_dict": state})
    for is_trusted in (False, True):
        with pytest.raises(ModelError, match="calls itself pickled"):
            read_spec(path, trust_model=is_trusted)


@pytest.mark.parametrize(
    "change",
    [
        {"params": {"widths": [100_000, 100_000]}},
        {"params": {"widths": [2, 3, 4]}},
        {"channels": 10**6},
    ],
)
def test_a_description_of_a_huge_network_takes_no_memory(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    spec = replace(ModelSpec("unet3d", "", (4, 6, 8), ("background", "ball"), PARAMS), **change)
    save_model(tmp_path / "model.pt", spec, build("unet3d", **PARAMS).state_dict())
    with pytest.raises(ModelError, match="describes a network of"):
        read_spec(tmp_path / "model.pt")


def test_weights_that_are_views_of_one_number_are_refused(tmp_path: Path) -> None:
    spec = ModelSpec("unet3d", "", (4, 6, 8), ("background", "ball"), PARAMS)
    state = {"head.bias": torch.zeros(1, dtype=torch.half).expand(10**11)}
    path = tmp_path / "model.pt"
    save_whole(path, {"volproc_model": 1, "spec": asdict(spec), "state_dict": state})
    for read in (read_spec, read_weights):
        with pytest.raises(ModelError, match="can hold"):
            read(path)


@pytest.mark.parametrize("field", ["spec", "state_dict", "volproc_model"])
@pytest.mark.parametrize("value", [None, 5, "text", [1], {"a": 1}])
def test_nonsense_in_a_model_file_is_one_error(tmp_path: Path, field: str, value: Any) -> None:
    spec = ModelSpec("unet3d", "", (4, 6, 8), ("background", "ball"), PARAMS)
    state = build("unet3d", **PARAMS).state_dict()
    content = {"volproc_model": 1, "spec": asdict(spec), "state_dict": state, field: value}
    save_whole(tmp_path / "model.pt", content)
    with pytest.raises(ModelError):
        read_spec(tmp_path / "model.pt")


def test_kinds_are_told_apart_without_loading(tmp_path: Path, network: Own) -> None:
    for kind in ("torchscript", "pickled"):
        assert find_kind(save_as(network, tmp_path / kind, kind)) == kind
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    (tmp_path / "empty.pt").write_bytes(b"")
    assert find_kind(tmp_path / "archive.zip") == ""
    assert find_kind(tmp_path / "empty.pt") == ""
