"""Files of tensors: read without running anything in them, written whole or not at all."""

from __future__ import annotations

import os
import pickle
import re
import tempfile
import warnings
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from volproc.core.errors import ModelError
from volproc.core.model import ModelSpec
from volproc.models.networks import build


def load_safely(path: Path, refuse: Callable[[str, Exception], ModelError]) -> Any:
    """Read a file of `torch.save` that holds tensors and plain values only.

    Parameters
    ----------
    path : Path
        The file.
    refuse : callable
        From the first lines of what PyTorch says, and its error, to what is raised instead.

    Returns
    -------
    content : Any
        What was saved, on the CPU.
    """
    try:
        with warnings.catch_warnings():
            # torch warns of odd files before it fails on them; the error says it once.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (
        RuntimeError,
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        AttributeError,
        ValueError,
        OSError,
    ) as error:
        raise refuse(first_lines(error), error) from error


def save_whole(path: str | Path, content: Mapping[str, Any]) -> str:
    """Write tensors and plain values with `torch.save`, under a temporary name first.

    Returns
    -------
    sha256 : str
        Hash of the file.
    """

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            torch.save(content, file)

    return write_whole(path, write)


def write_whole(path: str | Path, write: Callable[[Path], None]) -> str:
    """Let a file appear under its name only when it is whole; what was there is replaced.

    Parameters
    ----------
    path : str or Path
        The name; its folder is made.
    write : callable
        Takes a temporary path in the same folder, and fills it.

    Returns
    -------
    sha256 : str
        Hash of the file.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        digest = hash_file(temporary)
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return digest


def hash_file(path: Path) -> str:
    """Return the sha256 of a file, as hexadecimal digits."""
    digest = sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def stamp_file(path: Path) -> tuple[int, ...]:
    """Return what tells a file from one that was there before under the same name."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def check_state(state: Any, path: Path) -> None:
    """Refuse weights that are no tensors, or that a few bytes say to be many.

    A tensor of any size can be a view of one number, which a change of type would write out.

    Raises
    ------
    ModelError
        With the size of the file.
    """
    size = path.stat().st_size
    is_table = isinstance(state, Mapping) and all(
        isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in state.items()
    )
    if not is_table or any(v.numel() * v.element_size() > size for v in state.values()):
        msg = (
            f"the weights in {path} are not what a file of {size} bytes can hold. It is damaged "
            "or was made by hand; get the original."
        )
        raise ModelError(msg)


def finite_floats(
    state: Mapping[str, torch.Tensor], path: Path, *, name_in_file: Callable[[str], str] = str
) -> dict[str, torch.Tensor]:
    """Return weights in float32, counts as they are; refuse those that are no numbers.

    Parameters
    ----------
    state : mapping of str to tensor
        Weights by name.
    path : Path
        Their file, which errors name.
    name_in_file : callable
        From a name to what the file calls it.

    Raises
    ------
    ModelError
        If a weight is NaN or infinite.
    """
    for name, value in state.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            msg = (
                f"{name_in_file(name)} in {path} is not finite: the training has diverged. Use a "
                "checkpoint of an earlier epoch."
            )
            raise ModelError(msg)
    return {n: v.float() if v.is_floating_point() else v for n, v in state.items()}


def due_shapes(spec: ModelSpec) -> dict[str, torch.Size]:
    """Shapes of the weights that a description asks for, by name; no memory is taken for them.

    A network of 1 TB can be described in a few bytes; on the meta device it takes none.
    """
    with torch.device("meta"):
        network = build(spec.architecture, **build_arguments(spec))
    return {name: value.shape for name, value in network.state_dict().items()}


def build_arguments(spec: ModelSpec) -> dict[str, Any]:
    """Arguments of the builder of a model's architecture."""
    return {"in_channels": spec.channels, "num_classes": spec.num_classes, **spec.params}


def describe_content(content: object) -> str:
    """Say in a few words what a file holds."""
    if isinstance(content, dict):
        return f"a table with keys {', '.join(map(str, list(content)[:5]))}"
    return f"a {type(content).__name__}"


def first_lines(error: Exception) -> str:
    """Shorten what PyTorch says to what fits in a message; its advice to load all the same goes."""
    if isinstance(error, pickle.UnpicklingError):
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        return f"it asks for {found[1]}" if found else "it is no file of torch.save"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2])[:200].rstrip(".: ") or type(error).__name__
