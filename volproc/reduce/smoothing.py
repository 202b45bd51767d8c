"""Objects with smooth surfaces: each blurred by a part of its own diameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region, Shape
from volproc.reduce.components import relabel
from volproc.reduce.label_kernels import find_boxes, number_labels
from volproc.reduce.numbering import Ints, Labels, Names, as_unsigned
from volproc.reduce.placement import lift
from volproc.reduce.smoothing_kernels import find_runs, keep_small, smooth_object

Weights = npt.NDArray[np.float64]

NO_SIDES = np.zeros(6, np.int64)


@dataclass(frozen=True, slots=True)
class SmoothingRule:
    """How much an object is blurred.

    Everything is computed number by number in Python: NumPy's loops may round the same number
    differently at another place of an array.
    """

    fraction: float
    """Standard deviation of the Gaussian, as a part of the object's diameter."""

    truncate: float
    """Where the Gaussian ends, in standard deviations."""

    max_sigma: float
    """Greatest standard deviation, voxels."""

    voxel_size: tuple[float, ...]
    """Å, (z, y, x) or (y, x); ones where it is not known."""

    def sigma(self, num_voxels: int) -> tuple[float, ...]:
        """Standard deviation along each axis, voxels, of an object.

        The diameter is that of the ball, or disk, of the same volume.

        >>> rule = SmoothingRule(0.1, 4.0, 16.0, (10.0, 20.0))
        >>> [round(sigma, 3) for sigma in rule.sigma(314)]
        [2.828, 1.414]
        """
        size = num_voxels * math.prod(self.voxel_size)
        if len(self.voxel_size) == 2:
            diameter = math.sqrt(4 * size / math.pi)
        else:
            diameter = (6 * size / math.pi) ** (1 / 3)
        return tuple(min(self.fraction * diameter / v, self.max_sigma) for v in self.voxel_size)

    def radius(self, num_voxels: int) -> tuple[int, ...]:
        """Neighbours per side along each axis that count for an object."""
        return tuple(int(self.truncate * s + 0.5) for s in self.sigma(num_voxels))

    def weights(self, num_voxels: int) -> list[Weights]:
        """Weights of the neighbours along z, y, x; they sum to 1."""
        axes = zip(self.sigma(num_voxels), self.radius(num_voxels), strict=True)
        found = [_gaussian(sigma, radius) for sigma, radius in axes]
        return [np.ones(1)] * (3 - len(found)) + found


def _gaussian(sigma: float, radius: int) -> Weights:
    if radius == 0:
        return np.ones(1)
    heights = [math.exp(-0.5 * (i / sigma) ** 2) for i in range(-radius, radius + 1)]
    total = math.fsum(heights)
    return np.array([h / total for h in heights])


def smooth_block(
    labels: Labels,
    *,
    start: Shape,
    core: Region,
    shape: Shape,
    counts: Any,
    rule: SmoothingRule,
) -> Labels:
    """Smooth the objects of one block.

    Parameters
    ----------
    labels : ndarray of int, (z, y, x) or (y, x)
        The block with a halo of at least the radius of each object that reaches into it, as far
        as the volume goes.
    start : tuple of int
        First voxel of ``labels`` in the volume.
    core : tuple of slice
        The block itself, in the volume.
    shape : tuple of int
        Size of the volume.
    counts : callable
        Gives the numbers of voxels, in the whole volume, of an array of labels.
    rule : SmoothingRule

    Returns
    -------
    smooth : ndarray of the same type, shape of the core
        Where an object's blurred mask exceeds one half, its label; of several, that with the
        greatest value, then the smaller label.

    Notes
    -----
    Eight or 12 bytes a voxel with halo, 16 a run of equal labels, 12 a voxel of the core; and
    eight for each voxel in the planes of the core along z, halo along y and x included. Time
    follows the surface and volume of the objects, not their boxes.
    """
    numbers, names, _ = number_labels(lift(as_unsigned(labels)), None, NO_SIDES)
    lead = 3 - labels.ndim
    first = np.array((0,) * lead + tuple(start), np.int64)
    size = np.array((1,) * lead + tuple(shape), np.int64)
    inner = np.array((0,) * lead + tuple(s.start for s in core), np.int64) - first
    extent = (1,) * lead + tuple(s.stop - s.start for s in core)
    best, out = np.zeros(extent, np.float64), np.zeros(extent, np.uint32)
    num_voxels: Ints = counts(names)
    radii = np.array([(0,) * lead + rule.radius(int(n)) for n in num_voxels], np.int64)
    radii = radii.reshape(-1, 3)
    is_small = np.concatenate([[False], (radii == 0).all(1)])
    keep_small(numbers, inner, is_small, best, out)
    boxes = find_boxes(numbers, len(names))
    lower = np.maximum(boxes[:, :3] - radii, inner)
    upper = np.minimum(boxes[:, 3:] + radii, inner + extent)
    reaches = (lower < upper).all(1) & ~is_small[1:]
    begins, runs = find_runs(numbers, len(names))
    planes = np.zeros((extent[0], *numbers.shape[1:]))
    spans = np.zeros((*planes.shape[:2], 2), np.int64)
    spans[..., 0] = planes.shape[2]
    order = np.argsort(names)
    for i in order[reaches[order]]:
        weights = rule.weights(int(num_voxels[i]))
        target = np.concatenate([lower[i], upper[i]])
        own = runs[begins[i] : begins[i + 1]]
        place = (boxes[i], target, first, size)
        smooth_object(i + 1, own, *place, *weights, planes, spans, inner, best, out)
    lut: Names = np.concatenate([np.zeros(1, np.uint64), names])
    return relabel(out.reshape(extent[lead:]), lut, dtype=labels.dtype)
