"""Particles: a class map in, picks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from volproc.core.errors import ConfigError, ExistsError, InputChangedError, ShapeError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.class_maps import BesideMaps, Quantity
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.points import refuse_points, write_points
from volproc.reduce.particle_rule import make_rule
from volproc.reduce.particle_table import points_of
from volproc.workflows.particle_maps import open_beside
from volproc.workflows.particle_stages import STAGE, Stages, find_particles, make_sidecars
from volproc.workflows.particle_task import RULE_OPTIONS, LocalizeTask
from volproc.workflows.pick_marker import begin_writing, end_writing, is_being_written
from volproc.workflows.unchanged import refuse_changed

MAP_ENDINGS = ("_classes", "_preds_labels", "_preds")
"""What names of class maps end in after that of the tomogram, CryoSiam's too."""


def localize(
    task: LocalizeTask,
    *,
    executor: Executor | None = None,
    observe: Observer = ignore,
    record: Callable[[Points, list[Path]], None] | None = None,
) -> tuple[Points, list[Path]]:
    """Find particle centres in a class map, block by block, and write them.

    Where there is an output, each block leaves its small table beside it until the end: a killed
    localization goes on from there. With another size of the particles the tables of the objects
    are used too, and only what the size matters to is done again. Picks that a killed run had
    begun to write are replaced.

    Parameters
    ----------
    task : LocalizeTask
        What is to be done.
    executor, observe
        Where blocks run, and who watches.
    record : callable, optional
        Takes points and files once these are written, and completes them.

    Returns
    -------
    points : Points
        By class, then by first voxel; equal for every chunking.
    paths : list of Path
        Files that were written.

    Raises
    ------
    VolprocError
        If the input is no class map, a class is unknown, the input changed meanwhile, or the
        output exists.
    """
    volume = task.open()
    radii, values = task.find_classes()
    how = {**task.options, "classes": tuple(radii)}
    may_replace = bool(task.output) and _may_replace(task, how)
    rule = make_rule(
        radii,
        class_values=values,
        voxel_size=volume.voxel_size,
        **{name: getattr(task, name) for name in RULE_OPTIONS},
    )
    source = volume.source
    assert source is not None  # an opened volume has one
    if rule.method != "peaks":
        _check_map(task, volume)
    classes = {name: value for name, (value, _) in rule.classes.items()}
    maps = open_task_maps(task, classes, volume)
    sidecars = make_sidecars(task.output, source, rule, maps)
    stages = Stages(pool_of(executor or SerialExecutor(), "cpu"), observe, sidecars)
    name = tomogram_name(task.address, volume.name)
    size, shape = volume.voxel_size, volume.shape
    if rule.method == "peaks":
        from volproc.workflows.particle_peaks import find_score_peaks  # imports Dask

        assert maps.scores is not None
        points = find_score_peaks(maps.scores, rule, stages, voxel_size=size, name=name)
    else:
        table = find_particles(source, rule, stages, voxel_size=size, maps=maps)
        points = points_of(table, voxel_size=size, shape=shape, name=name)
    try:
        _refuse_changes(task, volume, classes, maps)
    except InputChangedError:
        if sidecars is not None:
            sidecars.remove()  # else an old copy that is put back, dates and all, would get them
        raise
    paths: list[Path] = []
    if task.output:
        begin_writing(task.output)
        paths = write_points(points, task.output, overwrite=may_replace, **how)
    if record is not None:
        record(points, paths)
    if task.output:
        end_writing(task.output)
    observe(Event("note", STAGE, text=f"{len(points)} particles"))
    return points, paths


def _may_replace(task: LocalizeTask, how: dict[str, Any]) -> bool:
    """Whether picks may be replaced; an error where some are there that may not."""
    refuse = partial(refuse_points, task.output, options=how, classes=how["classes"])
    try:
        refuse(overwrite=task.overwrite)
    except ExistsError:
        if not is_being_written(task.output):
            raise
        return True
    return task.overwrite


def open_task_maps(task: LocalizeTask, classes: Mapping[str, int], volume: Volume) -> BesideMaps:
    """Open the maps that a localization looks at beside its own.

    Raises
    ------
    VolprocError
        As `volproc.workflows.particle_maps.open_beside` does.
    """
    if task.method == "peaks":
        given = [name for name in ("weight_by", "variance") if getattr(task, name)]
        if given:
            msg = f"peaks are of probabilities alone. Leave out {', '.join(given)}."
            raise ConfigError(msg)
        return open_beside({"probability": task.address}, classes, volume.shape, **task.reading)
    addresses: dict[Quantity, str] = {
        "probability": task.probabilities,
        "variance": task.variance,
        "weight": task.weight_by,
    }
    how = {"voxel_size": volume.voxel_size, "on_conflict": task.reading["on_conflict"]}
    return open_beside(addresses, classes, volume.shape, **how)


def _refuse_changes(
    task: LocalizeTask, volume: Volume, classes: Mapping[str, int], maps: BesideMaps
) -> None:
    """Refuse maps that are not what they were at the beginning."""
    assert volume.source is not None
    refuse_changed(task.open, volume.source)
    if maps.identity() != open_task_maps(task, classes, volume).identity():
        msg = (
            f"the probabilities of {task.address}, or other maps beside it, changed while they "
            "were read. Run it again."
        )
        raise InputChangedError(msg)


def _check_map(task: LocalizeTask, volume: Volume) -> None:
    """Refuse what is no class map of a volume."""
    if volume.dtype.kind not in "iub" or volume.ndim != 3:
        msg = (
            f"{task.address} is no class map of a volume: it holds {volume.dtype} voxels of shape "
            f"{volume.shape}. Localize the output of `volproc segment semantic`, or take the "
            "peaks of probabilities with --method peaks."
        )
        raise ShapeError(msg)


def tomogram_name(address: str, name: str) -> str:
    """Name of the tomogram that a class map belongs to: a STAR file is matched to others by it.

    >>> tomogram_name("config.json:TS_1/mine:me/1@10", "TS_1_mine"), tomogram_name("a.zarr", "a")
    ('TS_1', 'a')
    >>> tomogram_name("maps/TS_1_classes.zarr", "TS_1_classes")
    'TS_1'
    >>> tomogram_name("TS_1_preds.h5:/labels", "TS_1_preds_labels")
    'TS_1'
    """
    if is_copick(address):
        return parse_copick(address).run
    for ending in MAP_ENDINGS:
        name = name.removesuffix(ending)
    return name
