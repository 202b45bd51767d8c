"""What a phantom may be made of."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, ShapeError
from volproc.phantoms.placement import random_stream
from volproc.phantoms.spec import DEFAULT_CLASSES, ParticleClass, PhantomSpec


def test_a_spec_survives_a_file() -> None:
    spec = PhantomSpec((5, 7, 11), seed=3, noise=0.7, classes=DEFAULT_CLASSES[:2])
    assert PhantomSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match='did you mean "crowding"'):
        PhantomSpec.from_json({"shape": (5, 7, 11), "crowdin": 2})


@pytest.mark.parametrize(
    "wrong",
    [{"noise": -0.1}, {"noise": float("nan")}, {"membranes": 1.5}, {"voxel_size": 0.0},
     {"crowding": -1}, {"seed": -1}, {"max_tilt_deg": 120.0}],
)  # fmt: skip
def test_a_number_out_of_range_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PhantomSpec((5, 7, 11), **wrong)


@pytest.mark.parametrize("shape", [(5, 7), (5, 0, 7), (5, 7, 11, 13)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="three positive sizes"):
        PhantomSpec(shape)


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="share a name"):
        PhantomSpec((5, 7, 11), classes=(DEFAULT_CLASSES[0],) * 2)


def test_an_unknown_form_names_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match='did you mean "barrel"'):
        ParticleClass("proteasome", "barel", 80.0)


@given(
    index=st.tuples(*[st.integers(-5, 5)] * 3),
    other=st.tuples(*[st.integers(-5, 5)] * 3),
    seed=st.integers(0, 2**63 - 1),
)
def test_streams_of_two_cells_differ_and_each_repeats(index, other, seed) -> None:
    first = random_stream(seed, 1, index).random(4)
    assert (first == random_stream(seed, 1, index).random(4)).all()
    assert (first != random_stream(seed, 2, index).random(4)).all()
    if index != other:
        assert (first != random_stream(seed, 1, other).random(4)).all()
