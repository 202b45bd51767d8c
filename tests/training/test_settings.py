"""Settings of a training run: what fits, what is refused, and how files name it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volproc.core.errors import ConfigError, ModelError
from volproc.training.settings import (
    CopickData,
    PhantomData,
    TrainingSettings,
    VolumeData,
)

VOLUME = VolumeData("image.npy", "mask.npy", {1: "tubule", 7: "tubule"}, voxel_size=8.0)
COPICK = CopickData("copick.json", "wbp", 10.0, ("TS_1",), picks={"tubule": "tubule:a/1"})


def settings(**changes: object) -> TrainingSettings:
    values: dict[str, object] = {"classes": ("background", "tubule"), "train": (VOLUME,)}
    return TrainingSettings(**{**values, **changes})


def test_settings_survive_a_file() -> None:
    first = settings(
        train=(VOLUME, COPICK, PhantomData((5, 7, 11), spec={"crowding": 1.0})), seed=3
    )
    assert TrainingSettings.from_json(json.loads(json.dumps(first.to_json()))) == first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epoch": 3}, 'no setting "epoch": did you mean "epochs"'),
        ({"train": [{"kind": "volumes"}]}, 'did you mean "volume"'),
        ({"train": [{"kind": "phantoms", "shap": [1, 2, 3]}]}, 'did you mean "shape"'),
        ({"train": [{"kind": "phantoms"}]}, "missing 1 required"),
        ({"augmentation": {"flipp": True}}, 'did you mean "flip"'),
    ],
)
def test_an_unknown_or_missing_key_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingSettings.from_json({**settings().to_json(), **values})


@pytest.mark.parametrize(
    "wrong",
    [
        {"train": ()},
        {"epochs": 0},
        {"batch_size": -1},
        {"foreground": 1.5},
        {"ema_decay": -0.1},
        {"class_weights": (1.0, 1.0, 1.0)},
        {"classes": ("background", "tube")},
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        settings(**wrong)


def test_a_patch_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(ModelError, match=r"multiple of 8 along y, got 20\. Use 16 or 24"):
        settings(patch=(16, 20, 24))


def test_a_model_needs_a_class_besides_the_background() -> None:
    with pytest.raises(ModelError, match="a background and at least one class"):
        settings(classes=("background",), train=(PhantomData((5, 7, 11)),))


def test_this_project_has_no_configs_for_training_that_cannot_be_read() -> None:
    from volproc.config.loading import load
    from volproc.config.training import TrainConfig

    paths = sorted((Path(__file__).parents[2] / "configs").glob("train-*.yaml"))
    assert len(paths) >= 2
    for path in paths:
        TrainingSettings.from_json(load(path, TrainConfig).to_training())
