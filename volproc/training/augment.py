"""Augmentation: changes of a patch that leave its truth true."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

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
    """

    flip: bool = True
    rotate90: bool = True
    transpose: bool = False
    blur: float = 0.0
    scale: float = 0.1
    shift: float = 0.1
    noise: float = 0.05

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
        if self.blur:
            image = _blur(image, float(rng.uniform(0, self.blur)))
        factor = np.float32(rng.uniform(1 - self.scale, 1 + self.scale))
        offset = np.float32(rng.uniform(-self.shift, self.shift))
        image = image * factor + offset
        if self.noise:
            level = np.float32(rng.uniform(0, self.noise))
            image = image + level * rng.standard_normal(image.shape, np.float32)
        return np.ascontiguousarray(image), np.ascontiguousarray(classes)


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
