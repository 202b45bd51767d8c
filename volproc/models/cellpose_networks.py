"""Cellpose's networks: built-in ones, files of any width, and the one that comes with volproc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from cellpose import models
from cellpose.resnet_torch import CPnet

from volproc.core.errors import MissingFileError, ModelError, nearest
from volproc.models.weights import load_safely

EMBEDDED_CELLS = ("phantom-nuclei",)
"""Names of the weights that come with the package."""

STYLES = 256
"""Length of the style vector that Cellpose expects of every network."""


class AnyWidthCPnet(CPnet):
    """Cellpose's network with levels of any width.

    Cellpose keeps style vectors in an array of 256 columns: a narrower one is filled up with
    zeros, and nothing else changes.
    """

    def forward(self, data: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        """Flows and cell probability (b, 3, y, x), the style, and the levels."""
        outputs, style, levels = super().forward(data)
        padding = max(STYLES - style.shape[1], 0)
        return outputs, torch.nn.functional.pad(style, (0, padding)), levels


class AnyWidthModel(models.CellposeModel):
    """`cellpose.models.CellposeModel` around a network whose widths its weights tell."""

    def __init__(self, state: Mapping[str, Any], device: torch.device, name: str) -> None:
        widths = network_widths(state)
        mean = float(state["diam_mean"])
        self.device = device
        self.gpu = device.type != "cpu"
        self.mkldnn = False
        self.nchan = widths[0]
        self.nclasses = 3
        self.nbase = list(widths)
        self.pretrained_model = name
        self.net_ortho = None
        self.net_type = "cellpose_default"
        self.net = AnyWidthCPnet(self.nbase, self.nclasses, sz=3, max_pool=True, diam_mean=mean)
        self.net.load_state_dict(state)
        self.net.to(device).eval()
        self.diam_mean = mean
        self.diam_labels = float(state["diam_labels"])


def network_widths(state: Mapping[str, Any]) -> tuple[int, ...]:
    """Channels of the input and of the levels of a network, from its weights.

    Raises
    ------
    KeyError
        If they are not those of a network of Cellpose 2 or 3.
    """
    first = state["downsample.down.res_down_0.conv.conv_0.2.weight"]
    levels: list[int] = []
    while (key := f"downsample.down.res_down_{len(levels)}.conv.conv_0.2.weight") in state:
        levels.append(int(state[key].shape[0]))
    return (int(first.shape[1]), *levels)


def load_cellpose(address: str | Path, device: torch.device) -> models.CellposeModel:
    """Load a network of Cellpose 3 for whole slices.

    Parameters
    ----------
    address : str or Path
        A name of `EMBEDDED_CELLS`, a built-in name of Cellpose such as "cyto3", or a file of
        weights as Cellpose's training leaves it, of any width.
    device : torch.device
        Where it runs.

    Returns
    -------
    model : cellpose.models.CellposeModel
        Ready for `eval`.

    Raises
    ------
    MissingFileError
        If there is neither such a file nor such a name, or a built-in model is not on this
        machine and cannot be fetched.
    ModelError
        If a file holds no such network.

    Notes
    -----
    Weights are read by themselves, without running what a file might hold. Built-in models are
    fetched by Cellpose itself into its own folder, ``CELLPOSE_LOCAL_MODELS_PATH`` or
    ``~/.cellpose/models``.
    """
    name = os.fspath(address)
    if name in EMBEDDED_CELLS:
        path = Path(str(resources.files("volproc.models") / "weights" / f"{name}.pt"))
        return _from_file(path, device)
    if Path(name).is_file():
        return _from_file(Path(name), device)
    if name in models.MODEL_NAMES:
        return _built_in(name, device)
    known = (*EMBEDDED_CELLS, *models.MODEL_NAMES)
    msg = f'"{name}" is neither a file nor a model of Cellpose: {nearest(name, known)}'
    raise MissingFileError(msg)


def where_fetched(name: str) -> Path:
    """File in which Cellpose keeps a built-in model, there or not."""
    suffix = "torch_0" if name in ("cyto", "cyto2", "nuclei") else ""
    return Path(models.MODEL_DIR) / f"{name}{suffix}"


def _built_in(name: str, device: torch.device) -> models.CellposeModel:
    """Load a model that Cellpose knows by name, and fetches where it is missing."""
    try:
        return models.CellposeModel(gpu=device.type != "cpu", model_type=name, device=device)
    except OSError as error:
        msg = (
            f'the model "{name}" of Cellpose is not on this machine ({where_fetched(name)}), and '
            f"could not be fetched: {error}. Fetch it where there is a network and copy it there, "
            "or give a file of weights."
        )
        raise MissingFileError(msg) from error


def _from_file(path: Path, device: torch.device) -> models.CellposeModel:
    """Load a file of weights, all of them, and no others."""

    def refuse(lines: str, error: Exception) -> ModelError:
        return ModelError(f"{path} is no file of weights that can be read: {lines}")

    state = load_safely(path, refuse)
    if not isinstance(state, dict) or "output.2.weight" not in state:
        msg = f"{path} holds no network of Cellpose 2 or 3. Give a file that its training wrote."
        raise ModelError(msg)
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        msg = f"{path} holds weights that are no numbers. Use those of an earlier epoch."
        raise ModelError(msg)
    try:
        return AnyWidthModel(state, device, str(path))
    except (KeyError, RuntimeError) as error:
        msg = f"{path} does not fit Cellpose's network: {str(error).splitlines()[0]}"
        raise ModelError(msg) from error
