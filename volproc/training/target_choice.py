"""Which objects of a copick project become targets, and with which values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from volproc.core.errors import ConfigError, nearest
from volproc.io.copick_project import ProjectObject, project_objects

LARGEST_VALUE = 65535
"""Values of a target are stored in one byte, or in two where one is not enough."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where one class of the targets comes from, as people name it: ``NAME[,USER,SESSION]``."""

    name: str
    """Object of the project, or name of a segmentation."""

    user: str | None = None
    """Whose; None for those of all."""

    session: str | None = None
    """Which session; None for all."""


@dataclass(frozen=True, slots=True)
class Target:
    """One class of the targets."""

    source: Source
    """Picks or segmentations that show it."""

    label: int
    """Its value in the targets, from 1."""

    radius_angstrom: float | None
    """Radius of the particle, Å; None where a segmentation shows the class."""


def choose_targets(
    config: str,
    picks: Sequence[Source] = (),
    segmentations: Sequence[Source] = (),
    *,
    user: str | None = None,
    session: str | None = None,
) -> tuple[Target, ...]:
    """Say what becomes a target, and its value.

    Parameters
    ----------
    config : str
        Configuration file of the project.
    picks, segmentations : sequence of Source
        What shows the classes. They are numbered 1, 2, … in this order, picks first; of an object
        that is no particle, segmentations of its name are taken. Without
        picks and segmentations every particle of the project is taken, with the label that the
        project gives it.
    user, session : str or None
        Whose picks, where every particle is taken.

    Raises
    ------
    ConfigError
        If an object is not in the project, is named twice or has no radius, or nothing is left.
    MissingFileError
        If there is no such project.
    """
    objects = project_objects(config)
    named = [*picks, *segmentations]
    names = [source.name for source in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{', '.join(twice)} is a target twice. Name each object once."
        raise ConfigError(msg)
    if not named:
        return _every_particle(config, objects, user, session)
    if user or session:
        msg = (
            "a user and a session of picks are for all particles of a project, but targets are "
            "named too. Say NAME,USER,SESSION with each target instead."
        )
        raise ConfigError(msg)
    targets = []
    for number, source in enumerate(named, 1):
        radius = None
        if number <= len(picks):
            item = _known(config, objects, source.name)
            radius = _radius(config, item) if item.is_particle else None
        targets.append(Target(source, number, radius))
    return tuple(targets)


def _every_particle(
    config: str, objects: dict[str, ProjectObject], user: str | None, session: str | None
) -> tuple[Target, ...]:
    particles = [item for item in objects.values() if item.is_particle]
    if not particles:
        msg = f"{config} has no particles. Name segmentations that show the classes."
        raise ConfigError(msg)
    without = [item.name for item in particles if not item.radius_angstrom]
    if without:
        raise _no_radius(config, without)
    return tuple(
        Target(Source(item.name, user, session), _label(config, item), _radius(config, item))
        for item in particles
    )


def _known(config: str, objects: dict[str, ProjectObject], name: str) -> ProjectObject:
    if name not in objects:
        msg = f'"{name}" is no object of {config}; {nearest(name, objects)}'
        raise ConfigError(msg)
    return objects[name]


def _label(config: str, item: ProjectObject) -> int:
    if not 1 <= item.label <= LARGEST_VALUE:
        msg = (
            f"{config} gives {item.name} the label {item.label}. Labels of targets go from 1 to "
            f"{LARGEST_VALUE}: correct it, or name the targets one by one, which numbers them anew."
        )
        raise ConfigError(msg)
    return item.label


def _radius(config: str, item: ProjectObject) -> float:
    radius = item.radius_angstrom
    if not radius:
        raise _no_radius(config, [item.name])
    if not (isfinite(radius) and radius > 0):
        msg = f"{config} gives {item.name} the radius {radius} Å. Give a positive one."
        raise ConfigError(msg)
    return float(radius)


def _no_radius(config: str, names: Sequence[str]) -> ConfigError:
    msg = (
        f"{', '.join(names)} of {config} {'has' if len(names) == 1 else 'have'} no radius, so that "
        "no ball can be painted. Give radius in Å in the project's file, or name only targets "
        "that have one."
    )
    return ConfigError(msg)
