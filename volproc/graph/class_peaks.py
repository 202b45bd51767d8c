"""Particles as peaks of probabilities: all classes of a block in one task."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.points import Points, concat_points
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import Graph, new_value, tree
from volproc.graph.scratch import Scratch
from volproc.graph.stored_input import StoredInput, store_input
from volproc.reduce.centres import away_from_border
from volproc.reduce.class_peaks import (
    ClassPeaks,
    find_class_peaks,
    keep_class_peaks,
    merge_class_peaks,
    peak_halo,
)
from volproc.reduce.particle_rule import ParticleRule
from volproc.reduce.probabilities import as_probabilities

ReadProbabilities = Callable[[str, Region], npt.NDArray[np.float64]]
"""Gives the probabilities of a class, by its name, in a region."""

Candidates = dict[str, ClassPeaks]
"""Class → its candidates."""


def block_peaks(
    read: ReadProbabilities,
    write: Region,
    shape: Shape,
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
) -> Candidates:
    """Candidates of all classes in one block, of one class after the other."""
    found = {}
    for name in rule.classes:
        sigma, region = _reach(rule, name, write, shape, voxel_size)
        found[name] = find_class_peaks(
            read(name, region),
            read=region,
            write=write,
            shape=shape,
            sigma=sigma,
            threshold=rule.threshold,
            refine=rule.refine,
        )
    return found


def merge_candidates(parts: Sequence[Candidates]) -> Candidates:
    """Put the candidates of blocks together, class by class."""
    return {name: merge_class_peaks([part[name] for part in parts]) for name in parts[0]}


def peak_points(
    candidates: Mapping[str, ClassPeaks],
    *,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
    shape: Shape,
    name: str,
) -> Points:
    """Points of the candidates of the whole volume that no higher one is near to.

    Returns
    -------
    points : Points
        By class in the order of the rule, then the highest first; ``score`` is the probability of
        the voxel.
    """
    points = []
    for class_name, (_, radius) in rule.classes.items():
        distance = rule.distance_scale * radius
        if rule.nms_distance is not None:
            distance = rule.nms_distance
        elif rule.nms_scale is not None:
            distance = rule.nms_scale * radius
        centres, scores = keep_class_peaks(candidates[class_name], distance, voxel_size)
        kept = away_from_border(centres, shape, rule.border)
        points.append(
            Points.from_zyx(
                centres[kept],
                class_name=class_name,
                voxel_size=voxel_size,
                shape=shape,
                score=scores[kept],
                name=name,
            )
        )
    return concat_points(points)


def localize_peaks(
    probabilities: Volume,
    rule: ParticleRule,
    name: str,
    scratch: str | os.PathLike[str] | None,
) -> Delayed:
    """Lazy points of the peaks of a map with a channel a class, or of the map of one class.

    Raises
    ------
    ConfigError
        If a class has no channel.
    ShapeError
        If the map is no volume.
    """
    if probabilities.ndim != 3:
        msg = f"particles are found in volumes (z, y, x), got shape {probabilities.shape}."
        raise ShapeError(msg)
    voxel_size, shape = probabilities.voxel_size, probabilities.shape
    tasks: Graph = {}
    stored: dict[str, StoredInput] = {}
    keeps: list[str] = []
    for class_name, (value, _) in rule.classes.items():
        store, prefix = Scratch(scratch), f"{name}-{len(keeps)}"
        channel = _channel(probabilities, class_name, value, num_classes=len(rule.classes))
        stored[class_name] = store_input(channel, store, f"{prefix}-input")
        keeps.append(f"{prefix}-scratch")
        tasks |= {**stored[class_name].tasks, keeps[-1]: store}
    sources = {class_name: one.source for class_name, one in stored.items()}
    leaves = []
    for chunk in iterate_chunks(next(iter(stored.values())).cuts):
        before = [
            stored[c].before(_reach(rule, c, chunk.region, shape, voxel_size)[1]) for c in stored
        ]
        key = (f"{name}-block", *chunk.index)
        work = partial(_find, sources, chunk.region, shape, rule=rule, voxel_size=voxel_size)
        tasks[key] = (work, before, list(keeps))
        leaves.append(key)
    merged, root = tree(f"{name}-tree", leaves, merge_candidates)
    frame = partial(
        peak_points, rule=rule, voxel_size=voxel_size, shape=shape, name=probabilities.name
    )
    tasks |= merged
    tasks[name] = (frame, root)
    arrays = [array for one in stored.values() for array in one.depends_on]
    return new_value(name, tasks, depends_on=arrays)


def _reach(
    rule: ParticleRule, class_name: str, write: Region, shape: Shape, voxel_size: tuple[float, ...]
) -> tuple[tuple[float, ...], Region]:
    """Width of the Gaussian of a class, voxels, and what a block reads for it."""
    radius = rule.classes[class_name][1]
    sigma = tuple(rule.smooth_scale * radius / size for size in voxel_size)
    region = tuple(
        slice(max(0, side.start - halo), min(size, side.stop + halo))
        for side, halo, size in zip(write, peak_halo(sigma), shape, strict=True)
    )
    return sigma, region


def _channel(
    probabilities: Volume, class_name: str, value: int, *, num_classes: int
) -> Volume | da.Array:
    """Probabilities of one class."""
    names = probabilities.channels
    if not names:
        if num_classes > 1:
            msg = (
                f"a map without channels is of one class, got {num_classes} with a radius. Give "
                "the radius of one, or a volume with channels."
            )
            raise ConfigError(msg)
        return probabilities
    number = names.index(class_name) if class_name in names else value
    if not 0 <= number < len(names):
        msg = f"there is no channel {number} for {class_name}: the map has {', '.join(names)}."
        raise ConfigError(msg)
    return probabilities.data[number]


def _find(
    sources: Mapping[str, Any],
    write: Region,
    shape: Shape,
    *after: Any,
    rule: ParticleRule,
    voxel_size: tuple[float, ...],
) -> Candidates:
    del after  # arguments only so that the input and its folder are there

    def read(name: str, region: Region) -> npt.NDArray[np.float64]:
        return as_probabilities(sources[name].read(region), name, region)

    return block_peaks(read, write, shape, rule=rule, voxel_size=voxel_size)
