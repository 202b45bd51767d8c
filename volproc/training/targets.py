"""Targets of a training: the picks of a copick project, painted block by block.

picks ──► balls ────┐
                    ├──► one multilabel segmentation a run ──► log
segmentations ──────┘
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from volproc.core.errors import AddressError, ConfigError, ExistsError, VolprocError, nearest
from volproc.core.events import Event, Observer, ignore
from volproc.core.points import Points
from volproc.core.types import Shape
from volproc.io.copick_address import check_new_name, segmentation_address, tomogram_address
from volproc.io.copick_project import list_runs
from volproc.io.octopi_logs import log_path, write_log
from volproc.io.open import open_
from volproc.io.picks_find import find_picks, find_segmentations
from volproc.io.points import read_points
from volproc.training.labelled import check_same_shape
from volproc.training.layers import Balls, Bumps, Layer, NonZero
from volproc.training.target_choice import Target
from volproc.training.target_painting import HeatPainter, LabelPainter, Painter, write_painted

STAGE = "create-targets"

Kind = Literal["balls", "heatmap"]

LEAST_RADIUS = 1.0
"""Voxels: a smaller ball would miss every voxel's centre."""


@dataclass(frozen=True, slots=True)
class TargetsTask:
    """What is to be painted, and where to.

    Parameters
    ----------
    config : str
        Configuration file of the project.
    targets : tuple of Target
        Classes; see `volproc.training.target_choice.choose_targets`.
    tomogram : str
        Type of the tomograms, whose shape the targets get.
    voxel_size : float
        Å per voxel of the tomograms.
    runs : tuple of str
        Names of the runs; empty for all that have such a tomogram.
    radius_scale : float
        Radius of a ball as a part of the particle's.
    name, user, session : str
        What the targets are called.
    kind : {"balls", "heatmap"}
        One multilabel segmentation a run, or a heat map a class: a segmentation ``NAME-CLASS``
        of float16, 1 at a pick and one half at the radius of its ball.
    overwrite : bool
        Replace targets of the same name.
    """

    config: str
    targets: tuple[Target, ...]
    tomogram: str = "wbp"
    voxel_size: float = 10.0
    runs: tuple[str, ...] = ()
    radius_scale: float = 0.7
    name: str = "targets"
    user: str = "octopi"
    session: str = "1"
    kind: Kind = "balls"
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.targets:
            msg = "there is nothing to paint. Name at least one target."
            raise ConfigError(msg)
        for what in ("radius_scale", "voxel_size"):
            if not 0 < getattr(self, what) < float("inf"):
                msg = f"{what} is {getattr(self, what)}. Give a number above 0."
                raise ConfigError(msg)
        for part, text in (("name", self.name), ("user", self.user), ("session", self.session)):
            check_new_name(part, text)


@dataclass(slots=True)
class TargetsReport:
    """What painting left behind."""

    painted: dict[str, list[str]] = field(default_factory=dict)
    """Run → addresses of its targets."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    """Run → picks of each class, those outside of the tomogram left out."""

    failed: dict[str, str] = field(default_factory=dict)
    """Run → why it has no targets."""

    notes: list[str] = field(default_factory=list)
    """What people should look at: runs that were left out, picks outside of a tomogram."""

    log: str = ""
    """The log, where anything was painted."""


def create_targets(task: TargetsTask, *, observe: Observer = ignore) -> TargetsReport:
    """Paint the targets of every run.

    Parameters
    ----------
    task : TargetsTask
        What to paint.
    observe : callable
        Takes an event a run.

    Returns
    -------
    report : TargetsReport
        A run that fails is named in it and does not stop the others.

    Raises
    ------
    AddressError
        If a run that was asked for is not in the project or has no such tomogram.
    ConfigError
        If no run has such a tomogram.
    ExistsError
        If a run has such targets already and ``overwrite`` is false; nothing is painted then.

    Notes
    -----
    One block and the picks of one run are in memory at a time. The voxels are Octopi's: balls
    about centres that are not rounded, of at least one voxel; where several classes overlap the
    greatest value wins, so that the order of the picks does not matter.
    """
    report = TargetsReport()
    runs = _choose_runs(task, report)
    if not task.overwrite:
        _refuse_existing(task, runs)
    observe(Event("stage", STAGE, total=len(runs)))
    for run in runs:
        try:
            _paint_run(task, run, report)
        except (VolprocError, OSError) as error:
            report.failed[run] = str(error)
            observe(Event("failed", STAGE, text=f"{run}: {error}"))
        else:
            observe(Event("block", STAGE))
    if report.painted:
        path = log_path(
            task.config, "targets", user=task.user, session=task.session, name=task.name
        )
        write_log(path, _log_values(task, runs))
        report.log = str(path)
    observe(Event("done", STAGE))
    return report


def _choose_runs(task: TargetsTask, report: TargetsReport) -> list[str]:
    """Runs to paint; those without a tomogram are named."""
    every = list_runs(task.config)
    fitting = set(list_runs(task.config, tomogram=task.tomogram, voxel_size=task.voxel_size))
    what = f"tomogram {task.tomogram} at {task.voxel_size:g} Å"
    for run in task.runs:
        if run not in every:
            msg = f'{task.config} has no run "{run}"; {nearest(run, every)}'
            raise AddressError(msg)
    missing = [run for run in (task.runs or every) if run not in fitting]
    if task.runs and missing:
        msg = (
            f"{', '.join(missing)} of {task.config} {'has' if len(missing) == 1 else 'have'} no "
            f"{what}. Leave them out, or choose another type or voxel size."
        )
        raise AddressError(msg)
    if not fitting:
        msg = (
            f"no run of {task.config} has a {what}. Check the type (--tomo-alg) and the voxel "
            "size (--voxel-size)."
        )
        raise ConfigError(msg)
    if missing:
        report.notes.append(f"left out, without a {what}: {', '.join(missing)}")
    return list(dict.fromkeys(task.runs)) or [run for run in every if run in fitting]


def target_names(task: TargetsTask) -> list[str]:
    """Names of the segmentations that are written."""
    if task.kind == "balls":
        return [task.name]
    return [f"{task.name}-{target.source.name}" for target in task.targets]


def _address(task: TargetsTask, run: str, name: str) -> str:
    return segmentation_address(
        task.config, run, name, user=task.user, session=task.session, voxel_size=task.voxel_size
    )


def _refuse_existing(task: TargetsTask, runs: Sequence[str]) -> None:
    taken = [
        run
        for run in runs
        for name in target_names(task)
        if find_segmentations(
            task.config,
            run,
            name,
            voxel_size=task.voxel_size,
            user=task.user,
            session=task.session,
        )
    ]
    if taken:
        msg = (
            f"targets {task.name} of {task.user}/{task.session} exist in "
            f"{', '.join(dict.fromkeys(taken))}. Choose another session, or replace them with "
            "overwrite= (--overwrite)."
        )
        raise ExistsError(msg)


def _paint_run(task: TargetsTask, run: str, report: TargetsReport) -> None:
    """Paint the targets of one run, unless nothing shows any class."""
    tomogram = open_(tomogram_address(task.config, run, task.tomogram, task.voxel_size))
    shape = tuple(tomogram.shape)
    points = {
        target.label: _read_picks(task, run, target, shape, report)
        for target in task.targets
        if target.radius_angstrom is not None
    }
    masks = {
        target.label: _open_masks(task, run, target, shape)
        for target in task.targets
        if target.radius_angstrom is None
    }
    if not any(map(len, points.values())) and not any(masks.values()):
        report.notes.append(f"{run} has neither picks nor segmentations of any target: left out")
        return
    for name, painter in _painters(task, points, masks):
        write_painted(
            _address(task, run, name),
            shape,
            painter,
            voxel_size=task.voxel_size,
            overwrite=task.overwrite,
        )
    report.painted[run] = [_address(task, run, name) for name in target_names(task)]


def _read_picks(
    task: TargetsTask, run: str, target: Target, shape: Shape, report: TargetsReport
) -> npt.NDArray[np.float64]:
    """Centres of the picks of one class, voxels, (n, 3)."""
    source = target.source
    addresses = find_picks(task.config, run, source.name, user=source.user, session=source.session)
    if len(addresses) > 1:
        owners = ", ".join(address.rpartition(":")[2] for address in addresses)
        report.notes.append(
            f"{run}: picks of {source.name} by {owners} are painted together; name one with "
            f"{source.name},USER,SESSION"
        )
    sets = [read_points(a, voxel_size=task.voxel_size, shape=shape) for a in addresses]
    zyx = np.concatenate([np.zeros((0, 3)), *(one.zyx for one in sets)])
    inside = _inside(sets, shape)
    report.counts.setdefault(run, Counter())[source.name] = int(inside.sum())
    if not inside.all():
        size = " × ".join(map(str, shape))
        report.notes.append(
            f"{run}: {int((~inside).sum())} of {len(zyx)} picks of {source.name} lie outside of "
            f"the tomogram of {size} voxels (z, y, x)"
        )
    return zyx


def _inside(sets: Sequence[Points], shape: Shape) -> npt.NDArray[np.bool_]:
    zyx = np.concatenate([np.zeros((0, 3)), *(one.zyx for one in sets)])
    inside: npt.NDArray[np.bool_] = ((zyx >= -0.5) & (zyx < np.array(shape) - 0.5)).all(axis=1)
    return inside


def _open_masks(task: TargetsTask, run: str, target: Target, shape: Shape) -> list[NonZero]:
    source = target.source
    masks = []
    for address in find_segmentations(
        task.config,
        run,
        source.name,
        voxel_size=task.voxel_size,
        user=source.user,
        session=source.session,
    ):
        opened = open_(address).source
        if opened is None:
            msg = f"{address} cannot be read region by region. Use a segmentation in storage."
            raise ConfigError(msg)
        check_same_shape(address, shape, opened.shape)
        masks.append(NonZero(opened))
    return masks


def _painters(
    task: TargetsTask,
    points: dict[int, npt.NDArray[np.float64]],
    masks: dict[int, list[NonZero]],
) -> Iterator[tuple[str, Painter]]:
    """Each segmentation to write, and what paints it."""
    if task.kind == "heatmap":
        for name, target in zip(target_names(task), task.targets, strict=True):
            zyx = points.get(target.label)
            bumps = None if zyx is None else Bumps(zyx, _radius(task, target))
            yield name, HeatPainter(bumps, masks.get(target.label, []))
        return
    layers: list[tuple[int, Layer]] = []
    for target in task.targets:
        layers += [(target.label, mask) for mask in masks.get(target.label, [])]
        if target.label in points:
            layers.append((target.label, Balls(points[target.label], _radius(task, target))))
    largest = max(target.label for target in task.targets)
    dtype: np.dtype[np.unsignedinteger] = np.dtype(np.uint8 if largest <= 255 else np.uint16)
    yield task.name, LabelPainter(layers, dtype)


def _radius(task: TargetsTask, target: Target) -> float:
    """Radius of a ball, voxels."""
    assert target.radius_angstrom is not None  # picks have one
    return max(target.radius_angstrom * task.radius_scale / task.voxel_size, LEAST_RADIUS)


def _log_values(task: TargetsTask, runs: Sequence[str]) -> dict[str, object]:
    """What Octopi's training looks for, and what made it."""
    return {
        "input": {
            "config": task.config,
            "labels": {t.source.name: t.label for t in task.targets},
            "targets": {
                t.source.name: {"user_id": t.source.user, "session_id": t.source.session}
                for t in task.targets
            },
        },
        "parameters": {
            "radius_scale": task.radius_scale,
            "tomogram_algorithm": task.tomogram,
            "voxel_size": task.voxel_size,
            "kind": task.kind,
            "radii_angstrom": {
                t.source.name: t.radius_angstrom
                for t in task.targets
                if t.radius_angstrom is not None
            },
            "runs": list(runs),
        },
    }
