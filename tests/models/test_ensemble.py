"""Ensembles: which files pair, and which channels are the same class."""

from __future__ import annotations

from pathlib import Path

import pytest

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.ensemble import match_classes, read_ensemble
from volproc.models.networks import build
from volproc.models.octopi_saving import save_octopi_model

PARAMS = {"channels": [2, 4], "strides": [2]}


def spec(*names: str, weights: str = "", edge: int = 8) -> ModelSpec:
    return ModelSpec("octopi-unet", weights, (edge,) * 3, ("background", *names), PARAMS)


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Two models with the same classes in another order, and other windows."""
    network = build("octopi-unet", num_classes=3, **PARAMS)
    models = {"first": spec("a", "b"), "second": spec("b", "a", edge=12)}
    for name, model in models.items():
        save_octopi_model(tmp_path / name, model, network.state_dict())
    return [tmp_path / name for name in models]


def test_lists_are_paired_in_their_order(folders: list[Path]) -> None:
    configs = [folder / "model_config.yaml" for folder in folders]
    weights = [folder / "best_model.pth" for folder in folders]
    specs = read_ensemble(configs, weights)
    assert [s.patch[0] for s in specs] == [8, 12]
    assert match_classes(specs).channels == ((0, 1, 2), (0, 2, 1))
    text = f"[{configs[0]}, {configs[1]}]", f"{weights[0]},{weights[1]}"
    assert read_ensemble(*text) == specs
    assert read_ensemble(configs[0], weights[1])[0].weights == str(weights[1])
    one = read_ensemble(str(configs[0]), weights)
    assert [s.config for s in one] == [str(configs[0])] * 2
    assert [s.weights for s in one] == [str(path) for path in weights]
    renamed = read_ensemble(configs, weights, labels={"x": 1, "y": 2})
    assert {s.classes for s in renamed} == {("background", "x", "y")}


def test_lists_that_do_not_pair_are_refused(folders: list[Path]) -> None:
    configs = [folder / "model_config.yaml" for folder in folders]
    weights = [folder / "best_model.pth" for folder in folders]
    with pytest.raises(ModelError, match="2 model configurations for 1 files of weights"):
        read_ensemble(configs, weights[:1])
    with pytest.raises(ModelError, match="2 model configurations for 3 files of weights"):
        read_ensemble(configs, [*weights, weights[0]])
    for nothing in ("", "[]", []):
        with pytest.raises(ModelError, match="needs configurations and weights, got 2 and 0"):
            read_ensemble(configs, nothing)


def test_channels_are_matched_by_name() -> None:
    match = match_classes([spec("a", "b", "c"), spec("c", "a", "b"), spec("a", "b", "c")])
    assert match.classes == ("background", "a", "b", "c")
    assert match.channels == ((0, 1, 2, 3), (0, 2, 3, 1), (0, 1, 2, 3))
    assert not match.is_same
    assert match_classes([spec("a", "b")]).is_same


def test_a_class_that_a_model_lacks_is_named_with_both_models() -> None:
    first, second = spec("a", "b", weights="first.pth"), spec("a", "c", weights="second.pth")
    with pytest.raises(ModelError, match=r"second\.pth has no class b, which first\.pth has"):
        match_classes([first, second])
    with pytest.raises(ModelError, match=r"first\.pth has no class c, which second\.pth has"):
        match_classes([first, spec("a", "b", "c", weights="second.pth")])
    with pytest.raises(ModelError, match=r"second\.pth has the class a more than once"):
        match_classes([first, spec("a", "a", weights="second.pth")])
    with pytest.raises(ModelError, match="got none"):
        match_classes([])
