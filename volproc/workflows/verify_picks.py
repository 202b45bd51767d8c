"""Picks found again under another chunking, and compared with those that were written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from volproc.core.arrays import Source
from volproc.core.errors import VerifyError
from volproc.core.events import Event, Observer
from volproc.core.executor import Executor, pool_of
from volproc.core.points import Points
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.scaling import statistics_grid
from volproc.io.points import read_points
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.particle_rule import ParticleRule, make_rule
from volproc.reduce.particle_table import points_of
from volproc.workflows.certificate import VerifyReport, certify
from volproc.workflows.particle_maps import open_maps
from volproc.workflows.particle_peaks import find_score_peaks
from volproc.workflows.particle_stages import STAGE, Stages, find_particles
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import open_task_maps
from volproc.workflows.record import read_record, record_path, recorded_output

STORY = "volproc localize"
"""What records of picks say that made them."""

TOLERANCE = 1e-6
"""Voxels that a centre may be away from where it was written: what text leaves of its digits."""


def is_picks(run: str | os.PathLike[str]) -> bool:
    """Whether an address is that of recorded picks, or of their record."""
    return bool(_output_of(os.fspath(run)))


def verify_picks(
    run: str | os.PathLike[str],
    *,
    input_address: str = "",
    executor: Executor,
    observe: Observer,
) -> VerifyReport:
    """Find the picks of a finished localization again, in blocks of two thirds the size.

    Parameters
    ----------
    run : str or path
        Picks that ``volproc localize`` wrote, or the record beside them.
    input_address : str
        Where the class map is now, if not where it was.
    executor, observe
        As in `volproc.verify`.

    Raises
    ------
    VerifyError
        If the class map is not the same any more, or the record says too little.

    Notes
    -----
    The whole class map is read once: finding particles is quick beside a network.
    """
    output = _output_of(os.fspath(run))
    record = read_record(output)
    try:
        task = _task(record, input_address)
        volume = task.open()
        source = _same_source(record, volume, is_moved=bool(input_address))
        rule = make_rule(
            task.radii,
            class_values=task.class_values,
            voxel_size=volume.voxel_size,
            **record["rule"],
        )
    except (KeyError, TypeError) as error:
        msg = (
            f"{record_path(output)} says too little to verify the picks: {error!r}. Localize again "
            "with this version."
        )
        raise VerifyError(msg) from error
    grid = ChunkGrid(source.shape, other_blocks(statistics_grid(source)))
    stages = Stages(pool_of(executor, "cpu"), observe, None)
    points = _found(task, rule, volume, stages, grid)
    written = _written(output, record, volume)
    difference = first_difference(written, points)
    facts: dict[str, Any] = {
        "verdict": "differs" if difference else "equal",
        "first_difference": difference or None,
        "output": output,
        "particles": len(points),
        "chunks_of_run": list(statistics_grid(source).chunks),
        "chunks": list(grid.chunks),
        "covered": 1.0,
        "tolerance_voxel": TOLERANCE,
        "fingerprints": {
            "input": source.identity(),
            "record_sha256": sha256(json.dumps(record, sort_keys=True).encode()).hexdigest(),
        },
        "versions_of_run": record.get("versions", {}),
    }
    facts["summary"] = difference or f"{len(points)} particles: all are the same"
    observe(Event("note", STAGE, text=facts["summary"]))
    return certify(output, facts)


def _found(
    task: LocalizeTask, rule: ParticleRule, volume: Volume, stages: Stages, grid: ChunkGrid
) -> Points:
    """Find the particles anew, in other blocks."""
    source, size = volume.source, volume.voxel_size
    assert source is not None  # an opened volume has one
    if rule.method == "peaks":
        classes = {name: value for name, (value, _) in rule.classes.items()}
        scores, _ = open_maps(task.address, classes, **task.reading)
        return find_score_peaks(scores, rule, stages, voxel_size=size, name="", grid=grid)
    maps = open_task_maps(task, {n: v for n, (v, _) in rule.classes.items()}, volume)
    table = find_particles(source, rule, stages, voxel_size=size, maps=maps, grid=grid)
    return points_of(table, voxel_size=size, shape=volume.shape, name="")


def other_blocks(grid: ChunkGrid) -> Shape:
    """Blocks with other seams than those of a grid: two thirds of them, or of the volume."""
    sides = zip(grid.chunks, grid.shape, strict=True)
    return tuple(max(1, 2 * min(side, length) // 3) for side, length in sides)


def first_difference(written: Points, found: Points) -> str:
    """Say where two sets of points differ; nothing if they do not.

    The order of the classes does not matter; within a class points come in the order of their
    objects' first voxels.
    """
    names = [table.table["class_name"].astype(str).to_numpy() for table in (written, found)]
    for name in sorted({*names[0], *names[1]}):
        was, now = (
            points.zyx[of == name] for points, of in zip((written, found), names, strict=True)
        )
        if len(was) != len(now):
            return f"{len(was)} points of {name} were written, {len(now)} are found now"
        far = np.abs(was - now).max(axis=1) > TOLERANCE
        if far.any():
            row = int(far.argmax())
            return (
                f"point {row} of {name} was written at (z, y, x) = {was[row].tolist()}, and is "
                f"found at {now[row].tolist()} now"
            )
    return ""


def _output_of(run: str) -> str:
    """Address of the picks that are meant; empty if it is not picks."""
    path = Path(run)
    if path.is_file() and path.suffix == ".json":
        return recorded_output(path, STORY)
    return run if not path.is_dir() and read_record(run).get("made_by") == STORY else ""


def _task(record: dict[str, Any], input_address: str) -> LocalizeTask:
    asked, rule = record.get("asked_for", {}), record["rule"]
    # Scores matter to a centre only where the better one of two is kept.
    is_suppressed = rule.get("nms_distance") is not None or rule.get("nms_scale") is not None
    return LocalizeTask(
        input_address or record["address"],
        radii=record["radii_angstrom"],
        class_values=record["classes"],
        voxel_size=tuple(record["voxel_size_angstrom"]),
        override_voxel_size=True,
        selection=record["selection"],
        method=record["rule"]["method"],
        weight_by=asked.get("weight_by", ""),
        probabilities=asked.get("probabilities", "") if is_suppressed else "",
    )


def _same_source(record: dict[str, Any], volume: Volume, *, is_moved: bool) -> Source:
    source = volume.source
    assert source is not None  # an opened volume has one
    if not is_moved and record["input"] != source.identity():
        msg = (
            f"the class map {volume.address} has changed since the run: was {record['input']!r}, "
            f"is {source.identity()!r}. Localize again, or put back what was there."
        )
        raise VerifyError(msg)
    return source


def _written(output: str, record: dict[str, Any], volume: Volume) -> Points:
    """Read what the run wrote; a project has no file where there are no particles."""
    if not record["paths"]:
        return Points.from_zyx(
            np.zeros((0, 3)), class_name=[], voxel_size=volume.voxel_size, shape=volume.shape
        )
    points = read_points(output, voxel_size=volume.voxel_size, shape=volume.shape)
    # A project may hold picks of other classes of the same user and session.
    mine = points.table["class_name"].isin(list(record["radii_angstrom"]))
    return replace(points, table=points.table[mine].reset_index(drop=True))
