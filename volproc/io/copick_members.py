"""Members of a run of a copick project, tomograms and segmentations: listing and finding."""

from __future__ import annotations

from dataclasses import replace
from math import isclose
from pathlib import Path
from typing import Any

from fsspec import FSMap

from volproc.core.errors import AddressError, FormatError, SeveralError, nearest
from volproc.io.copick_address import GRAMMAR, CopickAddress
from volproc.io.copick_config import find_run, is_spacing
from volproc.io.zarr_array import Store

KINDS = ("multilabel", "binary", "instance", "panoptic")
"""Kinds of segmentation, in the order in which one is taken where several have one name."""


def incomplete_address(address: CopickAddress, root: Any) -> AddressError:
    """Error for an address that stops at the project or at a run, with what could follow."""
    if address.run:
        run = find_run(root, address)
        known = [f"{run.name}/{t}" for t in list_tomograms(run)] + list_segmentations(run)
    else:
        known = sorted(r.name for r in root.runs)
    listed = ", ".join(known[:20]) + (" …" if len(known) > 20 else "")
    msg = (
        f"{address.config} is a copick project, and {address} names no volume in it. Its "
        f"{'members' if address.run else 'runs'} are: {listed or 'none'}. Write {GRAMMAR}."
    )
    if not known:
        return AddressError(msg)
    choices = tuple(f"{address.config}:{member}" for member in known)
    return SeveralError(msg, option="address", choices=choices)


def list_tomograms(run: Any) -> dict[str, tuple[float, Any]]:
    """Tomograms of a run as TYPE@VOXEL; those of the overlay hide static ones."""
    try:
        found = [(s.voxel_size, t) for s in run.voxel_spacings for t in s.tomograms]
    except ValueError as error:
        msg = (
            f"run {run.name} holds a folder VoxelSpacing… without a number ({error}), which "
            "copick cannot list. Rename it."
        )
        raise FormatError(msg) from error
    found.sort(key=lambda pair: not getattr(pair[1], "read_only", False))
    return {f"{t.tomo_type}@{s:g}": (float(s), t) for s, t in found}


def list_segmentations(run: Any) -> list[str]:
    """Segmentations of a run as RUN/NAME:USER/SESSION@VOXEL."""
    return [f"{run.name}/{_segmentation_text(s)}" for s in run.segmentations]


def _segmentation_text(item: Any) -> str:
    return f"{item.name}:{item.user_id}/{item.session_id}@{item.voxel_size:g}"


def find_tomogram(run: Any, address: CopickAddress) -> tuple[float, Any]:
    """Return the voxel spacing and the tomogram of an address.

    Raises
    ------
    AddressError
        If there is none, or if there are several; the message names them.
    """
    known = list_tomograms(run)
    fitting = [
        (s, t) for s, t in known.values() if t.tomo_type == address.name and _fits(address, s)
    ]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        exact = [p for p in fitting if address.voxel and isclose(p[0], address.voxel)]
        if len(exact) == 1:
            return exact[0]
        raise _several(address, [s for s, _ in fitting])
    listed = nearest(str(address).rpartition("/")[2], known) if known else "it has none."
    msg = f"run {run.name} of {address.config} has no tomogram {_wanted(address)}; {listed}"
    raise AddressError(msg)


def find_segmentation(run: Any, address: CopickAddress) -> tuple[Any, tuple[str, ...]]:
    """Return the segmentation of an address, and notes on what else has its name.

    Raises
    ------
    AddressError
        If there is none, or if there are several voxel spacings; the message names them.
    """
    owned = [
        s
        for s in run.segmentations
        if (s.name, s.user_id, s.session_id) == (address.name, address.user, address.session)
    ]
    fitting = [s for s in owned if _fits(address, s.voxel_size)]
    spacings = sorted({float(s.voxel_size) for s in fitting})
    if len(spacings) > 1:
        raise _several(address, spacings)
    if not fitting:
        known = sorted({_segmentation_text(s) for s in run.segmentations})
        wanted = f"{address.name}:{address.user}/{address.session}"
        listed = nearest(f"{wanted}@{address.voxel or 0:g}", known) if known else "it has none."
        msg = f"run {run.name} of {address.config} has no segmentation {_wanted(address)}; {listed}"
        raise AddressError(msg)
    # A written segmentation hides a read-only one of the same name, as in copick.
    fitting.sort(
        key=lambda s: (KINDS.index(s.segmentation_type), bool(getattr(s, "read_only", False)))
    )
    kind, kinds = fitting[0].segmentation_type, {s.segmentation_type for s in fitting}
    notes: tuple[str, ...] = ()
    if len(kinds) > 1:
        notes = (f"segmentations {', '.join(sorted(kinds))} have this name: {kind} was read",)
    return fitting[0], notes


def _fits(address: CopickAddress, spacing: float) -> bool:
    return address.voxel is None or is_spacing(spacing, address.voxel)


def _wanted(address: CopickAddress) -> str:
    return str(address).partition(f"{address.run}/")[2]


def _several(address: CopickAddress, spacings: list[float]) -> SeveralError:
    spacings = sorted(spacings)  # copick lists them as the file system does
    choices = [f"@{spacing:g}" for spacing in spacings]
    msg = f"{address} exists with several voxel spacings. Add one of {', '.join(choices)}."
    whole = tuple(str(replace(address, voxel=spacing)) for spacing in spacings)
    return SeveralError(msg, option="address", choices=whole)


def refuse_read_only(root: Any, address: CopickAddress, spacing: float) -> None:
    """Refuse to write a second member of one name beside a read-only one.

    Raises
    ------
    AddressError
        If there is one.
    """
    run = root.get_run(address.run)
    if run is None:
        return
    if address.has_owner:
        known = {
            _segmentation_text(s): s for s in run.segmentations if getattr(s, "read_only", False)
        }
        text = f"{address.name}:{address.user}/{address.session}@{spacing:g}"
    else:
        known = {
            k: t for k, (_, t) in list_tomograms(run).items() if getattr(t, "read_only", False)
        }
        text = f"{address.name}@{spacing:g}"
    if text in known:
        msg = (
            f"{address} is in the read-only part of the project and cannot be replaced. Choose "
            "another type, user or session."
        )
        raise AddressError(msg)


def member_store(member: Any) -> Store:
    """Folder of a member's store on the local disk, or a mapping that reads it elsewhere."""
    store = member.zarr()
    # copick wraps every file system in one that reconnects, which is not pickled to workers.
    file_system = getattr(store.fs, "_fs", store.fs)
    protocols = file_system.protocol
    names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
    if {"file", "local"} & set(names):
        return str(Path(store.path))
    return FSMap(store.path, file_system)
