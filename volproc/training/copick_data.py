"""Training volumes from a copick project."""

from __future__ import annotations

from collections.abc import Iterator

from volproc.core.errors import ConfigError
from volproc.core.types import Shape
from volproc.io.copick_project import list_runs
from volproc.io.open import open_
from volproc.io.points import read_points
from volproc.training.labelled import LabelledVolume, check_same_shape
from volproc.training.layers import Balls, Layer, LayeredClasses, NonZero
from volproc.training.measure import finish_volume
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
    if not (data.picks or data.segmentations):
        msg = (
            f"the copick data of {data.config} name neither picks nor segmentations. Say under "
            "one of them what shows each class."
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
        layers = [*_segmentations(settings, data, run, volume.shape), *_balls(settings, data, run)]
        truth = LayeredClasses(volume.shape, volume.source.chunks, layers)
        yield finish_volume(settings, address, volume.source, truth)


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
