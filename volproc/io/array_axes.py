"""From an array of two to five axes to a volume: which axis is which, and what is selected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from volproc.core.errors import FormatError
from volproc.core.types import Shape
from volproc.io.formats import Selection
from volproc.io.selection import pick_one

_MANY_CHANNELS = 8


@dataclass(frozen=True, slots=True)
class Cut:
    """How a volume lies in an array of more axes."""

    index: tuple[int | None, ...]
    """For each axis of the array: the position taken, or None if it stays."""

    order: tuple[int, ...]
    """For each axis of the volume, (z, y, x) or (y, x): the axis of the array."""

    notes: tuple[str, ...] = ()
    """What was assumed."""


def guess_axes(shape: Shape) -> tuple[str, str]:
    """Name the axes of an array that does not name them.

    Parameters
    ----------
    shape : tuple of int
        Two axes or more.

    Returns
    -------
    axes : str
        A letter an axis, of ``tczyx``; ``s`` for an axis beyond five, which has to be of size 1.
    note : str
        What was assumed; empty for two and three axes.

    Raises
    ------
    FormatError
        If there are fewer than two axes.

    Notes
    -----
    With four or more axes, channels stand last if that axis is at most 8 long and each of the
    others is longer, or if it is of size 1; otherwise they stand before z.

    Examples
    --------
    >>> guess_axes((4, 40, 64, 64))[0], guess_axes((40, 64, 64, 3))[0], guess_axes((7, 9))[0]
    ('czyx', 'zyxc', 'yx')
    """
    ndim = len(shape)
    if ndim < 2:
        msg = (
            f"an array of shape {shape} is no volume. Name one with axes (z, y, x) or (y, x), "
            "and possibly channels and time points before them."
        )
        raise FormatError(msg)
    if ndim <= 3:
        return "zyx"[-ndim:], ""
    last, others = shape[-1], shape[-4:-1]
    is_last = last <= _MANY_CHANNELS and min(others) > _MANY_CHANNELS
    is_last = is_last or (last == 1 and min(others) > 1)
    axes = ("tzyxc" if is_last else "tczyx")[-min(ndim, 5) :]
    axes = ("zyxc" if is_last else "czyx") if ndim == 4 else axes
    axes = "s" * (ndim - len(axes)) + axes
    return axes, f"shape {shape} without names of axes was read as ({', '.join(axes)})"


def cut_volume(
    address: str,
    axes: str,
    shape: Shape,
    selection: Selection,
    *,
    channels: Sequence[str] = (),
) -> Cut:
    """Select a time point and a channel, and put the rest in the order z, y, x.

    Parameters
    ----------
    address : str
        For messages.
    axes : str
        A letter an axis of the array, of ``tczyx``; ``s`` for one of size 1.
    shape : tuple of int
        Size of the array.
    selection : Selection
        ``t`` and ``c`` are used.
    channels : sequence of str
        Names of the channels, for messages.

    Returns
    -------
    cut : Cut
        Three axes, or two: those of (y, x) alone, and of (t, c, z, y, x) with a single plane, as
        microscopes' converters write a picture.

    Raises
    ------
    AddressError
        If there are several time points or channels and none was selected, or it is not there.
    FormatError
        If the axes make no volume.
    """
    if len(axes) != len(shape) or len(set(axes) - {"s"}) != len(axes.replace("s", "")):
        msg = f"{address} has axes ({', '.join(axes)}) for an array of shape {shape}. Correct them."
        raise FormatError(msg)
    if not {"y", "x"} <= set(axes) or any(
        n > 1 for a, n in zip(axes, shape, strict=True) if a == "s"
    ):
        msg = (
            f"{address} has axes ({', '.join(axes)}), shape {shape}, which make no volume: needed "
            "are y and x, possibly z, time points and channels. Name another array."
        )
        raise FormatError(msg)
    sizes = dict(zip(axes, shape, strict=True))
    named = f" ({', '.join(channels[:12])})" if any(channels) else ""
    taken: dict[str, int | None] = {
        "t": pick_one(address, "time points", "t", selection.t, sizes.get("t", 1)),
        "c": pick_one(address, f"channels{named}", "c", selection.c, sizes.get("c", 1)),
        "s": 0,
    }
    notes: tuple[str, ...] = ()
    if {"t", "c", "z"} <= set(axes) and sizes["z"] == 1:
        taken["z"] = 0
        notes = ("a single plane among five axes was read as a micrograph (y, x)",)
    index = tuple(taken.get(a) for a in axes)
    return Cut(
        index, tuple(axes.index(a) for a in "zyx" if a in axes and taken.get(a) is None), notes
    )
