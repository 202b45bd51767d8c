"""From the data sets that a config names to labelled volumes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import Region, Shape
from volproc.io.open import open_
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import PhantomSpec
from volproc.training.block_cache import BlockCache, CachedSource
from volproc.training.copick_data import open_copick
from volproc.training.labelled import LabelledVolume, MappedClasses, keep_in_memory
from volproc.training.measure import finish_volume
from volproc.training.settings import Data, PhantomData, TrainingSettings, VolumeData


def load_data(settings: TrainingSettings, data: Iterable[Data]) -> list[LabelledVolume]:
    """Open every volume of some data sets.

    Parameters
    ----------
    settings : TrainingSettings
        Classes, normalisation, seed and memory.
    data : iterable of data
        ``settings.train`` or ``settings.validate``.

    Returns
    -------
    volumes : list of LabelledVolume
        In memory, one after the other, until ``settings.memory_bytes`` is full; the others are
        read patch by patch, and share a cache of what is left.

    Raises
    ------
    ConfigError
        If a phantom has other classes than the settings.
    ShapeError
        If a class map has another shape than its image.
    """
    volumes: list[LabelledVolume] = []
    # At least a half is for the cache where not everything fits.
    cache = BlockCache(settings.memory_bytes)
    room = settings.memory_bytes // 2
    for volume in _open_all(settings, data):
        size = _size_in_memory(volume)
        if size <= room:
            room -= size
            cache.num_bytes -= size
            volumes.append(_keep(volume))
        else:
            volumes.append(_through(cache, volume))
    return volumes


@dataclass(frozen=True, slots=True, eq=False)
class _PhantomPart:
    """One side of a phantom, as a source: its signal, its noise or its truth."""

    phantom: Phantom
    part: str

    @property
    def shape(self) -> Shape:
        return self.phantom.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.part == "truth_classes" else np.float32)

    @property
    def chunks(self) -> Shape:
        return self.phantom.chunks

    def read(self, region: Region) -> npt.NDArray[np.float32]:
        return getattr(self.phantom, self.part)(region)

    def identity(self) -> str:
        return f"{self.phantom.identity()} {self.part}"


def _open_phantom(settings: TrainingSettings, data: PhantomData, number: int) -> LabelledVolume:
    low, high = data.noise
    if not 0 <= low <= high:
        msg = f"the noise of a phantom runs from {low} to {high}. Give 0 <= lowest <= highest."
        raise ConfigError(msg)
    spec = PhantomSpec.from_json(
        {**data.spec, "shape": data.shape, "seed": data.seed + number, "noise": 1.0}
    )
    if spec.class_names != settings.classes:
        msg = (
            f"the phantom's classes are {', '.join(spec.class_names)}, the model's "
            f"{', '.join(settings.classes)}. Give the model the phantom's classes, in its order."
        )
        raise ConfigError(msg)
    part = partial(_PhantomPart, Phantom(spec))
    name = f"phantom {spec.seed}"
    volume = finish_volume(settings, name, part("signal"), part("truth_classes"))
    truth = Phantom(spec).points()
    return replace(
        volume,
        voxel_size=(spec.voxel_size,) * 3,
        centres={settings.classes.index(name): truth.select(name).zyx for name in spec.radii},
        noise=part("unit_noise"),
        noise_levels=(low, high),
        noise_std=Phantom(spec).noise_std(),
    )


def _open_volume(settings: TrainingSettings, data: VolumeData) -> LabelledVolume:
    image = open_(data.image, voxel_size=data.voxel_size)
    classes = open_(data.classes, voxel_size=data.voxel_size)
    if image.source is None or classes.source is None:
        msg = f"{data.image} cannot be read region by region. Convert it to OME-Zarr first."
        raise ConfigError(msg)
    positions = {value: settings.classes.index(name) for value, name in data.values.items()}
    mapped = MappedClasses(classes.source, positions)
    volume = finish_volume(settings, data.image, image.source, mapped)
    if image.voxel_size is not None:
        z, y, x = image.voxel_size
        volume = replace(volume, voxel_size=(z, y, x))
    if not volume.positions:
        msg = (
            f"no voxel of {data.classes} has a value of {sorted(data.values)}, so there is no "
            "class to learn. Check values: it names the class of each value of the map."
        )
        raise ConfigError(msg)
    return volume


def _open_all(settings: TrainingSettings, data: Iterable[Data]) -> Iterator[LabelledVolume]:
    for item in data:
        if isinstance(item, PhantomData):
            for number in range(item.count):
                yield _open_phantom(settings, item, number)
        elif isinstance(item, VolumeData):
            yield _open_volume(settings, item)
        else:
            yield from open_copick(settings, item)


def _size_in_memory(volume: LabelledVolume) -> int:
    noise = 0 if volume.noise is None else volume.noise.dtype.itemsize
    return prod(volume.shape) * (volume.image.dtype.itemsize + 1 + noise)


def _through(cache: BlockCache, volume: LabelledVolume) -> LabelledVolume:
    return replace(
        volume,
        image=CachedSource(volume.image, cache),
        classes=CachedSource(volume.classes, cache),
        noise=None if volume.noise is None else CachedSource(volume.noise, cache),
    )


def _keep(volume: LabelledVolume) -> LabelledVolume:
    return replace(
        volume,
        image=keep_in_memory(volume.image),
        classes=keep_in_memory(volume.classes),
        noise=None if volume.noise is None else keep_in_memory(volume.noise),
    )
