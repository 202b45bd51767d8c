"""Which device a network runs on, and at which precision."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from volproc.core.errors import ModelError


def choose_device(wanted: str = "auto") -> torch.device:
    """Turn a wish into a device that is there.

    Parameters
    ----------
    wanted : str
        ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or ``cuda:1`` and so on.

    Raises
    ------
    ModelError
        If the device does not exist here, or the text names none.
    """
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        msg = f'"{wanted}" is not a device for networks. Use auto, cpu, cuda or cuda:N.'
        raise ModelError(msg)
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        msg = (
            f'the device "{wanted}" was asked for, but PyTorch {torch.__version__} finds {count} '
            "CUDA devices. Use cpu or auto, or install a PyTorch that matches the GPU's driver."
        )
        raise ModelError(msg)
    return device


def device_bytes(device: torch.device) -> int | None:
    """Memory of a GPU, bytes; None for the CPU.

    What is free at this moment is not asked for: that would start CUDA in a process that only
    plans, and take some of it.
    """
    if device.type != "cuda":
        return None
    return int(torch.cuda.get_device_properties(device).total_memory)


def choose_precision(device: torch.device) -> torch.dtype:
    """Return the type of numbers that a network computes with on a device.

    float32 on the CPU; on CUDA bfloat16, or float16 where the GPU has no bfloat16.
    """
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def precision_context(device: torch.device, precision: torch.dtype) -> AbstractContextManager[None]:
    """Context in which a forward pass runs at a precision.

    Parameters
    ----------
    device : torch.device
        Where the network is.
    precision : torch.dtype
        What `choose_precision` gave.
    """
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=precision)


def place_network(network: torch.nn.Module, device: torch.device) -> torch.nn.Module:
    """Move a network to a device, in the memory order that is fastest there."""
    return order_channels_last(network.to(device)) if device.type == "cuda" else network.to(device)


def order_channels_last(network: torch.nn.Module) -> torch.nn.Module:
    """Lay the weights out with channels last, as tensor cores want them."""
    # torch's annotations of Module.to leave memory_format out
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def make_deterministic() -> None:
    """Make equal input give equal bits on a GPU: no autotuning, no atomic adds, no TF32."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch says that memory is short, on a GPU or in the host."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate" in str(error)
    )


def release_memory() -> None:
    """Give back what torch keeps of a GPU's memory for later."""
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
