"""Augmentation: changes of a patch that leave its truth true."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

MOST_TURN = 0.1
"""Radians about each axis."""

MOST_STRETCH = 0.1
"""Part of the size."""

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How a patch is changed at random.

    Parameters
    ----------
    flip : bool
        Mirror along z, y and x, each with probability one half. A 180° turn about y, which
        leaves a tilt series' missing wedge in place, is two of these.
    rotate90 : bool
        Turn by a multiple of 90° in the (y, x) plane, where the patch is square there. This
        moves a missing wedge from (z, x) to (z, y), as test-time rotations about z do.
    transpose : bool
        Swap the axes at random, where the patch is a cube: for volumes without a missing wedge,
        or objects that lie in all directions but were seen in few.
    blur : float
        Largest standard deviation, voxels, of a Gaussian blur; for data of mixed sharpness.
    scale : float
        Grey values are multiplied by a number in ``1 ± scale``.
    shift : float
        A number in ``± shift`` is added.
    noise : float
        Standard deviation, at most, of added white noise.
    contrast : float
        Grey values, spread from 0 to 1 over the patch, are taken to a power in ``1 ± contrast``.
    affine : float
        Probability that the patch is turned by up to `MOST_TURN` about each axis and stretched by
        up to `MOST_STRETCH`: the image is interpolated, the truth keeps its values (nearest
        neighbour).
    chance : float
        Probability of each change of grey values.
    """

    flip: bool = True
    rotate90: bool = True
    transpose: bool = False
    blur: float = 0.0
    scale: float = 0.1
    shift: float = 0.1
    noise: float = 0.05
    contrast: float = 0.0
    affine: float = 0.0
    chance: float = 1.0

    def __call__(
        self, image: Floats, classes: Classes, rng: np.random.Generator
    ) -> tuple[Floats, Classes]:
        """Change one patch.

        Parameters
        ----------
        image : ndarray of float32, (z, y, x)
            Scaled voxels; left alone.
        classes : ndarray of uint8, (z, y, x)
            Truth; moved as the image is.
        rng : numpy Generator
            Source of chance; the same state gives the same change.

        Returns
        -------
        image, classes : ndarray
            New arrays of the same shapes.
        """
        if self.flip:
            axes = tuple(axis for axis in range(3) if rng.random() < 0.5)
            image, classes = np.flip(image, axes), np.flip(classes, axes)
        if self.rotate90 and image.shape[1] == image.shape[2]:
            turns = int(rng.integers(4))
            image, classes = np.rot90(image, turns, (1, 2)), np.rot90(classes, turns, (1, 2))
        if self.transpose and len(set(image.shape)) == 1:
            order = tuple(int(axis) for axis in rng.permutation(3))
            image, classes = image.transpose(order), classes.transpose(order)
        if self.affine and rng.random() < self.affine:
            image, classes = warp(image, classes, _random_matrix(rng))
        image = self._change_greys(image, rng)
        return np.ascontiguousarray(image), np.ascontiguousarray(classes)

    def _change_greys(self, image: Floats, rng: np.random.Generator) -> Floats:
        """Blur, contrast, scale, shift and noise, each by chance."""

        def happens() -> bool:
            return self.chance >= 1 or rng.random() < self.chance

        if self.blur and happens():
            image = _blur(image, float(rng.uniform(0, self.blur)))
        if self.contrast and happens():
            low, high = float(image.min()), float(image.max())
            power = rng.uniform(1 - self.contrast, 1 + self.contrast)
            spread = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
            image = (spread**power * (high - low) + low).astype(np.float32)
        factor = np.float32(rng.uniform(1 - self.scale, 1 + self.scale) if happens() else 1)
        offset = np.float32(rng.uniform(-self.shift, self.shift) if happens() else 0)
        image = image * factor + offset
        if self.noise and happens():
            level = np.float32(rng.uniform(0, self.noise))
            image = image + level * rng.standard_normal(image.shape, np.float32)
        return image


def warp(
    image: Floats, classes: Classes, matrix: npt.NDArray[np.float64]
) -> tuple[Floats, Classes]:
    """Turn and stretch a patch about its middle.

    Parameters
    ----------
    image : ndarray of float32, (z, y, x)
        Interpolated linearly; beyond the patch it is mirrored.
    classes : ndarray of uint8, (z, y, x)
        Every voxel takes the value of the nearest one, never a mean of two; mirrored likewise.
    matrix : ndarray of float, (3, 3)
        From places (z, y, x) in the result to places in the patch, voxels from the middle.

    Returns
    -------
    image, classes : ndarray
        Of the same shapes.
    """
    half = np.maximum(np.array(image.shape, np.float64) - 1, 1) / 2
    # grid_sample counts from -1 to 1 along each axis, x first
    relative = (matrix * half[None, :] / half[:, None])[::-1, ::-1]
    theta = torch.from_numpy(np.column_stack([relative, np.zeros(3)])[None].astype(np.float32))
    grid = functional.affine_grid(theta, [1, 1, *image.shape], align_corners=True)

    def sample(array: npt.NDArray[Any], mode: str) -> Floats:
        volume = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
        moved = functional.grid_sample(
            volume, grid, mode=mode, padding_mode="reflection", align_corners=True
        )
        return moved[0, 0].numpy()

    return sample(image, "bilinear"), sample(classes, "nearest").astype(np.uint8)


def _random_matrix(rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Small turns about z, y and x, and a stretch along each axis."""
    matrix = np.diag(1 + rng.uniform(-MOST_STRETCH, MOST_STRETCH, 3))
    for axes in ((0, 1), (0, 2), (1, 2)):
        angle = rng.uniform(-MOST_TURN, MOST_TURN)
        turn = np.eye(3)
        turn[np.ix_(axes, axes)] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        matrix = turn @ matrix
    return matrix


def _blur(image: Floats, sigma: float) -> Floats:
    """Blur along every axis with a Gaussian cut at three sigma, mirrored at the edges."""
    radius = max(1, ceil(3 * sigma))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(sigma, 1e-3)) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis, size in enumerate(image.shape):
        before_after = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.moveaxis(np.pad(image, before_after, "symmetric"), axis, 0)
        parts = (w * padded[i : i + size] for i, w in enumerate(weights))
        image = np.moveaxis(sum(parts, np.zeros((), np.float32)), 0, axis)
    return image
