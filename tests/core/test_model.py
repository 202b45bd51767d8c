"""The description of a model survives files, and its hash follows its content."""

import json
from dataclasses import replace

import pytest

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec

SPEC = ModelSpec(
    "unet3d",
    "weights.pt",
    (8, 8, 16),
    ("background", "ribosome"),
    params={"widths": [4, 8]},
    sha256="ab",
    voxel_size=10.0,
    radii={"ribosome": 120.0},
)


def test_a_description_survives_json() -> None:
    assert ModelSpec.from_json(json.loads(json.dumps(SPEC.to_json()))) == SPEC


def test_the_fingerprint_follows_the_content_not_the_path() -> None:
    assert replace(SPEC, weights="elsewhere.pt").fingerprint() == SPEC.fingerprint()
    assert replace(SPEC, sha256="cd").fingerprint() != SPEC.fingerprint()
    assert replace(SPEC, patch=(8, 8, 8)).fingerprint() != SPEC.fingerprint()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ("background",)}, "at least one class"),
        ({"patch": (8, 0, 8)}, "three positive sizes"),
        ({"radii": {"proteasome": 1.0}}, "radii of proteasome"),
    ],
)
def test_an_impossible_description_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        replace(SPEC, **change)  # type: ignore[arg-type]


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(ModelError, match="colour"):
        ModelSpec.from_json({**SPEC.to_json(), "colour": "red"})
