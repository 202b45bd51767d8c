"""What a network of CryoSiam may be asked for beside its classes: distances and thresholds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from volproc.core.errors import ConfigError, ModelError, nearest
from volproc.core.model import ModelSpec
from volproc.models.cryosiam import SUFFIX, read_cryosiam_spec
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC

Threshold = float | Mapping[str, float] | None
"""Least probability that counts: one for all classes, or by name; None for what is usual."""

USUAL_FOREGROUND = 0.5
"""Threshold of a network with one channel: there is nothing else to compare it with."""


def is_cryosiam(spec: ModelSpec) -> bool:
    """Whether a model is a semantic or lamella network of CryoSiam."""
    return spec.architecture == SEMANTIC


def num_channels(spec: ModelSpec) -> int:
    """Channels of the checkpoint: one a class, the foreground alone, or an intensity."""
    is_one = spec.architecture == DENOISER or spec.params["activation"] == "sigmoid"
    return 1 if is_one else spec.num_classes


def with_distances(spec: ModelSpec) -> ModelSpec:
    """Return a model with its distance head.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.

    Raises
    ------
    ModelError
        If its file has no distance head.
    """
    heads = list(spec.params.get("heads", ["semantic"]))
    if "distance" in heads:
        return spec
    if not spec.weights.endswith(SUFFIX):
        msg = (
            f"{spec.weights} is described without a distance head. Give CryoSiam's checkpoint, or "
            "do not ask for distances."
        )
        raise ModelError(msg)
    read_cryosiam_spec(spec.weights, distances=True)  # that its weights are there
    return replace(spec, params={**spec.params, "heads": [*heads, "distance"]})


def class_thresholds(spec: ModelSpec, threshold: Threshold) -> tuple[float, ...]:
    """Return the threshold of each channel of a network.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.
    threshold : float, mapping of str to float, or None
        By default one half where there is one channel, and none where classes are compared. Of
        classes that a mapping leaves out the default too.

    Raises
    ------
    ConfigError
        If there is no such class, or a threshold is no probability.

    Examples
    --------
    >>> params = {"activation": "softmax"}
    >>> spec = ModelSpec(SEMANTIC, "", (8, 8, 8), ("background", "a", "b"), params)
    >>> class_thresholds(spec, 0.7), class_thresholds(spec, {"b": 0.2})
    ((0.7, 0.7, 0.7), (0.0, 0.0, 0.2))
    """
    count = num_channels(spec)
    usual = USUAL_FOREGROUND if count == 1 else 0.0
    named = {} if threshold is None or isinstance(threshold, int | float) else dict(threshold)
    for name, value in named.items() if named else [("", threshold or 0.0)]:
        if not isinstance(value, int | float) or not 0 <= value <= 1:
            of = f" of {name}" if name else ""
            msg = f"a threshold is a probability, in 0…1, got {value}{of}. Use 0.5, say."
            raise ConfigError(msg)
    names = spec.classes if count > 1 else spec.classes[1:]
    for name in named:
        if name not in names:
            msg = f"a threshold of {name}, which the model does not have: {nearest(name, names)}"
            raise ConfigError(msg)
    if isinstance(threshold, int | float):
        return (float(threshold),) * count
    return tuple(float(named.get(name, usual)) for name in names)
