"""Points as picks of a copick project: (x, y, z) in Å, one file a class."""

from __future__ import annotations

import json
from collections.abc import Collection
from math import isclose, isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from volproc.core.errors import (
    AddressError,
    ExistsError,
    FormatError,
    ShapeError,
    VoxelSizeError,
    nearest,
)
from volproc.core.points import Points, concat_points
from volproc.core.types import Shape
from volproc.io.atomic_text import write_texts
from volproc.io.copick_address import GRAMMAR, CopickAddress, check_new_name, parse_copick
from volproc.io.copick_config import find_run, is_spacing, open_project, overlay_folder
from volproc.io.copick_members import list_tomograms, member_store
from volproc.io.copick_project import make_run
from volproc.io.formats import Selection
from volproc.io.omezarr import read_image
from volproc.io.picks_file import IDENTITY, PicksFile, load_picks
from volproc.io.points_table import Request, check_finite
from volproc.io.xyz import xyz_angstrom_to_zyx, zyx_to_xyz_angstrom

INSTANCES = ("instance_id", "label")
"""Columns of a points table that number the objects, in the order in which they are tried."""


def read_picks(address: str, request: Request) -> Points:
    """Read the picks of one run, user and session.

    The centre of a particle is its location plus the shift of its transformation, as copick
    defines it; orientations are not kept. The voxel size is the requested one, that of the
    address (``@VOXEL``), the one that the picks state, or the only one that the run has; the
    shape is that of a tomogram of the run with this voxel size.

    Parameters
    ----------
    address : str
        ``config.json:RUN/OBJECT:USER/SESSION``; all classes without ``OBJECT``; without
        ``:USER/SESSION`` the only picks there are of this class.
    request : Request
        Voxel size, shape and class asked for.

    Returns
    -------
    points : Points
        With a further column ``instance_id``.

    Raises
    ------
    AddressError
        If run or picks are not there; the message names those there are.
    VoxelSizeError
        If the run has several voxel spacings, or none, and none was chosen.
    FormatError
        If a file of picks is damaged.
    """
    found = parse_copick(address)
    run = find_run(open_project(found.config), found)
    chosen = _chosen(run, found, request)
    files = [_load(p, address) for p in chosen]
    size = _voxel_size(run, found, request, files)
    shape = request.shape or _shape(run, size)
    parts = [_points(f, size, shape, run.name) for f in files]
    return concat_points(parts)


def _chosen(run: Any, address: CopickAddress, request: Request) -> list[Any]:
    """Picks of an address, one a class, those of the overlay before those it hides."""
    name = address.name or request.object_name
    try:
        everything = run.picks
    except (IndexError, AssertionError) as error:
        msg = (
            f"the Picks folder of run {run.name} holds a file that is not named "
            "USER_SESSION_OBJECT.json, which copick cannot list. Move it elsewhere."
        )
        raise FormatError(msg) from error
    matching = [
        p
        for p in everything
        if (not name or p.pickable_object_name == name)
        and (address.user is None or p.user_id == address.user)
        and (address.session is None or p.session_id == address.session)
    ]
    owners = sorted({f"{p.user_id}/{p.session_id}" for p in matching})
    if not matching or len(owners) > 1:
        known = sorted({_text(p) for p in (matching or everything)})
        listed = f"there are {', '.join(known)}" if known else "the run has no picks"
        problem = "several sets of picks fit" if matching else "no picks fit"
        msg = f"{problem} {address}; {listed}. Write {GRAMMAR}."
        raise AddressError(msg)
    by_class = {
        p.pickable_object_name: p
        for p in sorted(matching, key=lambda p: not getattr(p, "read_only", False))
    }
    return [by_class[c] for c in sorted(by_class)]


def _text(picks: Any) -> str:
    return f"{picks.pickable_object_name}:{picks.user_id}/{picks.session_id}"


def _load(picks: Any, address: str) -> PicksFile:
    try:
        return load_picks(picks)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        msg = f"the picks {_text(picks)} of {address} are damaged ({error}). Write them again."
        raise FormatError(msg) from error


def _voxel_size(
    run: Any, address: CopickAddress, request: Request, files: list[PicksFile]
) -> tuple[float, ...]:
    if request.voxel_size is not None:
        return request.voxel_size
    if address.voxel is not None:
        return (address.voxel,) * 3
    stated = sorted({f.voxel_spacing for f in files if f.voxel_spacing})
    spacings = stated or sorted(s.voxel_size for s in run.voxel_spacings)
    if len(spacings) != 1:
        known = ", ".join(f"{s:g}" for s in spacings) or "none"
        msg = (
            f"run {run.name} has the voxel spacings {known} Å, so that {address} does not say "
            "which voxels to count in. Give one with voxel_size= (--voxel-size on the command "
            "line)."
        )
        raise VoxelSizeError(msg)
    return (float(spacings[0]),) * 3


def _shape(run: Any, size: tuple[float, ...]) -> Shape:
    """Shape of a tomogram of this voxel size; empty where the run has none."""
    for name, (spacing, tomogram) in list_tomograms(run).items():
        if all(is_spacing(spacing, s) for s in size):
            return read_image(member_store(tomogram), "", Selection(), address=name).source.shape
    return ()


def _points(file: PicksFile, size: tuple[float, ...], shape: Shape, name: str) -> Points:
    points = Points.from_zyx(
        xyz_angstrom_to_zyx(file.centres_xyz, size),
        class_name=file.class_name,
        voxel_size=size,
        shape=shape,
        score=file.scores,
        name=name,
    )
    return Points(points.table.assign(instance_id=file.instances), size, shape, name)


def write_picks(
    points: Points,
    address: str,
    *,
    overwrite: bool = False,
    only: Collection[str] | None = None,
) -> list[Path]:
    """Write points as picks: one file a class, with a score each and without orientation.

    Parameters
    ----------
    points : Points
        In voxels; a column ``instance_id``, or ``label``, numbers the picks.
    address : str
        ``config.json:RUN/:USER/SESSION``, or with ``OBJECT`` before the colon for points of
        that one class. The run exists; every class is an object of the project.
    overwrite : bool
        Replace picks of the same class, user and session. Without ``OBJECT``, picks of the
        same user and session whose class has no points now become empty, so that none of an
        earlier run stay behind.
    only : collection of str
        Classes that were looked for: one without points gets an empty file in any case, which
        says that there are none; picks of others are neither refused nor emptied.

    Returns
    -------
    paths : list of Path
        Files that were written.

    Raises
    ------
    AddressError
        If run or object are not in the project, points are of other classes than the
        address, user or session are missing, or the project is not on the local disk.
    ExistsError
        If picks of this user and session are there and ``overwrite`` is false.
    """
    found = parse_copick(address)
    check_finite(points, address)
    root = open_project(found.config)
    run = find_run(root, found)
    classes = _classes(points, found, root)
    folder = overlay_folder(root, "a set of picks") / "ExperimentRuns" / run.name
    stem = f"{found.user}_{found.session}_"
    if not found.name:
        there = {p.name for p in folder.glob(f"Picks/{stem}*.json")}
        known = {o.name for o in root.pickable_objects}
        empty = {c for c in known if f"{stem}{c}.json" in there} if only is None else {*only}
        classes = sorted({*classes, *(known & empty)})
    paths = {c: folder / "Picks" / f"{stem}{c}.json" for c in classes}
    _refuse_taken([p.name for p in paths.values() if p.exists()], found, overwrite=overwrite)
    make_run(folder)
    (folder / "Picks").mkdir(exist_ok=True)
    texts = {c: _file_text(points.select(c), c, found) for c in classes}
    write_texts({paths[c]: texts[c] for c in classes})
    return list(paths.values())


def refuse_picks(
    address: str, *, overwrite: bool = False, only: Collection[str] | None = None
) -> None:
    """Refuse an output of picks before there are points, as `write_picks` would afterwards.

    Parameters
    ----------
    address, overwrite, only
        As in `write_picks`; of an address without class, no pick of ``only`` may be there.

    Raises
    ------
    AddressError, ExistsError
        As `write_picks`, of run, user, session and object.
    """
    found = parse_copick(address)
    root = open_project(found.config)
    run = find_run(root, found)
    nowhere = Points.from_zyx([], class_name="", voxel_size=(1.0,) * 3, shape=())
    _classes(nowhere, found, root)
    folder = overlay_folder(root, "a set of picks") / "ExperimentRuns" / run.name / "Picks"
    stem = f"{found.user}_{found.session}_"
    names = sorted(p.name for p in folder.glob(f"{stem}{found.name or '*'}.json"))
    if only is not None and not found.name:
        names = [name for name in names if name in {f"{stem}{c}.json" for c in only}]
    _refuse_taken(names, found, overwrite=overwrite)


def _refuse_taken(taken: list[str], address: CopickAddress, *, overwrite: bool) -> None:
    if taken and not overwrite:
        msg = (
            f"picks of {address.user}/{address.session} exist in run {address.run}: "
            f"{', '.join(taken)}. Choose another session, or replace them with overwrite= "
            "(--overwrite)."
        )
        raise ExistsError(msg)


def _classes(points: Points, address: CopickAddress, root: Any) -> list[str]:
    """Classes that get a file, checked against the address and the project."""
    if address.user is None or address.session is None:
        msg = f"{address} names no user and session to write picks for. Write {GRAMMAR}."
        raise AddressError(msg)
    check_new_name("user", address.user)
    check_new_name("session", address.session)
    known = [o.name for o in root.pickable_objects]
    classes = sorted({*points.class_names, *([address.name] if address.name else ())})
    for name in classes:
        if name not in known:
            msg = f'"{name}" is no object of {address.config}; {nearest(name, known)}'
            raise AddressError(msg)
    if address.name and classes != [address.name]:
        msg = (
            f"{address} is for {address.name}, got points of {', '.join(points.class_names)}. "
            f"Select one class, or leave {address.name} out of the address."
        )
        raise AddressError(msg)
    if len(points.voxel_size) != 3:
        msg = f"picks lie in volumes (z, y, x), got a voxel size of {points.voxel_size}."
        raise ShapeError(msg)
    return classes


def _file_text(points: Points, class_name: str, address: CopickAddress) -> str:
    """Return what copick stores for one class, user and session."""
    table = points.table
    positions = zyx_to_xyz_angstrom(points.zyx, points.voxel_size).tolist()
    size = points.voxel_size
    is_cube = all(isclose(v, size[0], rel_tol=1e-4) for v in size)
    values = {
        "pickable_object_name": class_name,
        "user_id": address.user,
        "session_id": address.session,
        "run_name": address.run,
        "voxel_spacing": size[0] if is_cube else None,
        "unit": "angstrom",
        "points": [
            {
                "location": {"x": x, "y": y, "z": z},
                "transformation_": IDENTITY,
                "instance_id": instance,
                # JSON has no NaN; a point without a score has none.
                "score": score if isfinite(score) else None,
            }
            for (x, y, z), instance, score in zip(
                positions, _instances(table), map(float, table["score"]), strict=True
            )
        ],
        # The identity says nothing of how a particle is turned.
        "trust_orientation": False,
    }
    return json.dumps(values, indent=4)


def _instances(table: pd.DataFrame) -> list[int]:
    column = next((c for c in INSTANCES if c in table.columns), None)
    if column is None:
        return [0] * len(table)
    return [int(v) for v in pd.to_numeric(table[column], errors="coerce").fillna(0)]
