"""A synthetic tomogram with known truth, any region of which can be made alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from volproc.core.errors import ShapeError
from volproc.core.points import Points
from volproc.core.types import ZYX, Region, Shape, region_shape, whole
from volproc.phantoms.placement import Placement, grow, membrane_distance, random_stream
from volproc.phantoms.shapes import SHAPES
from volproc.phantoms.spec import PhantomSpec
from volproc.phantoms.wedge import RADIUS, take_out_wedge

TILE = 64
"""Side of the cubes that are made at once, on a grid fixed in the volume."""

_NOISE, _NOISE_CELL = 3, 16
_BLUR, _NOISE_BLUR, _NOISE_SCALE = 0.8, 0.5, 1 / 0.6
_HALO = 4
"""Voxels that the two blurs need, at four sigma."""


class Phantom:
    """A synthetic tomogram with known truth.

    Dark particles and membranes on a bright, noisy ground, with the missing wedge taken out of
    both. It is a `volproc.core.arrays.Source`, so everything that reads a file reads it too.

    Parameters
    ----------
    spec : PhantomSpec
        What it is made of.

    Notes
    -----
    Voxels are made on tiles of 64 voxels a side that are fixed in the volume, from random
    streams that belong to cells: a region has the same bits whether it is read alone or as part
    of the whole. A tile takes about 0.2 s and 30 MB; the last few are kept. Grey values are not
    scaled by anything that depends on a region.

    Examples
    --------
    >>> phantom = Phantom(PhantomSpec((40, 48, 56), seed=3))
    >>> part = (slice(8, 20), slice(0, 48), slice(50, 56))
    >>> bool((phantom.read(part) == phantom.read()[part]).all())
    True
    """

    def __init__(self, spec: PhantomSpec) -> None:
        self.spec = spec
        self._placement = Placement(spec)
        self._signal_tile = lru_cache(maxsize=16)(self._make_signal)
        self._noise_tile = lru_cache(maxsize=16)(self._make_noise)

    def __reduce__(self) -> tuple[type[Phantom], tuple[PhantomSpec]]:
        return Phantom, (self.spec,)

    @property
    def shape(self) -> Shape:
        """Size in voxels, (z, y, x)."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Type of the voxels."""
        return np.dtype(np.float32)

    @property
    def chunks(self) -> Shape:
        """Region that is made at once, clipped to the volume."""
        return tuple(min(TILE, n) for n in self.shape)

    @property
    def voxel_size(self) -> ZYX[float]:
        """Å per voxel, (z, y, x)."""
        return (self.spec.voxel_size,) * 3

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by value of the class map, the background first."""
        return self.spec.class_names

    @property
    def radii(self) -> dict[str, float]:
        """Nominal radius of each particle class, Å."""
        return self.spec.radii

    def identity(self) -> str:
        """Text that changes when the content does."""
        text = json.dumps(self.spec.to_json(), sort_keys=True)
        return f"phantom:{sha256(text.encode()).hexdigest()}"

    def read(self, region: Region | None = None) -> npt.NDArray[np.float32]:
        """Voxels of one region, or of all: the signal and the noise.

        Parameters
        ----------
        region : tuple of slice, optional
            Region in voxels, (z, y, x).

        Returns
        -------
        block : ndarray of float32, (z, y, x)
            About 0 where there is nothing, about -1 in a particle.

        Raises
        ------
        ShapeError
            If the region leaves the volume.
        """
        block = self.signal(region)
        if self.spec.noise:
            block += np.float32(self.spec.noise) * self.unit_noise(region)
        return block

    def signal(self, region: Region | None = None) -> npt.NDArray[np.float32]:
        """Voxels of one region without noise, (z, y, x)."""
        region = self._checked(region)
        out = np.zeros(region_shape(region), np.float32)
        for index, part, crop in _tiles(region, TILE):
            out[part] = self._signal_tile(index)[crop]
        return out

    def unit_noise(self, region: Region | None = None) -> npt.NDArray[np.float32]:
        """Noise of one region at level 1, (z, y, x); `read` adds ``spec.noise`` times it."""
        region = self._checked(region)
        out = np.zeros(region_shape(region), np.float32)
        for index, part, crop in _tiles(region, TILE):
            out[part] = self._noise_tile(index)[crop]
        return out

    def truth_classes(self, region: Region | None = None) -> npt.NDArray[np.uint8]:
        """Class map of one region: the core of each particle, and the membranes.

        Returns
        -------
        classes : ndarray of uint8, (z, y, x)
            Positions in `class_names`; the cores of two particles never touch.
        """
        region = self._checked(region)
        out = np.zeros(region_shape(region), np.uint8)
        if out.size:
            self._paint(out, region, is_truth=True)
        return out

    def points(self, region: Region | None = None) -> Points:
        """Centres of the particles in the volume, or of those centred in one region.

        Returns
        -------
        points : Points
            In voxels of the volume, in raster order of the placement cells.
        """
        box = self._checked(region)
        found = self._placement.particles(box)
        low, high = (np.array([getattr(s, e) for s in box]) for e in ("start", "stop"))
        nearest_voxel = np.floor(found[:, :3] + 0.5)
        found = found[((nearest_voxel >= low) & (nearest_voxel < high)).all(axis=1)]
        names = [self.spec.classes[int(k)].name for k in found[:, 6]]
        return Points.from_zyx(
            found[:, :3], class_name=names, voxel_size=self.voxel_size, shape=self.shape
        )

    def noise_std(self) -> float:
        """Return the standard deviation of the noise in the finished volume, from one tile."""
        return float(self.spec.noise * self._noise_tile((0, 0, 0)).std())

    def snr(self, region: Region | None = None) -> float:
        """Variance of the signal over the variance of the noise.

        Parameters
        ----------
        region : tuple of slice, optional
            Where to measure; by default the middle of the volume, at most 128 voxels a side.
        """
        middle = tuple(slice(max(0, n // 2 - 64), min(n, n // 2 + 64)) for n in self.shape)
        noise = self.noise_std()
        return float(self.signal(region or middle).var() / noise**2) if noise else float("inf")

    def _checked(self, region: Region | None) -> Region:
        if region is None:
            return whole(self.shape)
        if len(region) != 3 or any(
            s.start is None
            or s.stop is None
            or s.step not in (None, 1)
            or s.start < 0
            or s.stop > n
            or s.stop < s.start
            for s, n in zip(region, self.shape, strict=False)
        ):
            msg = (
                f"the region {region} leaves the phantom of shape {self.shape}. Give a slice with "
                "start and stop for each of z, y and x."
            )
            raise ShapeError(msg)
        return region

    def _make_signal(self, index: ZYX[int]) -> npt.NDArray[np.float32]:
        tile = _tile_region(index)
        region = self._with_wedge_margin(tile)
        padded = grow(region, _HALO)
        density = np.zeros(region_shape(padded), np.float32)
        self._paint(density, padded, is_truth=False)
        return self._finish(gaussian_filter(density, _BLUR, mode="constant"))

    def _make_noise(self, index: ZYX[int]) -> npt.NDArray[np.float32]:
        padded = grow(self._with_wedge_margin(_tile_region(index)), _HALO)
        noise = np.empty(region_shape(padded), np.float32)
        for cell, part, crop in _tiles(padded, _NOISE_CELL):
            stream = random_stream(self.spec.seed, _NOISE, cell)
            noise[part] = stream.standard_normal((_NOISE_CELL,) * 3, np.float32)[crop]
        return self._finish(gaussian_filter(noise, _NOISE_BLUR, mode="constant") * _NOISE_SCALE)

    def _with_wedge_margin(self, tile: Region) -> Region:
        if self.spec.max_tilt_deg is None:
            return tile
        z, y, x = tile
        return (*grow((z,), RADIUS), y, *grow((x,), RADIUS))

    def _finish(self, padded: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Cut the halo of the blur, take the wedge out and turn bright into dark."""
        inner = padded[(slice(_HALO, -_HALO),) * 3]
        if self.spec.max_tilt_deg is not None:
            inner = take_out_wedge(inner, self.spec.max_tilt_deg)
        dark = -inner.astype(np.float32)
        dark.flags.writeable = False
        return dark

    def _paint(
        self,
        out: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
        region: Region,
        *,
        is_truth: bool,
    ) -> None:
        """Draw densities or cores of everything that reaches into a region."""
        for vesicle in self._placement.vesicles(region):
            box = self._box(vesicle[:3], float(vesicle[3:].max()) * 1.05 + 4, region)
            if box is None:
                continue
            grid, part = _coordinates(box), _relative(box, region)
            distance = np.abs(membrane_distance(grid, vesicle.astype(np.float32)))
            half = self._placement.half_membrane * (0.75 if is_truth else 1.0)
            value = len(self.spec.classes) + 1 if is_truth else 1.0
            np.putmask(out[part], distance < half, value)
        for particle in self._placement.particles(region):
            self._paint_particle(out, region, particle, is_truth=is_truth)

    def _paint_particle(
        self,
        out: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
        region: Region,
        particle: npt.NDArray[np.float64],
        *,
        is_truth: bool,
    ) -> None:
        kind = int(particle[6])
        box = self._box(particle[:3], float(self._placement.reach[kind]) + 1, region)
        if box is None:
            return
        radius = np.float32(self._placement.radii[kind])
        deltas = [
            (v - np.float32(c)) / radius
            for v, c in zip(_coordinates(box), particle[:3], strict=True)
        ]
        z, y, x = deltas
        az, ay, ax = particle[3:6].astype(np.float32)
        along = z * az + y * ay + x * ax
        across = z * z + y * y + x * x - along * along
        form, cls = SHAPES[self.spec.classes[kind].form], self.spec.classes[kind]
        mask = (form.core if is_truth else form.body)(along, across)
        np.putmask(out[_relative(box, region)], mask, kind + 1 if is_truth else cls.density)

    def _box(self, centre: npt.NDArray[np.float64], reach: float, region: Region) -> Region | None:
        """Box about an object, clipped to the region; None where they are apart."""
        low, high = np.floor(centre - reach), np.ceil(centre + reach) + 1
        box = tuple(
            slice(max(int(a), s.start), min(int(b), s.stop))
            for a, b, s in zip(low, high, region, strict=True)
        )
        return box if min(region_shape(box)) > 0 else None


def _tile_region(index: ZYX[int]) -> Region:
    return tuple(slice(i * TILE, (i + 1) * TILE) for i in index)


def _tiles(region: Region, side: int) -> Iterator[tuple[ZYX[int], Region, Region]]:
    """For each tile that a region meets: its index, its part of the region, and of the tile."""
    if min(region_shape(region)) < 1:
        return
    ranges = (range(s.start // side, (s.stop - 1) // side + 1) for s in region)
    for z, y, x in product(*ranges):
        index = (z, y, x)
        both = tuple(
            slice(max(s.start, i * side), min(s.stop, (i + 1) * side))
            for s, i in zip(region, index, strict=True)
        )
        tile = tuple(slice(i * side, (i + 1) * side) for i in index)
        yield index, _relative(both, region), _relative(both, tile)


def _relative(box: Region, region: Region) -> Region:
    return tuple(
        slice(b.start - s.start, b.stop - s.start) for b, s in zip(box, region, strict=True)
    )


def _coordinates(box: Region) -> tuple[npt.NDArray[np.float32], ...]:
    """Open grid of voxel coordinates, one array an axis."""
    return tuple(np.ogrid[box][i].astype(np.float32) for i in range(3))
