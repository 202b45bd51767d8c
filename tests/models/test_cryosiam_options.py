"""What networks of CryoSiam may be asked for: the distance head, thresholds by class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from volproc.core.errors import ConfigError, ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam import read_cryosiam_spec
from volproc.models.cryosiam_networks import SEMANTIC
from volproc.models.cryosiam_options import class_thresholds, num_channels, with_distances

SAMPLES = Path(__file__).parents[2].parent / "shared" / "data" / "peers" / "cryosiam"
SPEC = ModelSpec(
    SEMANTIC, "a.pt", (8, 8, 8), ("background", "foreground"), {"activation": "sigmoid"}
)


def test_a_threshold_is_of_each_channel() -> None:
    assert num_channels(SPEC) == 1
    assert class_thresholds(SPEC, None) == (0.5,)
    assert class_thresholds(SPEC, {"foreground": 0.9}) == (0.9,)
    several = replace(SPEC, params={"activation": "softmax"})
    assert class_thresholds(several, None) == (0.0, 0.0)
    assert class_thresholds(several, {"background": 1}) == (1.0, 0.0)


@pytest.mark.parametrize("threshold", [-0.1, 1.01, float("nan"), {"foreground": 2}])
def test_a_threshold_that_is_no_probability_is_refused(threshold: object) -> None:
    with pytest.raises(ConfigError, match="a threshold is a probability"):
        class_thresholds(SPEC, threshold)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="a threshold of background, which the model does not"):
        class_thresholds(SPEC, {"background": 0.5})


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples of CryoSiam here")
def test_the_distance_head_is_added_to_a_model_that_was_read_without_it() -> None:
    path = SAMPLES / "tiny_particles.ckpt"
    plain = read_cryosiam_spec(path, labels={"ribosome": 1})
    both = with_distances(plain)
    assert both.classes == plain.classes
    assert both.params == read_cryosiam_spec(path, distances=True).params
    assert with_distances(both) is both
    with pytest.raises(ModelError, match="described without a distance head"):
        with_distances(SPEC)
