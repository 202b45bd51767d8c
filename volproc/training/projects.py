"""What a training on copick projects needs to know: runs, labels, radii, and which are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from volproc.core.errors import AddressError, ConfigError, MissingFileError, nearest
from volproc.core.types import Shape
from volproc.io.copick_project import list_runs, project_objects
from volproc.io.octopi_logs import log_path, read_log
from volproc.io.picks_find import find_segmentations
from volproc.models.octopi import read_octopi_spec
from volproc.training.settings import CopickData, TrainingSettings


@dataclass(frozen=True, slots=True)
class Project:
    """One project to train on."""

    config: str
    """Its configuration file."""

    voxel_size: float = 10.0
    """Å per voxel of its tomograms."""

    session: str = ""
    """What people call it among several; part of ``SESSION:RUN``."""

    tomograms: tuple[str, ...] = ()
    """Types of its tomograms, where they are not those of the others."""


@dataclass(frozen=True, slots=True)
class ProjectData:
    """What to train on.

    Parameters
    ----------
    projects : tuple of Project
        One or several.
    tomograms : tuple of str
        Types of the tomograms; with several, a run is seen in each.
    targets : tuple of str
        Name, user and session of the targets.
    train_runs, validate_runs : tuple of str
        Names of the runs, as ``RUN`` or ``SESSION:RUN``; without the one or the other, the rest.
    split : float
        Part of the runs that is trained on, where neither is given.
    validate_split : float or None
        Part that is held out then; None for all others. What is left over is for tests.
    seed : int
        Chooses them.
    """

    projects: tuple[Project, ...]
    tomograms: tuple[str, ...] = ("wbp",)
    targets: tuple[str, str, str] = ("targets", "octopi", "1")
    train_runs: tuple[str, ...] = ()
    validate_runs: tuple[str, ...] = ()
    split: float = 0.8
    validate_split: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Labels:
    """What the values of a project's targets mean, and the picks that they were made of."""

    values: dict[int, str]
    centres: dict[str, str]


def settings_of(data: ProjectData, **changes: Any) -> tuple[TrainingSettings, list[str]]:
    """Make the settings of a training from what projects hold.

    Parameters
    ----------
    data : ProjectData
        What to train on.
    changes
        Settings of `TrainingSettings` other than the data, the classes, the radii and the voxel
        size. Without ``epochs`` and the like their defaults are taken.

    Returns
    -------
    settings : TrainingSettings
        Classes are the names in the targets' log, in the order of their values: these may have
        gaps and differ from project to project, names count.
    notes : list of str
        What people should know: runs that were left out, voxel sizes that differ.

    Raises
    ------
    AddressError
        If a run that was named is not there, or lacks the tomogram or the targets.
    ConfigError
        If projects have other classes than the first, or there is nothing to train on.
    """
    notes: list[str] = []
    labels = [_read_labels(project, data.targets) for project in data.projects]
    names = list(labels[0].values.values())
    for project, other in zip(data.projects[1:], labels[1:], strict=True):
        if set(other.values.values()) != set(names):
            msg = (
                f"the targets of {project.config} show {', '.join(other.values.values())}, those "
                f"of {data.projects[0].config} {', '.join(names)}. Create targets of the same "
                "objects in all projects."
            )
            raise ConfigError(msg)
    runs = [(number, run) for number in range(len(labels)) for run in _runs(data, number, notes)]
    train, held_out = _divide(data, runs, notes)
    sizes = sorted({project.voxel_size for project in data.projects})
    if len(sizes) > 1:
        notes.append(
            f"voxel sizes are mixed ({', '.join(f'{s:g}' for s in sizes)} Å): every tomogram is "
            "seen in its own voxels, none is rescaled"
        )
    radii = _radii(data.projects, names)
    without = [name for name in names if name not in radii]
    if without and changes.get("metric") == "picks":
        notes.append(f"no radius, so no picks to validate: {', '.join(without)}")
    settings = TrainingSettings(
        classes=("background", *names),
        train=_data_sets(data, labels, train),
        validate=_data_sets(data, labels, held_out),
        radii=radii,
        voxel_size=sizes[0] if len(sizes) == 1 else None,
        **changes,
    )
    return settings, notes


def continue_from(settings: TrainingSettings, config: str, weights: str) -> TrainingSettings:
    """Begin with a model of Octopi, whose network and order of classes are kept.

    Parameters
    ----------
    settings : TrainingSettings
        What was asked for; architecture, parameters, patch and classes become the model's.
    config, weights : str
        ``model_config.yaml`` and ``best_model.pth``.

    Raises
    ------
    ConfigError
        If the model's labels are not those of the targets.
    """
    spec = read_octopi_spec(config, weights)
    wanted, given = set(settings.classes[1:]), set(spec.classes[1:])
    if wanted != given:
        parts = (
            ("lacks", sorted(wanted - given)),
            ("also has", sorted(given - wanted)),
        )
        what = " and ".join(f"{verb} {', '.join(some)}" for verb, some in parts if some)
        msg = (
            f"the labels of {config} do not fit the targets: it {what}. Create targets of the "
            f"model's objects ({', '.join(spec.classes[1:])}), or train a new model."
        )
        raise ConfigError(msg)
    return replace(
        settings,
        classes=spec.classes,
        architecture=spec.architecture,
        params=dict(spec.params),
        patch=spec.patch,
        start_from=str(spec.weights),
    )


def cube(side: int) -> Shape:
    """Patch of one side.

    >>> cube(48)
    (48, 48, 48)
    """
    return (side,) * 3


def _read_labels(project: Project, targets: tuple[str, str, str]) -> _Labels:
    """Labels of the log; of targets without one, those of the project's objects."""
    name, user, session = targets
    path = log_path(project.config, "targets", user=user, session=session, name=name)
    try:
        log = read_log(path)
    except MissingFileError:
        objects = project_objects(project.config).values()
        return _Labels({item.label: item.name for item in objects}, {})
    source = log.get("input", {})
    labels = source.get("labels") if isinstance(source, dict) else None
    is_sound = isinstance(labels, dict) and all(
        isinstance(value, int) and not isinstance(value, bool) and value > 0
        for value in labels.values()
    )
    if not is_sound or not labels or len(set(labels.values())) < len(labels):
        msg = (
            f"{path} gives no labels of the targets, got {str(labels)[:100]}. It has input: "
            "labels: NAME: VALUE with a value of its own for each; create the targets again."
        )
        raise ConfigError(msg)
    values = {value: str(key) for key, value in sorted(labels.items(), key=lambda kv: kv[1])}
    owners = source.get("targets")
    particles = [n for n, item in project_objects(project.config).items() if item.is_particle]
    centres = {}
    for key, owner in (owners if isinstance(owners, dict) else {}).items():
        if key in particles and key in labels and isinstance(owner, dict):
            whose = [str(owner.get(part) or "") for part in ("user_id", "session_id")]
            centres[str(key)] = f"{key}:{whose[0]}/{whose[1]}"
    return _Labels(values, centres)


def _runs(data: ProjectData, number: int, notes: list[str]) -> list[str]:
    """Runs of a project that have tomograms and targets; others are named."""
    project = data.projects[number]
    every = list_runs(project.config)
    fitting = set(every)
    tomograms = project.tomograms or data.tomograms
    for tomogram in tomograms:
        has = list_runs(project.config, tomogram=tomogram, voxel_size=project.voxel_size)
        fitting &= set(has)
    name, user, session = data.targets
    shown = [
        run
        for run in every
        if run in fitting
        and find_segmentations(
            project.config, run, name, voxel_size=project.voxel_size, user=user, session=session
        )
    ]
    what = f"tomogram {', '.join(tomograms)} at {project.voxel_size:g} Å"
    lacking = {
        f"a {what}": [run for run in every if run not in fitting],
        f"targets {name}:{user}/{session}": [r for r in every if r in fitting and r not in shown],
    }
    named = {_bare(word, project, data) for word in (*data.train_runs, *data.validate_runs)}
    for thing, runs in lacking.items():
        asked = [run for run in runs if run in named]
        if asked:
            msg = (
                f"{', '.join(asked)} of {project.config} {'has' if len(asked) == 1 else 'have'} "
                f"not {thing}. Leave them out, or make what is missing."
            )
            raise AddressError(msg)
        if runs:
            notes.append(f"left out of {project.config}, without {thing}: {', '.join(runs)}")
    if not shown:
        msg = (
            f"no run of {project.config} has a {what} and targets {name}:{user}/{session}. Make "
            "targets with volproc create-targets, or correct --tomo-alg, --voxel-size and "
            "--target-info."
        )
        raise ConfigError(msg)
    return shown


def _bare(word: str, project: Project, data: ProjectData) -> str | None:
    """Name of the run that a word means in this project; None if it means another project."""
    session, colon, run = word.partition(":")
    if not colon:
        return word
    known = [p.session for p in data.projects]
    if session not in known:
        msg = f'"{word}" names no project: {nearest(session, known)}'
        raise AddressError(msg)
    return run if session == project.session else None


def _divide(
    data: ProjectData, runs: list[tuple[int, str]], notes: list[str]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Runs to train on, and runs that are held out."""

    def pick(words: Sequence[str]) -> list[tuple[int, str]]:
        chosen = []
        for word in words:
            fits = [(n, run) for n, run in runs if _bare(word, data.projects[n], data) == run]
            if not fits:
                names = [run for _, run in runs]
                msg = f'no project has a run "{word}"; {nearest(word.rpartition(":")[2], names)}'
                raise AddressError(msg)
            chosen += [one for one in fits if one not in chosen]
        return chosen

    train, held_out = pick(data.train_runs), pick(data.validate_runs)
    both = sorted({run for _, run in set(train) & set(held_out)})
    if both:
        msg = f"{', '.join(both)} would be trained on and held out. Name each run once."
        raise ConfigError(msg)
    if train or held_out:
        rest = [one for one in runs if one not in train and one not in held_out]
        train, held_out = train or rest, held_out or rest
    else:
        train, held_out = _split(data, runs)
        left = sorted({run for _, run in runs} - {run for _, run in (*train, *held_out)})
        if left:
            notes.append(f"neither trained on nor held out: {', '.join(left)}")
    if not train:
        msg = "every run is held out, so there is none to train on. Hold out fewer."
        raise ConfigError(msg)
    if not held_out:
        notes.append("no run is held out: scores say how well the runs are learnt by heart")
    return train, held_out


def _split(
    data: ProjectData, runs: list[tuple[int, str]]
) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
    """Runs by chance; one that is seen in several voxel sizes is on one side with all of them."""
    names = list(dict.fromkeys((data.projects[n].config, run) for n, run in runs))
    if len(names) == 1:
        return runs, []
    order = np.random.default_rng(data.seed).permutation(len(names))
    num_train = min(max(1, round(data.split * len(names))), len(names) - 1)
    num_held_out = len(names) - num_train
    if data.validate_split is not None:
        num_held_out = min(max(1, round(data.validate_split * len(names))), num_held_out)

    def take(numbers: Sequence[int]) -> list[tuple[int, str]]:
        chosen = {names[i] for i in numbers}
        return [(n, run) for n, run in runs if (data.projects[n].config, run) in chosen]

    ordered = order.tolist()
    return take(ordered[:num_train]), take(ordered[num_train : num_train + num_held_out])


def _data_sets(
    data: ProjectData, labels: Sequence[_Labels], runs: Sequence[tuple[int, str]]
) -> tuple[CopickData, ...]:
    name, user, session = data.targets
    sets = []
    for number, project in enumerate(data.projects):
        own = tuple(run for n, run in runs if n == number)
        if own:
            sets += [
                CopickData(
                    project.config,
                    tomogram,
                    project.voxel_size,
                    own,
                    targets=f"{name}:{user}/{session}",
                    values=labels[number].values,
                    centres=labels[number].centres,
                )
                for tomogram in project.tomograms or data.tomograms
            ]
    return tuple(sets)


def _radii(projects: Sequence[Project], names: Sequence[str]) -> dict[str, float]:
    """Radius of each class that is a particle; projects have to agree."""
    radii: dict[str, float] = {}
    for project in projects:
        for name, item in project_objects(project.config).items():
            if name not in names or not item.is_particle or not item.radius_angstrom:
                continue
            if radii.setdefault(name, item.radius_angstrom) != item.radius_angstrom:
                msg = (
                    f"{name} has a radius of {radii[name]:g} Å in {projects[0].config} and of "
                    f"{item.radius_angstrom:g} Å in {project.config}. Make them agree."
                )
                raise ConfigError(msg)
    return radii
