"""Several models as one: their files, and which of their channels are the same class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.octopi import read_octopi_spec

Paths = str | Path | Sequence[str | Path]
"""One path, a comma list of them, or a sequence."""


@dataclass(frozen=True, slots=True)
class ClassMatch:
    """Which channel of each model is which class of the ensemble."""

    classes: tuple[str, ...]
    """Names in the order of the first model, the background first."""

    channels: tuple[tuple[int, ...], ...]
    """For each model the channel of each class: ``logits[list(channels[m])]`` is in their order."""

    @property
    def is_same(self) -> bool:
        """Whether every model has its channels in that order already."""
        return all(channels == tuple(range(len(self.classes))) for channels in self.channels)


def read_ensemble(
    configs: Paths, weights: Paths, *, labels: Mapping[str, int] | None = None
) -> tuple[ModelSpec, ...]:
    """Read the models of Octopi that are averaged.

    Parameters
    ----------
    configs, weights : path, str or sequence of these
        Configurations and weights, in this order; text is a comma list, in brackets or without.
        One configuration may serve several weights.
    labels : mapping of str to int or None
        Channel of each class by name, for all of the models.

    Returns
    -------
    specs : tuple of ModelSpec
        One a file of weights, each with its own window.

    Raises
    ------
    MissingFileError, ModelError
        If the lists do not pair, or as `volproc.models.octopi.read_octopi_spec` says.
    """
    described, held = _listed(configs), _listed(weights)
    if not described or not held:
        msg = (
            f"an ensemble needs configurations and weights, got {len(described)} and {len(held)}. "
            "Give --model-config and --model-weights, each a path or a comma list."
        )
        raise ModelError(msg)
    if len(described) == 1:
        described *= len(held)
    if len(described) != len(held):
        msg = (
            f"{len(described)} model configurations for {len(held)} files of weights. Give one "
            "for all weights, or as many as weights, in their order."
        )
        raise ModelError(msg)
    pairs = zip(described, held, strict=True)
    return tuple(read_octopi_spec(config, path, labels=labels) for config, path in pairs)


def match_classes(specs: Sequence[ModelSpec]) -> ClassMatch:
    """Match the channels of models by the names of their classes.

    Parameters
    ----------
    specs : sequence of ModelSpec
        One model or more.

    Returns
    -------
    match : ClassMatch
        Classes in the order of the first model.

    Raises
    ------
    ModelError
        If there is no model, a model has a name twice, or one lacks a class that another has; both
        models are named.

    Examples
    --------
    >>> first = ModelSpec("unet3d", "a.pt", (8, 8, 8), ("background", "ribosome", "apo"))
    >>> second = ModelSpec("unet3d", "b.pt", (8, 8, 8), ("background", "apo", "ribosome"))
    >>> match_classes([first, second]).channels
    ((0, 1, 2), (0, 2, 1))
    """
    if not specs:
        msg = "an ensemble needs a model, got none. Give one or more."
        raise ModelError(msg)
    first = specs[0]
    for spec in specs:
        twice = sorted({name for name in spec.classes if spec.classes.count(name) > 1})
        if twice:
            msg = (
                f"{spec.weights} has the class {', '.join(twice)} more than once. Give each "
                "channel a name of its own."
            )
            raise ModelError(msg)
        for one, other in ((spec, first), (first, spec)):
            if lacking := [name for name in other.classes[1:] if name not in one.classes[1:]]:
                msg = (
                    f"{one.weights} has no class {', '.join(lacking)}, which {other.weights} has; "
                    f"its classes are {', '.join(one.classes[1:])}. Average models of the same "
                    "classes, or correct the labels in their configurations."
                )
                raise ModelError(msg)
    channels = [(0, *(spec.classes.index(name, 1) for name in first.classes[1:])) for spec in specs]
    return ClassMatch(first.classes, tuple(channels))


def _listed(paths: Paths) -> list[str]:
    if isinstance(paths, str):
        parts = paths.strip().removeprefix("[").removesuffix("]").split(",")
        return [part.strip() for part in parts if part.strip()]
    return [os.fspath(path) for path in ([paths] if isinstance(paths, Path) else paths)]
