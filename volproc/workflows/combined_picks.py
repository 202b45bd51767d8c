"""Picks of several class maps in one table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from volproc.core.errors import AddressError, FormatError
from volproc.core.types import Shape
from volproc.io.atomic_text import write_texts
from volproc.io.create import refuse_existing
from volproc.io.cryosiam_tables import relion_text
from volproc.io.points import read_points
from volproc.workflows.record import read_record, record_path

ENDINGS = (".csv", ".star")
"""What the name of a table of all picks ends in."""


def refuse_combined(path: str, *, overwrite: bool) -> None:
    """Refuse a table of all picks before there are any.

    Raises
    ------
    AddressError
        If its name has another ending.
    ExistsError, MissingFileError
        If it is there, or its folder is not.
    """
    if Path(path).suffix.lower() not in ENDINGS:
        msg = f"{path} is no name of a table of all picks. Use {' or '.join(ENDINGS)}."
        raise AddressError(msg)
    refuse_existing(Path(path), overwrite=overwrite)


def combine_picks(outputs: Sequence[str], path: str) -> int:
    """Write the picks of several runs of ``volproc localize`` into one table.

    Parameters
    ----------
    outputs : sequence of str
        Addresses of picks, each with its record beside it.
    path : str
        ``.csv``: the columns of picks after ``tomo``, with voxels and Å. ``.star``: particles of
        RELION 5, in Å from the middle of each tomogram.

    Returns
    -------
    num_points : int
        Rows of the table.

    Raises
    ------
    FormatError
        If a record says too little.
    VolprocError
        As `volproc.io.points.read_points`.
    """
    frames, volumes = [], {}
    for output in outputs:
        frame, name, volume = _picks_of(output)
        if name in volumes:
            msg = f"two of the maps are of the tomogram {name}: one table cannot tell them apart."
            raise FormatError(msg)
        frames.append(frame)
        volumes[name] = volume
    filled = [frame for frame in frames if len(frame)] or frames[:1]
    every = pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()
    if Path(path).suffix.lower() == ".star":
        text = relion_text(every, volumes)
    else:
        text = every.drop(columns="class_value", errors="ignore").to_csv(
            index=False, lineterminator="\n"
        )
    write_texts({Path(path).absolute(): text})
    return len(every)


def _picks_of(output: str) -> tuple[pd.DataFrame, str, tuple[tuple[float, ...], Shape]]:
    """Picks of one map, the name of its tomogram, and its voxel size and shape."""
    record: dict[str, Any] = read_record(output)
    try:
        name, shape = str(record["tomogram"]), tuple(map(int, record["shape"]))
        size = tuple(map(float, record["voxel_size_angstrom"]))
        values, paths = dict(record["classes"]), list(record["paths"])
        names = list(record["radii_angstrom"])
    except (KeyError, TypeError, ValueError) as error:
        msg = (
            f"{record_path(output)} says too little for a table of all picks: {error!r}. Localize "
            "again with --overwrite."
        )
        raise FormatError(msg) from error
    if paths:
        table = read_points(output, voxel_size=size, shape=shape).table
        table = table[table["class_name"].isin(names)]
    else:  # a project has no file where there are no particles
        table = pd.DataFrame({"z": [], "y": [], "x": [], "class_name": [], "score": []})
        table["num_voxels"] = np.zeros(0, np.int64)
    positions = {f"{axis}_angstrom": table[axis] * size[i] for i, axis in enumerate("zyx")}
    first = table[["class_name", "z", "y", "x"]].assign(**positions)
    rest = [c for c in table.columns if c not in first.columns and not c.startswith("rln")]
    frame = first.join(table[rest])
    frame["class_value"] = frame["class_name"].map(values).astype(np.int64)
    frame.insert(0, "tomo", np.full(len(frame), name, object))
    return frame.reset_index(drop=True), name, (size, shape)
