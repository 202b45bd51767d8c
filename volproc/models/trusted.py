"""Models of others: programs and pickles, which run what their author put in when loaded.

Such a file holds a whole network and says nothing of patches and classes; that stands in a JSON
file beside it, ``net.pt.json``::

    {"patch": [64, 96, 96], "classes": ["background", "ribosome"], "multiple": [16, 16, 16]}
"""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from volproc.core.errors import ModelError, nearest
from volproc.core.model import ModelSpec
from volproc.core.types import ZYX
from volproc.models.networks import register

Kind = Literal["", "torchscript", "pickled"]
"""What a file is beside a table of weights; empty where it is none of these."""

TRUSTED = ("torchscript", "pickled")
"""Architectures that are loaded from their files, and not built."""

MOST_DESCRIPTION_BYTES = 2**20
"""A longer description is taken for another file."""


def find_kind(path: Path) -> Kind:
    """Tell what a model file is from its names and first bytes; nothing in it is run."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = {name.partition("/")[2] for name in archive.namelist()}
        if "constants.pkl" in inside or any(name.startswith("code/") for name in inside):
            return "torchscript"
        return "pickled" if "data.pkl" in inside else ""
    with path.open("rb") as file:
        head = file.read(2)
    # A pickle of protocol 2 or later, as PyTorch wrote it before it wrote archives.
    return "pickled" if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04") else ""


def refuse_untrusted(path: Path, kind: Kind) -> ModelError:
    """Error for a file that is not loaded unless somebody says so."""
    what = "a TorchScript program" if kind == "torchscript" else "a pickle of Python objects"
    return ModelError(
        f"{path} is {what}, not a table of weights: loading it runs whatever its author put in. "
        f"If you trust the author, describe it in {describing(path).name} beside it and allow it "
        "with --trust-model (trust_model=True); else use a model of `volproc train semantic`."
    )


def describing(path: Path) -> Path:
    """File that describes a model of others.

    >>> describing(Path("models/net.pt")).as_posix()
    'models/net.pt.json'
    """
    return path.with_name(f"{path.name}.json")


def read_description(path: Path, kind: Kind) -> ModelSpec:
    """Read what a model of others is, from the JSON file beside it.

    Parameters
    ----------
    path : Path
        The model file.
    kind : str
        What it is.

    Returns
    -------
    spec : ModelSpec
        Its ``params`` hold ``multiple``, what each side of a patch must be a multiple of.

    Raises
    ------
    ModelError
        If the description is missing, no JSON object, or lacks ``patch`` or ``classes``.
    """
    beside = describing(path)
    known = {f.name for f in fields(ModelSpec)} - {"architecture", "params", "weights", "sha256"}
    example = '{"patch": [64, 96, 96], "classes": ["background", "ribosome"]}'
    try:
        if beside.stat().st_size > MOST_DESCRIPTION_BYTES:
            msg = f"{beside.stat().st_size} bytes"
            raise ValueError(msg)
        values = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        msg = (
            f"{path} is described by no file: {beside} is missing. Write it as {example}; "
            f"further keys are {', '.join(sorted(known - {'patch', 'classes'}))} and multiple."
        )
        raise ModelError(msg) from None
    except (ValueError, RecursionError) as error:
        msg = f"{beside} is no JSON file ({error}). Write it as {example}."
        raise ModelError(msg) from error
    if not isinstance(values, dict) or not {"patch", "classes"} <= set(values):
        msg = f"{beside} lacks patch or classes. Write it as {example}."
        raise ModelError(msg)
    unknown = sorted(set(values) - known - {"multiple"})
    if unknown:
        msg = f'{beside} has an unknown key "{unknown[0]}", {nearest(unknown[0], known)}'
        raise ModelError(msg)
    multiple = values.pop("multiple", [1, 1, 1])
    if not (
        isinstance(multiple, list)
        and len(multiple) == 3
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in multiple)
    ):
        msg = f"multiple in {beside} is three whole numbers (z, y, x), got {multiple!r}."
        raise ModelError(msg)
    whole = {**values, "architecture": kind, "params": {"multiple": multiple}, "weights": ""}
    return ModelSpec.from_json(whole)


def load_trusted(spec: ModelSpec) -> nn.Module:
    """Load a network of others on the CPU; this runs what its author put in.

    Raises
    ------
    ModelError
        If the file holds no network, or cannot be loaded.
    """
    try:
        with warnings.catch_warnings():
            # TorchScript is deprecated, which its files do not know.
            warnings.simplefilter("ignore")
            if spec.architecture == "torchscript":
                network: Any = torch.jit.load(spec.weights, map_location="cpu")
            else:
                network = torch.load(spec.weights, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise anything
        msg = (
            f"{spec.weights} cannot be loaded ({type(error).__name__}: {error}). The classes of a "
            "pickled network must be importable here and on every worker."
        )
        raise ModelError(msg) from error
    if not isinstance(network, nn.Module):
        msg = (
            f"{spec.weights} holds a {type(network).__name__}, not a network. Save the whole "
            "network: torch.save(network, path), or torch.jit.script(network).save(path)."
        )
        raise ModelError(msg)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network.eval()


def check_output(logits: object, batch: torch.Tensor, spec: ModelSpec) -> torch.Tensor:
    """Refuse what is no map of logits of the batch's size.

    Raises
    ------
    ModelError
        With both shapes.
    """
    due = (batch.shape[0], spec.num_classes, *batch.shape[2:])
    if not isinstance(logits, torch.Tensor) or tuple(logits.shape) != due:
        got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        msg = (
            f"{spec.weights} gives {got} for a batch of {tuple(batch.shape)}, logits of shape "
            f"{due} are due. Correct patch, classes and multiple in its description."
        )
        raise ModelError(msg)
    return logits


class Convolutions(TorchDispatchMode):
    """Context that reports each convolution: also those inside of programs, which take no hooks.

    Parameters
    ----------
    record : callable
        Takes input, output, kernel size and whether the convolution is a transposed one.

    Notes
    -----
    Without `torch.no_grad`, PyTorch calls convolutions by other names. Loads its compiler.
    """

    def __init__(
        self, record: Callable[[torch.Tensor, torch.Tensor, tuple[int, ...], bool], None]
    ) -> None:
        super().__init__()
        self._record = record

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation, and report it if it is a convolution."""
        given = function(*args, **(kwargs or {}))
        if function is torch.ops.aten.convolution.default:
            self._record(args[0], given, tuple(args[1].shape[2:]), bool(args[6]))
        return given


def _multiple(params: Mapping[str, Any]) -> ZYX[int]:
    z, y, x = params["multiple"]
    return z, y, x


def _from_its_file(**params: Any) -> nn.Module:
    """Refuse to build what comes whole from its file."""
    msg = (
        "a network of others is loaded from its file and cannot be built anew. Train one of "
        "volproc's own architectures: `volproc train semantic`."
    )
    raise ModelError(msg)


for _name in TRUSTED:
    register(_name, multiple=_multiple)(_from_its_file)
