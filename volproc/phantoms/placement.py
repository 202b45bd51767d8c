"""Where particles and vesicles are: decided cell by cell, so that any region knows its own.

Particles are tried one after the other and left out where they would touch one that is there
already (random sequential adsorption). To make that local, space is cut into cells at least as
wide as the largest distance at which two particles can touch, and the cells are filled in the
order of the parities of their indices: a cell looks only at neighbours of lower parity, so the
chain of cells that it depends on has at most eight links, however large the volume.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import ceil

import numpy as np
import numpy.typing as npt

from volproc.core.types import ZYX, Region, region_shape
from volproc.phantoms.shapes import SHAPES
from volproc.phantoms.spec import PhantomSpec

VESICLE_CELL = 128
HALF_MEMBRANE_ANGSTROM = 20.0
"""Half the thickness of a bilayer."""

GAP = 1.0
"""Least distance between the surfaces of two objects, voxels."""

_PARTICLES, _VESICLES = 1, 2
_NONE = np.zeros((0, 7))


def random_stream(seed: int, purpose: int, index: ZYX[int]) -> np.random.Generator:
    """Random numbers that belong to one cell, independent of every other cell.

    Parameters
    ----------
    seed : int
        Seed of the phantom.
    purpose : int
        What the numbers are for; streams of different purposes are independent.
    index : tuple of int
        Position of the cell, (z, y, x); may be negative.
    """
    counter = np.array([0, *(i % 2**64 for i in index)], np.uint64)
    key = np.array([seed, purpose], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class Placement:
    """Particles and vesicles of a phantom, found region by region.

    Parameters
    ----------
    spec : PhantomSpec
        The phantom.

    Notes
    -----
    Filled cells are remembered, a bounded number of them; a cell takes about 0.2 ms.
    """

    def __init__(self, spec: PhantomSpec) -> None:
        self.spec = spec
        self.radii = np.array([c.radius_angstrom / spec.voxel_size for c in spec.classes])
        self.reach = self.radii * [SHAPES[c.form].reach for c in spec.classes]
        self.max_reach = float(self.reach.max(initial=1.0))
        self.half_membrane = HALF_MEMBRANE_ANGSTROM / spec.voxel_size
        self.cell = max(32, ceil(2 * self.max_reach + GAP))
        weights = np.array([c.abundance for c in spec.classes])
        self._cumulative = np.cumsum(weights) / max(weights.sum(), 1e-12)
        self._fill = lru_cache(maxsize=8192)(self._fill_cell)
        self._vesicle = lru_cache(maxsize=1024)(self._make_vesicle)

    def particles(self, region: Region) -> npt.NDArray[np.float64]:
        """Particles that may reach into a region.

        Returns
        -------
        particles : ndarray of float64, (n, 7)
            Centre (z, y, x) in voxels of the volume, unit vector (z, y, x) of the axis, and the
            position of the class in ``spec.classes``; in raster order of cells.
        """
        cells = _cells(region, self.cell, self.max_reach)
        return np.concatenate([_NONE, *(self._fill(index) for index in cells)])

    def vesicles(self, region: Region) -> npt.NDArray[np.float64]:
        """Vesicles that may reach into a region.

        Returns
        -------
        vesicles : ndarray of float64, (n, 6)
            Centre and half axes, (z, y, x), in voxels.
        """
        # A vesicle lies within its own cell, so the cells of the region are enough.
        found = (self._vesicle(index) for index in _cells(region, VESICLE_CELL, 0.0))
        return np.array([v for v in found if v is not None]).reshape(-1, 6)

    def _fill_cell(self, index: ZYX[int]) -> npt.NDArray[np.float64]:
        shape = self.spec.shape
        if any(i < 0 or i * self.cell >= n for i, n in zip(index, shape, strict=True)):
            return _NONE
        rng = random_stream(self.spec.seed, _PARTICLES, index)
        tries = rng.poisson(self.spec.crowding * (self.cell / 32) ** 3)
        if not tries or not len(self.radii):
            return _NONE
        centres = (np.array(index) + rng.random((tries, 3))) * self.cell
        kinds = np.searchsorted(self._cumulative, rng.random(tries), side="right")
        kinds = kinds.clip(max=len(self.radii) - 1)
        axes = rng.standard_normal((tries, 3))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
        candidates = np.column_stack([centres, axes, kinds])
        return self._accept(candidates[self._are_placeable(candidates, index)], index)

    def _are_placeable(
        self, candidates: npt.NDArray[np.float64], index: ZYX[int]
    ) -> npt.NDArray[np.bool_]:
        """Whether candidates lie wholly inside the volume and off every membrane."""
        centres, reach = candidates[:, :3], self.reach[candidates[:, 6].astype(int)]
        high = np.array(self.spec.shape) - 1.0
        inside = ((centres >= reach[:, None]) & (centres <= high - reach[:, None])).all(axis=1)
        cell = tuple(slice(i * self.cell, (i + 1) * self.cell) for i in index)
        for vesicle in self.vesicles(grow(cell, self.max_reach + GAP + self.half_membrane)):
            distance = np.abs(membrane_distance(centres.T, vesicle))
            # The distance to an ellipsoid is approximate: the factor keeps the error harmless.
            inside &= distance > 1.1 * (reach + self.half_membrane + GAP)
        return inside

    def _accept(
        self, candidates: npt.NDArray[np.float64], index: ZYX[int]
    ) -> npt.NDArray[np.float64]:
        """Keep candidates in their order, each unless it touches one that is there already."""
        mine = _parity(index)
        around = (
            (index[0] + dz, index[1] + dy, index[2] + dx)
            for dz, dy, dx in product((-1, 0, 1), repeat=3)
        )
        there = np.concatenate([_NONE, *(self._fill(c) for c in around if _parity(c) < mine)])
        for candidate in candidates:
            apart = self.reach[there[:, 6].astype(int)] + self.reach[int(candidate[6])] + GAP
            if (((there[:, :3] - candidate[:3]) ** 2).sum(axis=1) >= apart**2).all():
                there = np.vstack([there, candidate])
        own = (there[:, :3] // self.cell == index).all(axis=1)
        return there[own]

    def _make_vesicle(self, index: ZYX[int]) -> npt.NDArray[np.float64] | None:
        rng = random_stream(self.spec.seed, _VESICLES, index)
        if rng.random() >= self.spec.membranes:
            return None
        axes = rng.uniform(18, 44) * rng.uniform(0.85, 1.15, 3)
        room = axes + 2 * self.half_membrane + 2
        corner = np.array(index) * float(VESICLE_CELL)
        return np.concatenate([rng.uniform(corner + room, corner + VESICLE_CELL - room), axes])


def membrane_distance(
    zyx: tuple[npt.NDArray[np.floating], ...] | npt.NDArray[np.floating],
    vesicle: npt.NDArray[np.float64],
) -> npt.NDArray[np.floating]:
    """Signed distance to the middle of a vesicle's membrane, voxels, negative inside.

    Along the ray from the vesicle's centre: exact for a sphere, a few per cent long for the
    mild ellipsoids here.
    """
    deltas = [v - c for v, c in zip(zyx, vesicle[:3], strict=True)]
    length = np.sqrt(sum(d * d for d in deltas))
    scaled = np.sqrt(sum((d / a) ** 2 for d, a in zip(deltas, vesicle[3:], strict=True)))
    return length - length / np.maximum(scaled, 1e-6)


def grow(region: Region, margin: float) -> Region:
    """Region with a margin on every side; it may leave the volume."""
    m = ceil(margin)
    return tuple(slice(s.start - m, s.stop + m) for s in region)


def _cells(region: Region, size: int, margin: float) -> list[ZYX[int]]:
    if min(region_shape(region)) < 1:
        return []
    ranges = (range(s.start // size, (s.stop - 1) // size + 1) for s in grow(region, margin))
    return [(z, y, x) for z, y, x in product(*ranges)]


def _parity(index: ZYX[int]) -> int:
    return (index[0] % 2) * 4 + (index[1] % 2) * 2 + index[2] % 2
