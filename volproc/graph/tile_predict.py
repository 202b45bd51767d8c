"""Prediction by tiles that need no other tile: the whole-volume network, or CryoSiam's patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.graph.physical_mask import PhysicalMask
from volproc.models.tile_network import (
    TileOutputs,
    predict_region,
    predict_tiles,
    scale_voxels,
    unscaled,
)
from volproc.models.views import IDENTITY, View
from volproc.plan.tiles import HaloTiles, QuarterTiles, Tile

Inside = npt.NDArray[np.bool_]
"""What a mask has of a tile, (z, y, x)."""


@dataclass(frozen=True, slots=True)
class TileResult:
    """What one tile gave."""

    region: Region
    """Where it is kept."""

    outputs: TileOutputs | None
    """None where the mask has nothing: the network was not run."""

    lowest: float
    """Smallest voxel that was read, as it is in the file."""

    highest: float
    """Largest voxel that was read."""


@dataclass(frozen=True, slots=True)
class TileJob:
    """Predicts tiles, each by itself; pickled to workers.

    Parameters
    ----------
    source : Source
        The volume, (z, y, x).
    spec : ModelSpec
        From `volproc.models.cryosiam.read_cryosiam_spec`.
    tiles : HaloTiles or QuarterTiles
        How it is cut; see `volproc.graph.tile_plan.halo_tiles`.
    threshold : float or tuple of float
        Probabilities below it do not count; one for all channels, or one each.
    device : str
        Where the network runs.
    mask : PhysicalMask or None
        Tiles that it leaves empty are not computed, and of others only the box that holds what it
        has there; outside it all outputs are 0.
    views : tuple of View
        Turned copies that are averaged; with `HaloTiles` only.
    has_outputs : bool
        Return probabilities and distances too; without, they have no channel.
    batch : int
        Patches that CryoSiam takes at once; with `QuarterTiles` only.

    Raises
    ------
    ConfigError
        If the threshold is no probability, the views are too many or the batch is empty.

    Notes
    -----
    With `HaloTiles` the result is that of the network on the whole volume, however it is cut.
    With `QuarterTiles` it is CryoSiam's: computed in float32, what is missing at the end of the
    volume comes from its beginning, and a volume smaller than a patch is continued with zeros.
    """

    source: Source
    spec: ModelSpec
    tiles: HaloTiles | QuarterTiles
    threshold: float | tuple[float, ...]
    device: str = "auto"
    mask: PhysicalMask | None = None
    views: tuple[View, ...] = (IDENTITY,)
    has_outputs: bool = True
    batch: int = 2

    def __post_init__(self) -> None:
        least = self.threshold if isinstance(self.threshold, tuple) else (self.threshold,)
        if not all(0 <= value <= 1 for value in least):
            msg = f"a threshold is a probability, in 0…1, got {self.threshold}. Use 0.5, say."
            raise ConfigError(msg)
        if self.is_compatible and len(self.views) > 1:
            msg = f"CryoSiam turns nothing, got {len(self.views)} views. Use the default mode."
            raise ConfigError(msg)
        if self.batch < 1:
            msg = f"a batch has at least one patch, got {self.batch}. Use 2."
            raise ConfigError(msg)

    @property
    def is_compatible(self) -> bool:
        """Whether CryoSiam's numbers are wanted."""
        return isinstance(self.tiles, QuarterTiles)

    @property
    def batch_size(self) -> int:
        """Tiles of a pass: PyTorch computes a single patch otherwise than several."""
        return min(2, self.batch) if self.is_compatible else 1

    @property
    def numblocks(self) -> Index:
        """Passes along each axis."""
        *others, last = self.tiles.numblocks
        return (*others, -(-last // self.batch_size))

    def indices(self) -> Iterator[Index]:
        """Passes, in raster order."""
        return product(*map(range, self.numblocks))

    def members(self, index: Index) -> list[Tile]:
        """Tiles of a pass."""
        *others, last = index
        begin = last * self.batch_size
        end = min(begin + self.batch_size, self.tiles.numblocks[-1])
        return [self.tiles[(*others, number)] for number in range(begin, end)]

    def place(self, index: Index) -> str:
        """Where the first tile of a pass is, for people."""
        keep = self.members(index)[0].keep
        return " × ".join(f"{s.start}…{s.stop - 1}" for s in keep)

    def __call__(self, index: Index) -> list[TileResult]:
        """Predict the tiles of a pass."""
        results, work = [], []
        for tile in self.members(index):
            inside = None if self.mask is None else self.mask.read(tile.keep)
            if inside is not None and not inside.any():
                results.append(TileResult(tile.keep, None, np.inf, -np.inf))
            else:
                work.append((tile, inside, _Reader(self.source, self.spec)))
        if not work:
            return results
        if isinstance(self.tiles, HaloTiles):
            found = [self._predict_region(self.tiles, *parts) for parts in work]
        else:
            found = self._predict_patches(work)
        for (tile, inside, reader), outputs in zip(work, found, strict=True):
            if inside is not None:
                for array in (outputs.labels, outputs.probabilities, outputs.distances):
                    if array is not None:
                        array *= inside.astype(array.dtype)
            if not self.has_outputs:  # what nobody wants need not travel
                outputs = TileOutputs(outputs.labels, outputs.probabilities[:0].copy(), None)
            results.append(TileResult(tile.keep, outputs, reader.lowest, reader.highest))
        return results

    def _predict_region(
        self, tiles: HaloTiles, tile: Tile, inside: Inside | None, reader: _Reader
    ) -> TileOutputs:
        """What the network gives for the whole volume."""
        keep = tile.keep if inside is None else _bounds(inside, tile.keep, tiles.step)
        outputs = predict_region(
            unscaled(self.spec),
            tiles.shape,
            keep,
            reader.read,
            threshold=self.threshold,
            device=self.device,
            views=self.views,
            slab=tiles.slab,
            has_outputs=self.has_outputs,
        )
        return outputs if keep == tile.keep else _placed(outputs, keep, tile.keep)

    def _predict_patches(
        self, work: list[tuple[Tile, Inside | None, _Reader]]
    ) -> list[TileOutputs]:
        """What CryoSiam gives."""
        size = (self.tiles.shape, self.tiles.full)
        return predict_tiles(
            unscaled(self.spec),
            [reader.read_wrapped(tile.read, *size) for tile, _, reader in work],
            [_within(tile.keep, tile.read) for tile, *_ in work],
            threshold=self.threshold,
            batch_size=self.batch_size,
            device=self.device,
        )


class _Reader:
    """Reads scaled voxels, and notes the range of those in the file."""

    def __init__(self, source: Source, spec: ModelSpec) -> None:
        self._source, self._spec = source, spec
        self.lowest, self.highest = np.inf, -np.inf

    def read(self, region: Region) -> npt.NDArray[np.float32]:
        """Read a region of the volume."""
        raw = self._source.read(region)
        self.lowest = min(self.lowest, float(raw.min()))
        self.highest = max(self.highest, float(raw.max()))
        return scale_voxels(self._spec, raw)

    def read_wrapped(self, region: Region, shape: Shape, full: Shape) -> npt.NDArray[np.float32]:
        """Read a region that may reach beyond the end, where the volume begins again."""
        voxels = np.zeros(region_shape(region), np.float32)
        sides = [_wrapped(*side) for side in zip(region, shape, full, strict=True)]
        for parts in product(*sides):
            scaled = self.read(tuple(part for _, part in parts))
            at = (slice(to, to + size) for (to, _), size in zip(parts, scaled.shape, strict=True))
            voxels[tuple(at)] = scaled
        return voxels


def _bounds(inside: Inside, keep: Region, step: int) -> Region:
    """Smallest part of a region that holds all of a mask, in whole steps."""
    sides = []
    for axis, side in enumerate(keep):
        others = tuple(other for other in range(3) if other != axis)
        found = np.flatnonzero(inside.any(axis=others)) + side.start
        stop = (int(found[-1]) // step + 1) * step
        sides.append(slice(max(side.start, int(found[0]) // step * step), min(side.stop, stop)))
    return tuple(sides)


def _placed(outputs: TileOutputs, part: Region, whole: Region) -> TileOutputs:
    """Outputs of a part of a region, with zeros around them."""
    at, sides = _within(part, whole), region_shape(whole)

    def place(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        around = np.zeros((*array.shape[:-3], *sides), array.dtype)
        around[(..., *at)] = array
        return around

    distances = None if outputs.distances is None else place(outputs.distances)
    return TileOutputs(place(outputs.labels), place(outputs.probabilities), distances)


def _within(keep: Region, read: Region) -> Region:
    """A region counted from the first voxel of one around it."""
    return tuple(
        slice(k.start - r.start, k.stop - r.start) for k, r in zip(keep, read, strict=True)
    )


def _wrapped(side: slice, size: int, full: int) -> list[tuple[int, slice]]:
    """Parts of an axis that are read, and where in the tile they go; between them are zeros.

    >>> _wrapped(slice(4, 12), 10, 10), _wrapped(slice(4, 12), 6, 8)
    ([(0, slice(4, 10, None)), (6, slice(0, 2, None))], [(0, slice(4, 6, None)), (4, slice(0, 4, None))])
    """  # noqa: E501
    parts = []
    for turn in range(side.start // full, -(-side.stop // full)):
        begin, end = max(side.start, turn * full), min(side.stop, turn * full + size)
        if begin < end:
            parts.append((begin - side.start, slice(begin - turn * full, end - turn * full)))
    return parts
