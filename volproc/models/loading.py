"""Model files: one file with the description and the weights, loaded once per process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import resources
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import nn

from volproc.core.errors import MissingFileError, ModelError, nearest
from volproc.core.model import ModelSpec
from volproc.models.cryosiam import CRYOSIAM, read_cryosiam_spec, read_cryosiam_weights
from volproc.models.cryosiam import SUFFIX as CRYOSIAM_SUFFIX
from volproc.models.devices import (
    choose_device,
    choose_precision,
    make_deterministic,
    place_network,
    precision_context,
)
from volproc.models.networks import build, check_patch
from volproc.models.octopi import find_octopi_model, read_octopi_spec, read_octopi_weights
from volproc.models.trusted import (
    TRUSTED,
    check_output,
    describing,
    find_kind,
    load_trusted,
    read_description,
    refuse_untrusted,
)
from volproc.models.weights import (
    build_arguments,
    check_state,
    describe_content,
    due_shapes,
    first_lines,
    hash_file,
    load_safely,
    save_whole,
    stamp_file,
)

KEY = "volproc_model"
VERSION = 1
EMBEDDED = ("phantom-unet",)
"""Names of the weights that come with the package."""

DEFAULT_MODEL = EMBEDDED[0]


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A network with its weights, ready on one device.

    Calling it maps a batch (b, c, z, y, x) on that device to float32 logits
    (b, classes, z, y, x), without gradients. The result depends on weights and batch alone.
    """

    network: nn.Module
    """The network, in evaluation mode."""

    spec: ModelSpec
    """What it is."""

    device: torch.device
    """Where it is."""

    precision: torch.dtype
    """What it computes with."""

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        """Run one forward pass."""
        with torch.no_grad(), precision_context(self.device, self.precision):
            logits = self.network(batch)
        if self.spec.architecture in TRUSTED:
            logits = check_output(logits, batch, self.spec)
        return logits.float()


def save_model(path: str | Path, spec: ModelSpec, state_dict: Mapping[str, torch.Tensor]) -> str:
    """Write one model file; it appears under its name only when it is whole.

    Parameters
    ----------
    path : str or Path
        File to write; what is there is replaced.
    spec : ModelSpec
        Description; its ``weights`` and ``sha256`` are not stored, the file speaks for itself.
    state_dict : mapping of str to tensor
        Weights, float32 or float16.

    Returns
    -------
    sha256 : str
        Hash of the file.
    """
    values = replace(spec, weights="", sha256="", config="").to_json()
    state = {k: v.detach().cpu().contiguous() for k, v in state_dict.items()}
    return save_whole(path, {KEY: VERSION, "spec": values, "state_dict": state})


def read_spec(
    address: str | Path, *, trust_model: bool = False, labels: Mapping[str, int] | None = None
) -> ModelSpec:
    """Read what a model is, without building it.

    Parameters
    ----------
    address : str or Path
        A model file, or the name of embedded weights: ``phantom-unet``. Or a model of Octopi: the
        folder of its two files, or one of them with the other beside it. Or a checkpoint of
        CryoSiam, ``.ckpt``.
    trust_model : bool
        Also take a TorchScript program or a pickled network, described by ``<file>.json``. Loading
        one runs whatever its author put in.
    labels : mapping of str to int or None
        Channel of each class by name, for a model of Octopi or CryoSiam that does not say them.

    Returns
    -------
    spec : ModelSpec
        With the absolute path in ``weights`` and the file's hash in ``sha256``.

    Raises
    ------
    MissingFileError
        If there is no such file or name.
    ModelError
        If the file is not a model of volproc, or one of others that is not trusted or not
        described.

    Notes
    -----
    A file that has not changed since is not read again: many small volumes ask for one model.
    """
    pair = find_octopi_model(Path(address).expanduser()) if str(address) not in EMBEDDED else None
    if pair and not (trust_model and describing(pair[1]).exists()) and not _is_own(pair[1]):
        return read_octopi_spec(*pair, labels=labels)
    if _is_cryosiam(Path(address).expanduser(), trust_model=trust_model):
        return read_cryosiam_spec(address, labels=labels)
    if labels is not None:
        msg = (
            f"{address} names its classes itself, and labels were given too. Give labels with a "
            "model of Octopi or CryoSiam only."
        )
        raise ModelError(msg)
    path = _resolve(str(pair[1] if pair else address))
    kind = find_kind(path) if trust_model else ""
    if kind and not _is_own(path):
        return replace(read_description(path, kind), weights=str(path), sha256=hash_file(path))
    return _read_spec_once(path, stamp_file(path))


@lru_cache(maxsize=16)
def _read_spec_once(path: Path, stamp: tuple[int, ...]) -> ModelSpec:
    """What a model of volproc is; the stamp tells its file from one that was there before."""
    content = _load(path)
    spec = replace(ModelSpec.from_json(content["spec"]), weights=str(path), sha256=hash_file(path))
    if spec.architecture in TRUSTED:
        msg = (
            f"{path} calls itself {spec.architecture}, but holds weights of a model of volproc. "
            "It was made by hand; get the original."
        )
        raise ModelError(msg)
    _check_fit(spec, content["state_dict"], path)
    return spec


def read_weights(address: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights of a model file alone, by name, in float32.

    Parameters
    ----------
    address : str or Path
        As in `read_spec`.

    Raises
    ------
    MissingFileError, ModelError
        As in `read_spec`.
    """
    state = _load(_resolve(str(address)))["state_dict"]
    return {name: value.float() for name, value in state.items()}


def load_model(
    spec: ModelSpec, device: str | torch.device = "auto", *, precision: torch.dtype | None = None
) -> LoadedModel:
    """Load a model, once per description and device in a process.

    Parameters
    ----------
    spec : ModelSpec
        From `read_spec`.
    device : str or torch.device
        See `volproc.models.devices.choose_device`.
    precision : torch.dtype or None
        What it computes with; by default what suits the device, which is less than float32 on
        most GPUs.

    Returns
    -------
    model : LoadedModel
        With the same network for the same description and device.

    Raises
    ------
    ModelError
        If the file is no model, has another hash than the description says, or has weights that
        do not fit the architecture.

    Notes
    -----
    At most 16 models are kept, as those of an ensemble are; the one that was not used for longest
    is dropped.
    """
    chosen = choose_device(str(device))
    with _LOCK:  # two threads of a worker must not load the same model at once
        model = _load_once(spec.fingerprint(), str(chosen), _Uncompared(spec))
    return model if precision in (None, model.precision) else replace(model, precision=precision)


_LOCK = Lock()


class _Uncompared:
    """A description that the cache does not look at: its fingerprint is the key."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Uncompared)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=16)
def _load_once(fingerprint: str, device: str, uncompared: _Uncompared) -> LoadedModel:
    spec = uncompared.spec
    path = _resolve(spec.weights)
    digest = hash_file(path)
    if spec.sha256 and digest != spec.sha256:
        msg = (
            f"{path} is not the model file that was described: its sha256 is {digest[:16]}…, "
            f"expected {spec.sha256[:16]}…. Use the original file, or describe this one anew."
        )
        raise ModelError(msg)
    params = build_arguments(spec)
    check_patch(spec.architecture, params, spec.patch)
    if spec.architecture in TRUSTED:
        network = load_trusted(replace(spec, weights=str(path)))
    else:
        network = build(spec.architecture, **params).eval().requires_grad_(False)
        try:
            network.load_state_dict(_read_state(path, spec), strict=True)
        except RuntimeError as error:
            msg = (
                f"the weights in {path} do not fit {spec.architecture} with {params}: "
                f"{first_lines(error)}. Use the description stored in the file (read_spec)."
            )
            raise ModelError(msg) from error
    make_deterministic()
    chosen = torch.device(device)
    return LoadedModel(place_network(network, chosen), spec, chosen, choose_precision(chosen))


def _read_state(path: Path, spec: ModelSpec) -> dict[str, torch.Tensor]:
    """Read the weights from a file of any of the programs whose models are known."""
    if spec.config:
        return read_octopi_weights(path)
    if spec.architecture in CRYOSIAM and not _is_own(path):
        return read_cryosiam_weights(path, spec)
    return read_weights(path)


def _is_cryosiam(path: Path, *, trust_model: bool) -> bool:
    """Whether a file is a checkpoint of CryoSiam, or at least nothing else that is known."""
    if path.suffix != CRYOSIAM_SUFFIX or not path.is_file():
        return False
    return not (trust_model and describing(path).exists()) and not _is_own(path)


def _check_fit(spec: ModelSpec, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse a description whose network is not that of its weights, before it is built."""
    due = due_shapes(spec)
    wrong = [name for name, shape in due.items() if name not in state or state[name].shape != shape]
    if wrong:
        needed = sum(shape.numel() for shape in due.values())
        held = sum(value.numel() for value in state.values())
        msg = (
            f"{path} describes a network of {needed:,} weights, and holds {held:,}: {wrong[0]} is "
            "missing or of another size. It is damaged or was made by hand; get the original."
        )
        raise ModelError(msg)


def _is_own(path: Path) -> bool:
    """Whether a file is a model of volproc, whatever else it could be taken for."""
    return _is_own_once(path, stamp_file(path))


@lru_cache(maxsize=16)
def _is_own_once(path: Path, stamp: tuple[int, ...]) -> bool:
    try:
        _load(path)
    except ModelError:
        return False
    return True


def check_channels(spec: ModelSpec, channels: int) -> None:
    """Refuse an input with another number of channels than the model was trained on.

    Raises
    ------
    ModelError
        With both numbers.
    """
    if spec.channels != channels:
        msg = (
            f"the model takes {spec.channels} input channels, the volume has {channels}. "
            "Select channels when opening the volume, or use another model."
        )
        raise ModelError(msg)


def _resolve(address: str) -> Path:
    if address in EMBEDDED:
        return Path(str(resources.files("volproc.models") / "weights" / f"{address}.pt"))
    path = Path(address).expanduser().absolute()
    if not path.is_file():
        hint = nearest(address, EMBEDDED)
        msg = f"there is no model file {path}. Give a path, or the name of embedded weights: {hint}"
        raise MissingFileError(msg)
    return path


def _load(path: Path) -> dict[str, Any]:
    def refuse(why: str, error: Exception) -> ModelError:
        if kind := find_kind(path):
            return refuse_untrusted(path, kind)
        return ModelError(
            f"{path} is not a model file of volproc: {why}. Make one with `volproc train semantic`."
        )

    content = load_safely(path, refuse)
    if not isinstance(content, dict) or not {KEY, "spec", "state_dict"} <= set(content):
        msg = (
            f"{path} holds {describe_content(content)}, not a model of volproc. "
            "Make one with `volproc train semantic`, or save_model."
        )
        raise ModelError(msg)
    if content[KEY] != VERSION:
        msg = (
            f"{path} is a model file of version {content[KEY]}, this volproc reads version "
            f"{VERSION}. Install the volproc that wrote it, or train again."
        )
        raise ModelError(msg)
    check_state(content["state_dict"], path)
    return content
