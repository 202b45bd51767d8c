"""Networks of MONAI, built so that their output is one map of logits."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from volproc.core.errors import ModelError
from volproc.models.monai_import import import_monai
from volproc.models.weights import first_lines


def finest_output(output: Any, batch: torch.Tensor) -> Any:
    """Pick the logits of full size from what a network with heads at coarser levels gives.

    Parameters
    ----------
    output : tensor or sequence of tensors
        Logits, a list of logits with the finest first, or such a list stacked along axis 1.
    batch : tensor, (b, c, z, y, x)
        What went in.
    """
    if isinstance(output, list | tuple):
        return output[0]
    return output[:, 0] if output.ndim == batch.ndim + 1 else output


def _keep_finest(network: nn.Module, inputs: tuple[torch.Tensor, ...], output: Any) -> Any:
    """Hook: outside of training one map of logits comes out; losses take all of them."""
    return output if network.training else finest_output(output, inputs[0])


def build_monai(name: str, **arguments: Any) -> nn.Module:
    """Build one of MONAI's networks with fresh weights.

    Parameters
    ----------
    name : str
        Its class in ``monai.networks.nets``.
    **arguments
        What it takes; they are not changed.

    Returns
    -------
    network : torch.nn.Module
        Outside of training it gives one map of logits, also with heads at coarser levels.

    Raises
    ------
    ModelError
        If there is no such network in this MONAI, or the arguments do not fit.
    """
    nets = import_monai("monai.networks.nets")
    with warnings.catch_warnings():
        # MONAI warns of its own deprecated arguments; that says nothing about this model.
        warnings.simplefilter("ignore")
        try:
            factory: Callable[..., nn.Module] = getattr(nets, name)
            # MONAI adds defaults to the arguments of layers that it is given.
            network = factory(**copy.deepcopy(arguments))
        except (
            TypeError,
            ValueError,
            LookupError,
            AssertionError,
            AttributeError,
            ArithmeticError,
            RuntimeError,
        ) as error:
            shown = {k: v for k, v in arguments.items() if k != "spatial_dims"}
            msg = (
                f"MONAI's {name} cannot be built with {shown}: {first_lines(error)}. Correct the "
                "model block of its configuration."
            )
            raise ModelError(msg) from error
    network.register_forward_hook(_keep_finest)
    return network


class NumbersOnCpu(TorchFunctionMode):
    """Context for SwinUNETR on the meta device: MONAI reads out the drop rates of its blocks."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one function."""
        given = dict(kwargs or {})
        if func is torch.linspace:
            given["device"] = "cpu"
        return func(*args, **given)
