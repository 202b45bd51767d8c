"""Models of CryoSiam: a Lightning checkpoint becomes a description, weights and probabilities."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.cryosiam_checkpoint import (
    GET,
    HEADS,
    Checkpoint,
    Kind,
    check_intensity,
    full_name,
    look_up,
    open_checkpoint,
    read_counts,
    read_intensity,
    read_patch,
)
from volproc.models.cryosiam_layers import EXPANSION
from volproc.models.cryosiam_networks import DENOISER, SEMANTIC
from volproc.models.octopi_config import name_channels
from volproc.models.weights import due_shapes, finite_floats, hash_file, stamp_file

logger = logging.getLogger(__name__)

CRYOSIAM = (SEMANTIC, DENOISER)
"""Architectures whose weights are in checkpoints of CryoSiam."""

SUFFIX = ".ckpt"

PROJECTOR = tuple(f"projector.{layer}.weight" for layer in (0, 3, 6))
"""Weights of the projector's convolutions."""


def read_cryosiam_spec(
    checkpoint: str | Path, *, distances: bool = False, labels: Mapping[str, int] | None = None
) -> ModelSpec:
    """Read what a semantic or lamella model of CryoSiam is, and that its weights are all there.

    Parameters
    ----------
    checkpoint : str or Path
        The ``.ckpt`` file.
    distances : bool
        Whether the distance head is built and run too. Its channels follow those of the classes,
        see `split_outputs`; blending of patches knows classes only, and refuses them.
    labels : mapping of str to int or None
        Channel of each class by name; without it they are ``class-1``, ``class-2``, and
        ``foreground`` where the model has one channel.

    Returns
    -------
    spec : ModelSpec
        With the patch of the training. The network itself clips and scales intensities as its
        training did (``params["intensity"]``, see `with_intensity`), so that normalization is
        ``none``. ``params["activation"]`` is ``sigmoid`` where the checkpoint has one channel.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ModelError
        If the file is damaged, unsafe or another model, if a weight that is used is missing or of
        another size, or if there is no distance head where one was asked for.

    Notes
    -----
    A file that has not changed since is not read again.
    """
    path = Path(checkpoint).expanduser().absolute()
    chosen = None if labels is None else tuple(labels.items())
    return _read_once(path, "semantic", distances, chosen, _stamp(path))


def read_cryosiam_denoiser(checkpoint: str | Path) -> ModelSpec:
    """Read what a denoiser of CryoSiam is, and that its weights are all there.

    Parameters
    ----------
    checkpoint : str or Path
        The ``.ckpt`` file.

    Returns
    -------
    spec : ModelSpec
        Its network gives two channels: zeros, and the denoised intensity. It takes a tomogram that
        was inverted and scaled from its percentiles 0.1 and 99.9 to 0…1, which is not done here:
        both are of the whole volume.

    Raises
    ------
    MissingFileError, ModelError
        As in `read_cryosiam_spec`.

    Notes
    -----
    The layers of the head between those with weights are taken for rectifiers, and none follows
    the last one; no checkpoint of CryoSiam was there to compare with.
    """
    path = Path(checkpoint).expanduser().absolute()
    return _read_once(path, "denoiser", False, None, _stamp(path))


def read_cryosiam_weights(path: Path, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Read the weights that a network needs, by name, in float32; the others are dropped.

    Parameters
    ----------
    path : Path
        The ``.ckpt`` file.
    spec : ModelSpec
        What `read_cryosiam_spec` or `read_cryosiam_denoiser` said.

    Raises
    ------
    MissingFileError, ModelError
        If the file cannot be read, or a weight is missing, of another size or not finite.
    """
    opened = open_checkpoint(path)
    due = due_shapes(spec)
    _check_fit(due, opened)
    needed = {name: opened.state[name] for name in due}
    return finite_floats(needed, path, name_in_file=full_name)


def with_intensity(
    spec: ModelSpec, *, minimum: float, maximum: float, mean: float, deviation: float
) -> ModelSpec:
    """Return a model that scales intensities otherwise than its training did.

    Parameters
    ----------
    spec : ModelSpec
        A model of CryoSiam.
    minimum, maximum : float
        Become 0 and 1; what is outside is clipped.
    mean, deviation : float
        Subtracted after that, and divided by.

    Raises
    ------
    ModelError
        If they are no numbers, or the range or the deviation is not positive.
    """
    found = {"min": minimum, "max": maximum, "mean": mean, "std": deviation}
    check_intensity(found, "the intensity step")
    return replace(spec, params={**spec.params, "intensity": [float(v) for v in found.values()]})


def split_outputs(
    spec: ModelSpec, outputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Part the outputs of a network into those of its heads.

    Parameters
    ----------
    spec : ModelSpec
        From `read_cryosiam_spec`.
    outputs : tensor, (b, channels, z, y, x)
        What the loaded model gave.

    Returns
    -------
    logits : tensor, (b, classes, z, y, x)
        By class, the background included.
    distances : tensor, (b, c, z, y, x), or None
        As the head gives them, one per channel of the checkpoint; None if not asked for.
    """
    has_distances = outputs.shape[1] > spec.num_classes
    return outputs[:, : spec.num_classes], (
        outputs[:, spec.num_classes :] if has_distances else None
    )


def activate(spec: ModelSpec, logits: torch.Tensor) -> torch.Tensor:
    """Turn logits into the probabilities that CryoSiam gives: with its number of channels.

    Parameters
    ----------
    spec : ModelSpec
        From `read_cryosiam_spec` or `read_cryosiam_denoiser`.
    logits : tensor of float32, (b, classes, z, y, x)
        From `split_outputs`.

    Returns
    -------
    probabilities : tensor of float32, (b, c, z, y, x)
        One channel, the foreground, where the checkpoint has one; else one per class. Of a
        denoiser the intensity, as it is.
    """
    if spec.architecture == DENOISER:
        return logits[:, 1:]
    if spec.params["activation"] == "sigmoid":
        return torch.sigmoid(logits[:, 1:])
    return torch.softmax(logits, dim=1)


def _stamp(path: Path) -> tuple[int, ...]:
    return stamp_file(path) if path.is_file() else ()


@lru_cache(maxsize=16)
def _read_once(
    path: Path,
    kind: Kind,
    distances: bool,  # the key of the cache
    labels: tuple[tuple[str, int], ...] | None,
    stamp: tuple[int, ...],
) -> ModelSpec:
    """What a model is; the stamp tells its file from one that was there before."""
    opened = open_checkpoint(path)
    if opened.kind != kind:
        given, due = ("intensities", "a semantic or lamella model, or use volproc denoise")
        if kind == "denoiser":
            given, due = ("classes", "a denoiser")
        msg = f"{path} is a {opened.kind} model of CryoSiam and gives {given}. Give {due}."
        raise ModelError(msg)
    params = _read_backbone(opened) | {"intensity": read_intensity(opened)}
    head = "semantic_head" if kind == "semantic" else "cnn_head"
    params |= _read_head(opened, head)
    num_channels = _num_channels(opened, head, len(params["head_widths"]))
    classes: tuple[str, ...] = ("background", "intensity")
    if kind == "semantic":
        params["heads"] = ["semantic", "distance"] if distances else ["semantic"]
        params["activation"] = "sigmoid" if num_channels == 1 else "softmax"
        classes = _name_classes(num_channels, labels, path)
        _check_distances(opened, distances=distances)
    spec = ModelSpec(
        architecture=SEMANTIC if kind == "semantic" else DENOISER,
        weights=str(path),
        patch=read_patch(opened),
        classes=classes,
        params=params,
        sha256=hash_file(path),
        channels=int(opened.weight("encoder.conv1.weight").shape[1]),
        normalization="none",
    )
    _check_fit(due_shapes(spec), opened)
    _warn(spec)
    return spec


def _read_backbone(opened: Checkpoint) -> dict[str, Any]:
    """Say what encoder, pyramid and projector are, from the settings that the tensors cannot."""
    network = "parameters.network"
    decoder = look_up(opened.backbone, f"{network}.decoder_type", "fpn")
    if decoder != "fpn":
        msg = (
            f"{opened.path} has a decoder of type {decoder} (BiFPN), which volproc does not have. "
            "Use a model with decoder_type fpn, as the published ones are."
        )
        raise ModelError(msg)
    block_type = look_up(opened.backbone, f"{network}.block_type")
    no_max_pool = look_up(opened.backbone, f"{network}.no_max_pool")
    if block_type not in EXPANSION or not isinstance(no_max_pool, bool):
        key, value, due = "no_max_pool", no_max_pool, "true or false"
        if block_type not in EXPANSION:
            key, value, due = "block_type", block_type, " or ".join(EXPANSION)
        got = "is missing" if value is None else f"is {str(value)[:80]}"
        msg = (
            f"backbone_config.{network}.{key} in {opened.path} {got}; {due} is due, which the "
            f"weights do not say. {GET}."
        )
        raise ModelError(msg)
    flags = ("add_fpn_later_conv", "add_later_conv")
    is_asked = any(look_up(opened.backbone, f"{network}.{flag}") for flag in flags)
    return {
        "block_type": block_type,
        "num_layers": read_counts(opened, "num_layers", 4),
        "num_filters": read_counts(opened, "num_filters", 4),
        "fpn_channels": read_counts(opened, "fpn_channels"),
        "max_pool": not no_max_pool,
        "later_conv": is_asked or any(n.startswith("decoder.later_conv") for n in opened.state),
        "projector": [int(opened.weight(name).shape[0]) for name in PROJECTOR],
    }


def _read_head(opened: Checkpoint, head: str) -> dict[str, Any]:
    """Say what a head is from its tensors: CryoSiam's settings of it were not always honoured."""
    numbers = [n.split(".")[1] for n in opened.state if n.startswith(f"{head}.")]
    layers = [int(number) for number in numbers if number.isdecimal()] or [0]
    weights = [opened.weight(f"{head}.{i}.weight") for i in range(0, max(layers) + 1, 3)]
    kernels = [tuple(weight.shape[2:]) for weight in weights]
    padding = look_up(opened.task, "parameters.network.padding")
    if max(layers) % 3 or any(k[0] % 2 == 0 or len(set(k)) > 1 for k in kernels):
        msg = (
            f"{HEADS}{head} in {opened.path} has layers up to {max(layers)} with "
            f"kernels {kernels}; convolutions with odd, cubic kernels are due at 0, 3, 6. {GET}."
        )
        raise ModelError(msg)
    if isinstance(padding, int) and any(k[0] // 2 != padding for k in kernels[:-1]):
        msg = (
            f"{HEADS}{head} in {opened.path} was trained with padding {padding} and "
            f"kernels {[k[0] for k in kernels]}, so that its output has another size than its "
            "input. Train it with a padding of half the kernel."
        )
        raise ModelError(msg)
    return {
        "head_widths": [int(weight.shape[0]) for weight in weights[:-1]],
        "head_kernels": [int(kernel[0]) for kernel in kernels],
    }


def _num_channels(opened: Checkpoint, head: str, depth: int) -> int:
    """Return how many channels the head gives, and refuse settings that say otherwise."""
    found = int(opened.weight(f"{head}.{3 * depth}.weight").shape[0])
    said = look_up(opened.task, "parameters.network.out_channels", found)
    due = found if head == "semantic_head" else 1
    if found != due or (head == "semantic_head" and said != found):
        msg = (
            f"{HEADS}{head} in {opened.path} gives {found} channels, and "
            f"{said if head == 'semantic_head' else 1} are due. {GET}."
        )
        raise ModelError(msg)
    return found


def _name_classes(
    num_channels: int, labels: tuple[tuple[str, int], ...] | None, path: Path
) -> tuple[str, ...]:
    if labels is not None:
        return name_channels(dict(labels), max(num_channels, 2), path)
    if num_channels == 1:
        return ("background", "foreground")
    return ("background", *(f"class-{i}" for i in range(1, num_channels)))


def _check_distances(opened: Checkpoint, *, distances: bool) -> None:
    if distances and not any(name.startswith("distance_head.") for name in opened.state):
        msg = (
            f"{opened.path} has no distance head: it was trained without distance_prediction. "
            "Do not ask for distances."
        )
        raise ModelError(msg)


def _check_fit(due: Mapping[str, torch.Size], opened: Checkpoint) -> None:
    """Refuse weights that are missing, of other sizes, or of a larger network than described."""
    state = opened.state
    used = {_branch(name) for name in due}
    spare = ("encoder.fc.", *(f"decoder.later_conv{i}." for i in (1, 2, 3)))
    missing = [full_name(name) for name in due if name not in state]
    surplus = [
        full_name(name)
        for name in state
        if name not in due and _branch(name) in used and not name.startswith(spare)
    ]
    other = [
        f"{full_name(name)} has {tuple(state[name].shape)} instead of {tuple(shape)}"
        for name, shape in due.items()
        if name in state and state[name].shape != shape
    ]
    found = [
        f"{len(names)} {what} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
        for names, what in (
            (missing, "weights are missing"),
            (surplus, "are not of this network"),
            (other, "have another size"),
        )
        if names
    ]
    if found:
        msg = (
            f"{opened.path} does not hold the weights of the network that its hyper_parameters "
            f"describe: {'; '.join(found)}. {GET}; get the original."
        )
        raise ModelError(msg)


def _branch(name: str) -> str:
    return name.partition(".")[0]


def _warn(spec: ModelSpec) -> None:
    """Say of which networks nobody could compare the numbers with CryoSiam's."""
    for key, what in (("later_conv", "add_fpn_later_conv"), ("max_pool", "no_max_pool: false")):
        if spec.params[key]:
            logger.warning(
                "%s has %s, which no published model has: how CryoSiam computes it was taken from "
                "its description and never compared. Compare one prediction with CryoSiam's.",
                spec.weights,
                what,
            )
