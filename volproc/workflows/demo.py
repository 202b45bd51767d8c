"""The demonstration: phantoms in, picks, segmentations, scores and a page out."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd

from volproc.core.arrays import Source
from volproc.core.errors import ExistsError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor
from volproc.core.points import Points
from volproc.core.types import ZYX
from volproc.graph.predict import Settings
from volproc.graph.run import run_stage
from volproc.io.chunk_files import write_bytes
from volproc.io.copick_project import ProjectObject, create_project
from volproc.io.create import create
from volproc.io.open import open_
from volproc.io.points import write_points
from volproc.metrics.points import combine_scores, score_points, to_json
from volproc.models.loading import DEFAULT_MODEL, read_spec
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec
from volproc.plan.blocks import ChunkGrid
from volproc.report.page import demo_page
from volproc.report.slices import RunView, cut_slices
from volproc.workflows.convert import CopyWork
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.particles import localize
from volproc.workflows.segment import SegmentTask, segment

SETTINGS = Settings(tta="octopi4", overlap=0.25)


@dataclass(frozen=True, slots=True)
class DemoTask:
    """What the demonstration makes.

    Parameters
    ----------
    output : str
        Folder; made.
    shape : tuple of int
        Size of each phantom, (z, y, x), voxels of 10 Å.
    noise : float
        Standard deviation of the noise, where a particle has density 1.
    seeds : tuple of int
        One phantom each. The embedded model was trained on others.
    model : str
        Model file, or the name of embedded weights.
    settings : Settings
        How the network is slid.
    distance_scale : float
        Distance at which a pick is right, as a part of the particle's radius.
    overwrite : bool
        Replace an earlier demonstration in the folder.
    """

    output: str
    shape: ZYX[int] = (64, 120, 120)
    noise: float = 0.7
    seeds: tuple[int, ...] = (2_000_001, 2_000_002)
    model: str = DEFAULT_MODEL
    settings: Settings = field(default_factory=lambda: SETTINGS)
    distance_scale: float = 0.5
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class DemoReport:
    """Where everything is."""

    project: Path
    """The copick project, with tomograms, picks and segmentations."""

    scores: Path
    """Precision, recall and F1 by class and overall, JSON."""

    page: Path
    """Slices, overlays and scores, one HTML file."""

    segmentations: tuple[str, ...]
    """Class maps, by run."""

    picks: tuple[Path, ...]
    """Picks that were found: copick, STAR and CSV."""

    table: pd.DataFrame
    """The scores."""


def demo(
    task: DemoTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> DemoReport:
    """Run the main job on phantoms with known truth.

    Parameters
    ----------
    task : DemoTask
        What is to be made.
    executor, observe
        Where blocks run, and who watches.

    Returns
    -------
    report : DemoReport

    Raises
    ------
    ExistsError
        If the folder holds something and ``overwrite`` is false.
    """
    runner = executor or SerialExecutor()
    folder = _prepare(Path(task.output), overwrite=task.overwrite)
    spec = read_spec(task.model)
    phantoms = {
        f"phantom-{i + 1}": Phantom(PhantomSpec(task.shape, seed=seed, noise=task.noise))
        for i, seed in enumerate(task.seeds)
    }
    config = _make_project(folder, phantoms)
    tables: list[pd.DataFrame] = []
    views: list[RunView] = []
    maps: list[str] = []
    picks: list[Path] = []
    for run, phantom in phantoms.items():
        tomogram = _write_tomogram(config, run, phantom, runner, observe)
        truth = replace(phantom.points(), name=run)
        write_points(truth, f"{config}:{run}/:truth/0")
        classes = f"{config}:{run}/classes:volproc/1@{phantom.spec.voxel_size:g}"
        segment(
            SegmentTask(tomogram, classes, model=task.model, settings=task.settings),
            executor=runner,
            observe=observe,
        )
        # Phantoms do not touch; a watershed would split the hollow and the long ones.
        picking = LocalizeTask(
            classes, f"{config}:{run}/:volproc/1", method="centre-of-mass", border=0
        )
        found, paths = localize(picking, executor=runner, observe=observe)
        for ending in ("star", "csv"):
            paths += write_points(found, folder / f"{run}.{ending}")
        tables.append(
            score_points(truth, found, radii=phantom.radii, distance_scale=task.distance_scale)
        )
        maps.append(classes)
        picks += paths
        views.append(_view(run, phantom, tomogram, classes, truth, found))
    radii = dict(next(iter(phantoms.values())).radii)
    table = combine_scores(tables)
    scores = folder / "scores.json"
    write_bytes(scores, json.dumps(to_json(table), indent=2).encode() + b"\n")
    page = demo_page(
        folder / "report.html",
        views,
        table,
        class_names=spec.classes,
        radii=radii,
        facts={
            "model": f"{task.model}, {len(task.settings.views)} views of each patch",
            "noise": f"standard deviation {task.noise:g} where a particle has density 1",
            "a pick is right": f"within {task.distance_scale:g} of the particle's radius",
        },
    )
    return DemoReport(config, scores, page, tuple(maps), tuple(picks), table)


def _prepare(folder: Path, *, overwrite: bool) -> Path:
    """Make the folder; an earlier demonstration in it is removed only if asked."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not overwrite:
            msg = f"{folder} is not empty. Choose another folder, or replace it with --overwrite."
            raise ExistsError(msg)
        if not (folder / "config.json").is_file() or not (folder / "runs").is_dir():
            # Never remove a folder that no demonstration made.
            msg = f"{folder} holds something else than a demonstration. Choose another folder."
            raise ExistsError(msg)
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _make_project(folder: Path, phantoms: dict[str, Phantom]) -> Path:
    """Project with an object a class, and a run a phantom."""
    first = next(iter(phantoms.values()))
    objects = [
        ProjectObject(name, value, first.radii.get(name), is_particle=name in first.radii)
        for value, name in enumerate(first.class_names)
        if value
    ]
    return create_project(
        folder / "config.json",
        objects=objects,
        runs=tuple(phantoms),
        name="volproc demo",
        description="Phantoms with known truth",
        folder="runs",
        user="volproc",
    )


def _write_tomogram(
    config: Path, run: str, phantom: Phantom, runner: Executor, observe: Observer
) -> str:
    """Generate a phantom block by block, straight into the project."""
    address = f"{config}:{run}/wbp@{phantom.spec.voxel_size:g}"
    sink = create(address, shape=phantom.shape, dtype=np.float32, voxel_size=phantom.voxel_size)
    try:
        grid = ChunkGrid(phantom.shape, sink.chunks)
        run_stage(
            "phantom",
            grid.indices(),
            CopyWork(phantom, sink, grid),
            executor=runner,
            observe=observe,
            total=len(grid),
        )
        sink.finish()
    except BaseException:
        sink.discard()
        raise
    observe(Event("note", "phantom", text=f"{run}: signal to noise {phantom.snr():.2f}"))
    return address


def _view(
    run: str, phantom: Phantom, tomogram: str, classes: str, truth: Points, found: Points
) -> RunView:
    return RunView(
        name=run,
        slices=cut_slices(_source(tomogram), _source(classes)),
        voxel_size=phantom.voxel_size,
        predicted=found,
        truth=truth,
    )


def _source(address: str) -> Source:
    source = open_(address).source
    assert source is not None  # an opened volume has one
    return source
