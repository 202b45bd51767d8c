"""Models of Octopi: ``model_config.yaml`` and ``best_model.pth``, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from volproc.core.errors import MissingFileError, ModelError
from volproc.core.model import ModelSpec
from volproc.models.networks import check_patch
from volproc.models.octopi_config import read_config
from volproc.models.octopi_networks import NAMES
from volproc.models.weights import (
    check_state,
    describe_content,
    due_shapes,
    finite_floats,
    hash_file,
    load_safely,
    stamp_file,
)

CONFIGS = ("model_config.yaml", "config.yaml")
"""Names of a configuration in a folder, the first one that is there."""

WEIGHTS = ("best_model.pth", "weights.pth")
"""Names of the weights beside it."""

NESTED = ("state_dict", "model_state_dict", "model")
"""Keys under which a checkpoint of others may hold the weights."""

WRAPPERS = ("module", "_orig_mod")
"""What parallel training and the compiler put before the names of weights."""


def read_octopi_spec(
    config: str | Path, weights: str | Path, *, labels: Mapping[str, int] | None = None
) -> ModelSpec:
    """Read what a model of Octopi is, and that its weights are those of the network described.

    Parameters
    ----------
    config : str or Path
        ``model_config.yaml`` of any version.
    weights : str or Path
        ``best_model.pth``: a table of weights, or a checkpoint that holds one.
    labels : mapping of str to int or None
        Channel of each class by name; taken instead of those in the configuration.

    Returns
    -------
    spec : ModelSpec
        Its patch is Octopi's window, ``dim_in``; ``weights`` and ``config`` are absolute paths.

    Raises
    ------
    MissingFileError
        If a file is not there.
    ModelError
        If a file is damaged, unsafe, or says too little, or the two do not belong together.

    Notes
    -----
    Files that have not changed since are not read again.
    """
    paths = Path(config).expanduser().absolute(), Path(weights).expanduser().absolute()
    if not paths[1].is_file():
        msg = (
            f"there is no file of weights {paths[1]}. Give the best_model.pth that was trained "
            f"with {paths[0].name}."
        )
        raise MissingFileError(msg)
    if not paths[0].is_file():
        msg = (
            f"there is no model configuration {paths[0]}. Give the model_config.yaml that belongs "
            f"to {paths[1].name}."
        )
        raise MissingFileError(msg)
    chosen = None if labels is None else tuple(labels.items())
    return _read_once(*paths, chosen, *map(stamp_file, paths))


@lru_cache(maxsize=16)
def _read_once(
    config: Path,
    weights: Path,
    labels: tuple[tuple[str, int], ...] | None,
    *stamps: tuple[int, ...],
) -> ModelSpec:
    """What a model is; the stamps tell its files from others that were there before."""
    said = read_config(config, None if labels is None else dict(labels))
    state = read_octopi_weights(weights)
    _check_scale(said.params, state, config, weights)
    spec = ModelSpec(
        architecture=said.architecture,
        weights=str(weights),
        patch=said.patch,
        classes=said.classes,
        params=said.params,
        sha256=hash_file(weights),
        voxel_size=said.voxel_size,
        config=str(config),
    )
    _check_fit(spec, state)
    check_patch(spec.architecture, spec.params, spec.patch)
    return spec


def read_octopi_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a model of Octopi by name, in float32.

    Parameters
    ----------
    path : Path
        A table of weights, or a checkpoint with one under ``state_dict``, ``model_state_dict`` or
        ``model``. What parallel training and the compiler put before the names is taken off.

    Raises
    ------
    ModelError
        If the file is damaged or holds something else, or a weight is not finite.
    """

    def refuse(why: str, error: Exception) -> ModelError:
        return ModelError(
            f"{path} cannot be read as a table of weights: {why}. If it holds other objects too, "
            "loading it would run whatever its author put in: save the weights alone, "
            "torch.save(network.state_dict(), path). Else it is damaged: get the original."
        )

    content = load_safely(path, refuse)
    state = content
    while isinstance(state, Mapping) and (inside := [k for k in NESTED if _is_table(state, k)]):
        state = state[inside[0]]
    if not isinstance(state, Mapping) or not state or not _holds_tensors(state):
        msg = (
            f"{path} holds {describe_content(content)}, not the weights of a network. Give the "
            "best_model.pth of the training."
        )
        raise ModelError(msg)
    check_state(state, path)
    plain = {_plain_name(name): value for name, value in state.items()}
    if len(plain) < len(state):
        msg = f"{path} holds weights twice, with and without {WRAPPERS}. Save the network once."
        raise ModelError(msg)
    return finite_floats(plain, path)


def find_octopi_model(address: Path) -> tuple[Path, Path] | None:
    """Find both files of a model of Octopi from one address.

    Parameters
    ----------
    address : Path
        A folder with both, a configuration beside one ``.pth``, or weights beside a
        ``model_config.yaml`` or ``config.yaml``.

    Returns
    -------
    pair : tuple of Path or None
        Configuration and weights; None if this is no such address.

    Raises
    ------
    MissingFileError
        If the other file is not there.
    ModelError
        If several files could be meant.
    """
    if address.is_dir():
        return _only(address, CONFIGS, "*.yaml"), _only(address, WEIGHTS, "*.pth")
    if address.suffix in (".yaml", ".yml"):
        return address, _only(address.parent, WEIGHTS, "*.pth")
    if address.suffix == ".pth" and address.is_file():
        for beside in map(address.with_name, CONFIGS):
            if beside.is_file():
                return beside, address
    return None


def _only(folder: Path, names: tuple[str, ...], pattern: str) -> Path:
    """Return the file of a folder that has one of the names, or else the only one of its kind."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = sorted(folder.glob(pattern))
    if len(found) == 1:
        return found[0]
    if not found:
        msg = f"there is no {names[0]} in {folder}. Give --model-config and --model-weights."
        raise MissingFileError(msg)
    msg = (
        f"{folder} has several files {pattern}: {', '.join(p.name for p in found[:5])}. Give "
        "--model-config and --model-weights."
    )
    raise ModelError(msg)


def _is_table(state: Mapping[str, Any], key: str) -> bool:
    return isinstance(state.get(key), Mapping)


def _holds_tensors(state: Mapping[str, Any]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in state.values())


def _plain_name(name: str) -> str:
    """Take off the names of wrappers: those in front, and the compiler's anywhere.

    >>> _plain_name("module._orig_mod.model.0.conv.weight")
    'model.0.conv.weight'
    """
    parts = [part for part in name.split(".") if part != WRAPPERS[1]]
    while parts and parts[0] in WRAPPERS:
        parts.pop(0)
    return ".".join(parts)


def _check_scale(
    params: Mapping[str, Any], state: Mapping[str, torch.Tensor], config: Path, weights: Path
) -> None:
    """Refuse numbers that no network with these weights can have, before one is described."""
    most = max(64, len(state), *(side for value in state.values() for side in value.shape))
    for name, value in params.items():
        if any(n > most for n in _whole_numbers(value)):
            msg = (
                f"{name} in {config} is {value}, and no side of any tensor in {weights} is above "
                f"{most}: the two do not belong together. Give both files of one training."
            )
            raise ModelError(msg)


def _whole_numbers(value: Any) -> list[int]:
    if isinstance(value, list):
        return [n for item in value for n in _whole_numbers(item)]
    return [value] if isinstance(value, int) else []


def _check_fit(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights of another network: each name and shape is compared."""
    due = due_shapes(spec)
    missing = [name for name in due if name not in state]
    surplus = [name for name in state if name not in due]
    other = [
        f"{name} has {tuple(state[name].shape)} instead of {tuple(shape)}"
        for name, shape in due.items()
        if name in state and state[name].shape != shape
    ]
    if not missing and not surplus and not other:
        return
    word = next(word for word, name in NAMES.items() if name == spec.architecture)
    found = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for names, what in (
            (missing, "weights are missing"),
            (surplus, "are not of this network"),
            (other, "have another size"),
        )
        if names
    ]
    msg = (
        f"{spec.weights} does not hold the weights of the {word} with {spec.num_classes} classes "
        f"that {spec.config} describes: {'; '.join(found)}. Give both files of one training."
    )
    raise ModelError(msg)
