"""Particles: a class map in, picks out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from volproc.core.errors import ExistsError, InputChangedError, SeveralError, ShapeError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.particles import (
    MAX_OBJECT_VOXELS,
    Method,
    Ties,
    make_rule,
    points_of,
)
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.open import VoxelSize, open_
from volproc.io.points import refuse_points, write_points
from volproc.reduce.faces import check_connectivity
from volproc.workflows.particle_classes import known_classes
from volproc.workflows.particle_peaks import find_score_peaks
from volproc.workflows.particle_scores import ClassScores, open_scores
from volproc.workflows.particle_stages import (
    STAGE,
    Stages,
    find_objects,
    find_regions,
    make_sidecars,
)
from volproc.workflows.pick_marker import begin_writing, end_writing, is_being_written
from volproc.workflows.unchanged import refuse_changed

RULE_OPTIONS = (
    "method",
    "radius_min_scale",
    "radius_max_scale",
    "connectivity",
    "filter_size",
    "ties",
    "border",
    "max_object_voxels",
    "threshold",
    "distance_scale",
    "smooth_scale",
    "refine",
)
"""Fields of a task that say what a particle is."""


@dataclass(frozen=True, slots=True)
class LocalizeTask:
    """A localization, fully described.

    Parameters
    ----------
    address : str
        Class map, or for peaks a map of probabilities; see `volproc.open`.
    output : str
        ``.csv``, ``.star``, or ``config.json:RUN/:USER/SESSION``; empty writes nothing.
    radii : mapping of str to float
        Radius of each particle class, Å. Where it is empty, the radii come from the copick
        project, or from the record that ``segment semantic`` left beside the class map.
    class_values : mapping of str to int
        Value of each class in the map; where it is empty, from the log or the record of the
        segmentation, or the labels of the project.
    objects : tuple of str
        The only classes to look for; all particles where it is empty.
    label : int
        Value of every class in the map, whatever else says; for masks of other tools.
    method : str
        ``"watershed"``, ``"centre-of-mass"`` or ``"peaks"``; see `volproc.localize`, as for all
        that follows.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of its radius, inclusive.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners); of a watershed always 1.
    filter_size : int
        Side of the window in which the middle of a particle is the thickest place, voxels.
    ties : str
        ``"scikit-image"`` or ``"raster"``.
    border : float
        Part of the volume's size in which centres are left out.
    max_object_voxels : int
        Largest box of an object that is split.
    threshold, distance_scale, smooth_scale : float
        Of peaks: least probability; distance and smoothing as parts of the radius.
    refine : bool
        Of peaks: place them between voxels.
    probabilities : str
        Map of probabilities whose mean in an object is its score; 1 without one.
    voxel_size : float or tuple of float
        Å per voxel, where the file gives none or a wrong one.
    override_voxel_size : bool
        Use ``voxel_size`` even where a valid header contradicts it.
    selection : dict
        ``t``, ``c``, ``level``, ``dataset`` of the input.
    overwrite : bool
        Replace picks that exist.
    options : dict
        What the output format takes; see `volproc.io.points.write_points`.
    resume : bool
        Take picks that exist for the result, where `volproc.workflows.picking.pick` finds that
        they were made as they would be made now.
    """

    address: str
    output: str = ""
    radii: Mapping[str, float] = field(default_factory=dict)
    class_values: Mapping[str, int] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    label: int | None = None
    method: Method = "watershed"
    radius_min_scale: float = 0.5
    radius_max_scale: float | None = None
    connectivity: int = 1
    filter_size: int = 10
    ties: Ties = "scikit-image"
    border: float = 0.005
    max_object_voxels: int = MAX_OBJECT_VOXELS
    threshold: float = 0.5
    distance_scale: float = 1.0
    smooth_scale: float = 0.25
    refine: bool = False
    probabilities: str = ""
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    resume: bool = False

    def open(self) -> Volume:
        """Open the class map, or the first channel of probabilities; only its head is read."""
        try:
            return open_(self.address, **self.reading)
        except SeveralError as error:
            if self.method != "peaks" or error.option != "c":
                raise
        return open_(self.address, **{**self.reading, "c": 0})

    @property
    def reading(self) -> dict[str, Any]:
        """How the map is opened."""
        conflict = "override" if self.override_voxel_size else "error"
        return {"voxel_size": self.voxel_size, "on_conflict": conflict, **self.selection}


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
    radii, values = find_classes(task)
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
    scores = open_class_scores(task, classes, volume)
    sidecars = make_sidecars(task.output, source, rule, scores)
    stages = Stages(pool_of(executor or SerialExecutor(), "cpu"), observe, sidecars)
    name = tomogram_name(task.address, volume.name)
    size, shape = volume.voxel_size, volume.shape
    if rule.method == "peaks":
        assert scores is not None
        points = find_score_peaks(scores, rule, stages, voxel_size=size, name=name)
    else:
        find = find_regions if rule.method == "watershed" else find_objects
        found = find(source, rule, stages, scores=scores)
        points = points_of(found, rule=rule, voxel_size=size, shape=shape, name=name)
    try:
        _refuse_changes(task, volume, classes, scores)
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


def open_class_scores(
    task: LocalizeTask, classes: Mapping[str, int], volume: Volume
) -> ClassScores | None:
    """Probabilities that the scores of a localization come from; none where none are given.

    Raises
    ------
    ShapeError
        If they are of another volume.
    VolprocError
        As `volproc.workflows.particle_scores.open_scores` does.
    """
    address = task.address if task.method == "peaks" else task.probabilities
    if not address:
        return None
    how = task.reading
    if task.method != "peaks":
        how = {"voxel_size": volume.voxel_size, "on_conflict": how["on_conflict"]}
    scores, first = open_scores(address, classes, **how)
    if first.shape != volume.shape:
        msg = (
            f"{address} has shape {first.shape} and {task.address} {volume.shape}. Give the "
            "probabilities that the class map was made of."
        )
        raise ShapeError(msg)
    return scores


def _refuse_changes(
    task: LocalizeTask, volume: Volume, classes: Mapping[str, int], scores: ClassScores | None
) -> None:
    """Refuse a map or probabilities that are not what they were at the beginning."""
    assert volume.source is not None
    refuse_changed(task.open, volume.source)
    again = open_class_scores(task, classes, volume)
    if scores is not None and (again is None or again.identity() != scores.identity()):
        msg = f"the probabilities of {task.address} changed while they were read. Run it again."
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
    check_connectivity(task.connectivity, volume.ndim)


def tomogram_name(address: str, name: str) -> str:
    """Name of the tomogram that a class map belongs to: a STAR file is matched to others by it.

    >>> tomogram_name("config.json:TS_1/mine:me/1@10", "TS_1_mine"), tomogram_name("a.zarr", "a")
    ('TS_1', 'a')
    >>> tomogram_name("maps/TS_1_classes.zarr", "TS_1_classes")
    'TS_1'
    """
    return parse_copick(address).run if is_copick(address) else name.removesuffix("_classes")


def find_classes(task: LocalizeTask) -> tuple[dict[str, float], dict[str, int]]:
    """Radii and values of the particle classes of a class map.

    See `volproc.workflows.particle_classes.known_classes`.

    Raises
    ------
    ConfigError
        If they are nowhere to be found, or a particle has no radius.
    """
    return known_classes(
        task.address,
        task.output,
        radii=task.radii,
        class_values=task.class_values,
        objects=task.objects,
        label=task.label,
    )
