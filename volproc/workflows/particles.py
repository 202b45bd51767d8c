"""Particles: a class map in, picks out; and how good they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, ShapeError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor
from volproc.core.points import Points
from volproc.core.types import Index
from volproc.core.volume import Volume
from volproc.graph.components import BlockReport, Collector, label_chunk
from volproc.graph.particles import make_rule, points_of
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.copick_project import project_objects
from volproc.io.open import VoxelSize, open_
from volproc.io.points import refuse_points, write_points
from volproc.metrics.points import combine_scores, score_points
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.faces import check_connectivity
from volproc.workflows.record import read_record

STAGE = "localize"


@dataclass(frozen=True, slots=True)
class LocalizeTask:
    """A localization, fully described.

    Parameters
    ----------
    address : str
        Class map; see `volproc.open`.
    output : str
        ``.csv``, ``.star``, or ``config.json:RUN/:USER/SESSION``; empty writes nothing.
    radii : mapping of str to float
        Radius of each particle class, Å. Where it is empty, the radii come from the copick
        project, or from the record that ``segment semantic`` left beside the class map.
    class_values : mapping of str to int
        Value of each class in the map, from the same places where it is empty.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of its radius, inclusive.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners).
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
    """

    address: str
    output: str = ""
    radii: Mapping[str, float] = field(default_factory=dict)
    class_values: Mapping[str, int] = field(default_factory=dict)
    radius_min_scale: float = 0.5
    radius_max_scale: float = 1.5
    connectivity: int = 1
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def open(self) -> Volume:
        """Open the class map; only its head is read."""
        return open_(
            self.address,
            voxel_size=self.voxel_size,
            on_conflict="override" if self.override_voxel_size else "error",
            **self.selection,
        )


@dataclass(frozen=True, slots=True)
class LabelWork:
    """Finds the components of one block."""

    source: Source
    grid: ChunkGrid
    connectivity: int

    def __call__(self, index: Index) -> BlockReport:
        """Read one block and label it."""
        region = self.grid[index].write
        offset = tuple(s.start for s in region)
        block = self.source.read(region)
        return label_chunk(block, index, offset, self.source.shape, self.connectivity, None)


def localize(
    task: LocalizeTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> tuple[Points, list[Path]]:
    """Find particle centres in a class map, block by block, and write them.

    Parameters
    ----------
    task : LocalizeTask
        What is to be done.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    points : Points
        By class, then by first voxel; equal for every chunking.
    paths : list of Path
        Files that were written.

    Raises
    ------
    VolprocError
        If the input is no class map, a class is unknown, or the output exists.
    """
    volume = task.open()
    if task.output:
        refuse_points(task.output, overwrite=task.overwrite, options=task.options)
    radii, values = find_classes(task)
    rule = make_rule(
        radii,
        class_values=values,
        radius_min_scale=task.radius_min_scale,
        radius_max_scale=task.radius_max_scale,
    )
    source = volume.source
    assert source is not None  # an opened volume has one
    if volume.dtype.kind not in "iub" or volume.ndim != 3:
        msg = (
            f"{task.address} is no class map of a volume: it holds {volume.dtype} voxels of shape "
            f"{volume.shape}. Localize the output of `volproc segment semantic`."
        )
        raise ShapeError(msg)
    check_connectivity(task.connectivity, volume.ndim)
    grid = statistics_grid(source)
    collector = Collector(grid.numblocks, task.connectivity)
    run_stage(
        STAGE,
        grid.indices(),
        LabelWork(source, grid, task.connectivity),
        executor=executor or SerialExecutor(),
        observe=observe,
        collect=collector.add,
        total=len(grid),
    )
    points = points_of(
        collector.finish(),
        rule=rule,
        voxel_size=volume.voxel_size,
        shape=volume.shape,
        name=tomogram_name(task.address, volume.name),
    )
    paths = (
        write_points(points, task.output, overwrite=task.overwrite, **task.options)
        if task.output
        else []
    )
    observe(Event("note", STAGE, text=f"{len(points)} particles"))
    return points, paths


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

    They come from the task, else from the copick project of the map or of the output, else from
    the record beside the map.

    Raises
    ------
    ConfigError
        If they are nowhere to be found.
    """
    radii, values = dict(task.radii), dict(task.class_values)
    for address in (task.address, task.output):
        if address and is_copick(address):
            objects = project_objects(parse_copick(address).config)
            values = values or {name: o.label for name, o in objects.items()}
            radii = radii or {
                name: o.radius_angstrom
                for name, o in objects.items()
                if o.is_particle and o.radius_angstrom
            }
    record = read_record(task.address)
    values = values or record.get("classes", {})
    radii = radii or record.get("radii_angstrom", {})
    if not radii or not values:
        what = "radii" if not radii else "values"
        msg = (
            f"the {what} of the particle classes in {task.address} are not known: it is in no "
            "copick project, and no record of `volproc segment semantic` lies beside it. Give "
            "them, as --radius NAME=ANGSTROM and --class NAME=VALUE."
        )
        raise ConfigError(msg)
    return radii, values


def evaluate(
    pairs: Sequence[tuple[Points, Points]],
    *,
    radii: Mapping[str, float],
    distance_scale: float = 0.5,
    beta: float = 1.0,
) -> pd.DataFrame:
    """Score picks against truths over several volumes.

    Parameters
    ----------
    pairs : sequence of (Points, Points)
        True and predicted points of each volume.
    radii, distance_scale, beta
        As in `volproc.metrics.points.score_points`.

    Returns
    -------
    scores : DataFrame
        A row a class, and ``overall``: counts added over the volumes.
    """
    tables = [
        score_points(truth, found, radii=radii, distance_scale=distance_scale, beta=beta)
        for truth, found in pairs
    ]
    return combine_scores(tables, beta=beta)
