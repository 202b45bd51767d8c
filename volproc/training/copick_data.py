"""Training volumes from a copick project."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import ZYX, Shape
from volproc.io.copick_project import list_runs
from volproc.io.open import open_
from volproc.io.picks_find import find_picks
from volproc.io.points import read_points
from volproc.training.labelled import LabelledVolume, MappedClasses, check_same_shape
from volproc.training.layers import Balls, Layer, LayeredClasses, NonZero
from volproc.training.measure import find_values, finish_volume
from volproc.training.settings import CopickData, TrainingSettings


def open_copick(settings: TrainingSettings, data: CopickData) -> Iterator[LabelledVolume]:
    """Open the tomograms of some runs, with their truth painted from picks or segmentations.

    Parameters
    ----------
    settings : TrainingSettings
        Classes and radii.
    data : CopickData
        Which runs, and what shows which class.

    Raises
    ------
    ConfigError
        If nothing shows a class, or a class that is shown by picks has no radius.
    """
    if data.targets and (data.picks or data.segmentations):
        msg = (
            f"the copick data of {data.config} name targets, and picks or segmentations too. Give "
            "the one or the others."
        )
        raise ConfigError(msg)
    if not (data.picks or data.segmentations or data.targets):
        msg = (
            f"the copick data of {data.config} name neither picks nor segmentations nor targets. "
            "Say under one of them what shows each class."
        )
        raise ConfigError(msg)
    runs = data.runs or list_runs(data.config, tomogram=data.tomogram, voxel_size=data.voxel_size)
    if not runs:
        msg = (
            f"no run of {data.config} has a tomogram {data.tomogram} at {data.voxel_size:g} Å. "
            "Check tomogram and voxel_size (voxel_size_angstrom in a file)."
        )
        raise ConfigError(msg)
    for run in runs:
        address = f"{data.config}:{run}/{data.tomogram}@{data.voxel_size:g}"
        volume = open_(address)
        if volume.source is None:
            msg = f"{address} cannot be read region by region. Train on tomograms in storage."
            raise ConfigError(msg)
        known = _centres(settings, data, run)
        if data.targets:
            mapped = _targets(settings, data, run, volume.shape)
            found = finish_volume(settings, address, volume.source, mapped)
            yield replace(found, voxel_size=_triple(volume.voxel_size), centres=known)
            continue
        layers = [*_segmentations(settings, data, run, volume.shape), *_balls(settings, data, run)]
        truth = LayeredClasses(volume.shape, volume.source.chunks, layers)
        found = finish_volume(settings, address, volume.source, truth)
        yield replace(found, voxel_size=_triple(volume.voxel_size), centres=known)


def _triple(voxel_size: tuple[float, ...] | None) -> ZYX[float]:
    assert voxel_size is not None  # a project knows it
    z, y, x = voxel_size
    return z, y, x


def _targets(settings: TrainingSettings, data: CopickData, run: str, shape: Shape) -> MappedClasses:
    """One map of all classes, its values turned to channels."""
    address = f"{data.config}:{run}/{data.targets}@{data.voxel_size:g}"
    source = open_(address).source
    if source is None:
        msg = f"{address} cannot be read region by region. Use targets in storage."
        raise ConfigError(msg)
    check_same_shape(address, shape, source.shape)
    unknown = find_values(source) - {0, *data.values}
    if unknown:
        listed = ", ".join(f"{value} {name}" for value, name in sorted(data.values.items()))
        msg = (
            f"{address} holds the values {', '.join(map(str, sorted(unknown)))}, which are no "
            f"class; known are {listed}. Name them under values, or create the targets again."
        )
        raise ConfigError(msg)
    positions = {value: settings.classes.index(name) for value, name in data.values.items()}
    return MappedClasses(source, positions)


def _centres(
    settings: TrainingSettings, data: CopickData, run: str
) -> dict[int, npt.NDArray[np.float64]]:
    """Known picks of each class; a run without them has none."""
    known = {}
    for name, member in (data.centres or data.picks).items():
        object_name, _, owner = member.partition(":")
        user, _, session = owner.partition("/")
        sets = [
            read_points(address, voxel_size=data.voxel_size).zyx
            for address in find_picks(
                data.config, run, object_name, user=user or None, session=session or None
            )
        ]
        known[settings.classes.index(name)] = np.concatenate([np.zeros((0, 3)), *sets])
    return known


def _segmentations(
    settings: TrainingSettings, data: CopickData, run: str, shape: Shape
) -> Iterator[tuple[int, Layer]]:
    for name, member in data.segmentations.items():
        address = f"{data.config}:{run}/{member}@{data.voxel_size:g}"
        source = open_(address).source
        if source is None:
            msg = f"{address} cannot be read region by region. Use a segmentation in storage."
            raise ConfigError(msg)
        check_same_shape(address, shape, source.shape)
        yield settings.classes.index(name), NonZero(source)


def _balls(settings: TrainingSettings, data: CopickData, run: str) -> Iterator[tuple[int, Layer]]:
    for name, member in data.picks.items():
        if name not in settings.radii:
            msg = (
                f'picks show the class "{name}", which has no radius. Give radii a value in Å for '
                f"{name} (radii_angstrom in a file)."
            )
            raise ConfigError(msg)
        points = read_points(f"{data.config}:{run}/{member}", voxel_size=data.voxel_size)
        radius = settings.radii[name] / data.voxel_size * data.radius_fraction
        yield settings.classes.index(name), Balls(points.zyx, radius)
