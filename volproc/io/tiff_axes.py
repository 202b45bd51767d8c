"""Which axes of a TIFF image are z, y and x, and which are selected away."""

from __future__ import annotations

from math import prod

from volproc.core.errors import FormatError
from volproc.core.types import Shape
from volproc.io.formats import Selection
from volproc.io.mapped import Layout
from volproc.io.selection import pick_one

UNNAMED = "QI"
"""Axes without a name: tifffile's letters for an unknown one and for plain pages."""


MOST_CHANNELS = 8
"""More channels than ImageJ can show, in an ImageJ stack without z, are slices: tifffile calls the
first axis of a stack so where its writer named none."""


def choose_axes(
    axes: str, shape: Shape, selection: Selection, address: str, *, kind: str = ""
) -> tuple[Layout, str, list[str]]:
    """Decide what each axis of an image is.

    Parameters
    ----------
    axes : str
        A letter an axis, tifffile's: Z, Y, X, T, C, S (samples of a pixel), Q and I (unnamed).
    shape : tuple of int
        Size of the image along them.
    selection : Selection
        Time point and channel.
    address : str
        For messages.
    kind : str
        Who wrote it: ``imagej``, ``ome`` …

    Returns
    -------
    layout : Layout
        How the image becomes (z, y, x) or (y, x); an image of one slice is (y, x).
    letters : str
        ``zyx`` or ``yx``.
    notes : list of str
        What was guessed.

    Raises
    ------
    AddressError
        If there are several time points or channels and none was selected.
    FormatError
        If there are other axes.

    Examples
    --------
    >>> choose_axes("TZCYX", (1, 9, 2, 30, 40), Selection(c=1), "cells.tif")[0].volume_shape
    (9, 30, 40)
    """
    notes: list[str] = []
    if axes.count("Y") != 1 or axes.count("X") != 1:
        msg = f"{address} has axes {_text(axes, shape)}, not one y and one x. Check what wrote it."
        raise FormatError(msg)
    roles: list[str] = ["" if shape[i] == 1 else letter for i, letter in enumerate(axes)]
    roles[axes.index("Y")], roles[axes.index("X")] = "Y", "X"
    named = "".join(roles)
    if kind == "imagej" and "".join(sorted(named)) == "CXY" and selection.c is None:
        depth = roles.index("C")
        if shape[depth] > MOST_CHANNELS:
            roles[depth] = "Z"
            notes.append(f"the file calls its {shape[depth]} slices channels; they are read as z")
    unnamed = [i for i, role in enumerate(roles) if role and role in UNNAMED]
    if unnamed and "Z" not in roles:
        depth = unnamed.pop()
        roles[depth] = "Z"
        notes.append(f"the axis of {shape[depth]} pages has no name; it is read as z")
    if unnamed and "T" not in roles:
        roles[unnamed.pop()] = "T"
    _refuse_other(roles, axes, shape, address)
    channels = [i for i, role in enumerate(roles) if role in ("C", "S")]
    times = [i for i, role in enumerate(roles) if role == "T"]
    picks: list[int | None] = [None if role in ("Z", "Y", "X") else 0 for role in roles]
    if times:
        picks[times[0]] = pick_one(
            address, f"time points (axes {_text(axes, shape)})", "t", selection.t, shape[times[0]]
        )
    else:
        pick_one(address, "time points", "t", selection.t, 1)
    what = "samples per pixel" if "S" in roles else "channels"
    index = pick_one(
        address,
        f"{what} (axes {_text(axes, shape)})" if channels else "channels",
        "c",
        selection.c,
        prod(shape[i] for i in channels),
    )
    for i in reversed(channels):
        index, picks[i] = divmod(index, shape[i])
    kept = [role for role, pick in zip(roles, picks, strict=True) if pick is None]
    order = tuple(kept.index(letter) for letter in "ZYX" if letter in kept)
    return Layout(tuple(shape), tuple(picks), order), "zyx" if "Z" in kept else "yx", notes


def _refuse_other(roles: list[str], axes: str, shape: Shape, address: str) -> None:
    """Refuse axes that cannot be selected, and doubled ones."""
    known = {"Z", "Y", "X", "T", "C", "S"}
    others = [role for role in roles if role and (role not in known or roles.count(role) > 1)]
    if others:
        msg = (
            f"{address} has axes {_text(axes, shape)}; only z, y, x, t (time) and c (channel) can "
            f"be read, not {', '.join(sorted(set(others)))}. Split the file along the others "
            "first."
        )
        raise FormatError(msg)


def _text(axes: str, shape: Shape) -> str:
    return " × ".join(f"{letter} {n}" for letter, n in zip(axes, shape, strict=True))
