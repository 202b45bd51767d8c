"""Prediction by tiles that need no other tile: the whole-volume network, or CryoSiam's patches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, PlanError
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.graph.physical_mask import PhysicalMask
from volproc.models.cryosiam_reach import alignment, receptive_halo
from volproc.models.devices import choose_device
from volproc.models.tile_network import (
    TileOutputs,
    predict_tiles,
    scale_voxels,
    tile_bytes,
    unscaled,
)
from volproc.models.views import IDENTITY, View
from volproc.plan.memory import format_bytes
from volproc.plan.tiles import HaloTiles, QuarterTiles, Tile, Tiles, even_core, network_work

CORES = (320, 256, 208, 160, 128, 96, 64, 48, 32, 16)
"""Sides of cores that are tried, voxels; the largest whose network fits into memory is taken."""

HOST_COPIES = 2
"""Arrays of float32 of each output channel of what a tile keeps that are in memory at once: as it
came from the network, and the one that is returned."""


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
        How it is cut; see `halo_tiles`.
    threshold : float
        Probabilities below it do not count.
    device : str
        Where the network runs.
    mask : PhysicalMask or None
        Tiles that it leaves empty are not computed; outside it all outputs are 0.
    views : tuple of View
        Turned copies that are averaged; with `HaloTiles` only.
    has_outputs : bool
        Return probabilities and distances too; without, they have no channel.

    Raises
    ------
    ConfigError
        If the threshold is no probability.

    Notes
    -----
    With `HaloTiles` the result is that of the network on the whole volume, however it is cut.
    With `QuarterTiles` it is CryoSiam's: computed in float32, what is missing at the end of the
    volume comes from its beginning, and a volume smaller than a patch is continued with zeros.
    """

    source: Source
    spec: ModelSpec
    tiles: HaloTiles | QuarterTiles
    threshold: float
    device: str = "auto"
    mask: PhysicalMask | None = None
    views: tuple[View, ...] = (IDENTITY,)
    has_outputs: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            msg = f"a threshold is a probability, in 0…1, got {self.threshold}. Use 0.5, say."
            raise ConfigError(msg)
        if self.is_compatible and len(self.views) > 1:
            msg = f"CryoSiam turns nothing, got {len(self.views)} views. Use the default mode."
            raise ConfigError(msg)

    @property
    def is_compatible(self) -> bool:
        """Whether CryoSiam's numbers are wanted."""
        return isinstance(self.tiles, QuarterTiles)

    @property
    def batch_size(self) -> int:
        """Tiles of a pass: PyTorch computes single small patches otherwise than several."""
        return 2 if self.is_compatible else 1

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
                work.append((tile, inside, *self._read(tile.read)))
        if not work:
            return results
        found = predict_tiles(
            unscaled(self.spec),
            [voxels for _, _, voxels, _, _ in work],
            [_within(tile.keep, tile.read) for tile, *_ in work],
            threshold=self.threshold,
            batch_size=self.batch_size,
            device=self.device,
            is_exact=self.is_compatible,
            views=self.views,
        )
        for (tile, inside, _, lowest, highest), outputs in zip(work, found, strict=True):
            if inside is not None:
                for array in (outputs.labels, outputs.probabilities, outputs.distances):
                    if array is not None:
                        array *= inside.astype(array.dtype)
            if not self.has_outputs:  # what nobody wants need not travel
                outputs = TileOutputs(outputs.labels, outputs.probabilities[:0].copy(), None)
            results.append(TileResult(tile.keep, outputs, lowest, highest))
        return results

    def _read(self, region: Region) -> tuple[npt.NDArray[np.float32], float, float]:
        """Scaled voxels of a region that may reach beyond the end, and the range in the file."""
        if self.is_compatible:
            sides = [
                _wrapped(s, size, full)
                for s, size, full in zip(region, self.tiles.shape, self.tiles.full, strict=True)
            ]
        else:
            sides = [
                [(0, slice(s.start, min(s.stop, size)))]
                for s, size in zip(region, self.tiles.shape, strict=True)
            ]
        voxels = np.zeros(region_shape(region), np.float32)
        lowest, highest = np.inf, -np.inf
        for parts in product(*sides):
            raw = self.source.read(tuple(part for _, part in parts))
            scaled = scale_voxels(self.spec, raw)
            at = tuple(slice(to, to + size) for (to, _), size in zip(parts, raw.shape, strict=True))
            voxels[at] = scaled
            lowest, highest = min(lowest, float(raw.min())), max(highest, float(raw.max()))
        if not self.is_compatible:
            inner = tuple(
                slice(0, min(s.stop, n) - s.start)
                for s, n in zip(region, self.tiles.shape, strict=True)
            )
            missing = [(0, s.stop - s.start - i.stop) for s, i in zip(region, inner, strict=True)]
            voxels = np.pad(voxels[inner], missing, mode="edge")
        return voxels, lowest, highest


def _within(keep: Region, read: Region) -> Region:
    """A region counted from the first voxel of one around it."""
    return tuple(
        slice(k.start - r.start, k.stop - r.start) for k, r in zip(keep, read, strict=True)
    )


def halo_tiles(
    spec: ModelSpec,
    shape: Shape,
    *,
    memory_bytes: int,
    device: str = "auto",
    core: int | None = None,
) -> HaloTiles:
    """Cut a volume so that tiles give what the whole volume would, and fit into memory.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    memory_bytes : int
        What the network may take on a GPU, or all together on the CPU.
    device : str
        Where the network runs.
    core : int, optional
        Largest side of a core, voxels, instead of what memory allows; rounded up to the network's
        total stride.

    Returns
    -------
    tiles : HaloTiles
        With the network's halo; cores of an axis are of one size, but for the last.

    Raises
    ------
    PlanError
        If even the smallest tile does not fit.
    ConfigError
        If the core has no voxel.
    """
    step, halo = alignment(spec), receptive_halo(spec)
    if core is not None and core < 1:
        msg = f"a tile keeps some voxels, got a core of {core}. Leave it out, or use 128."
        raise ConfigError(msg)
    on_device = choose_device(device).type == "cuda"
    smallest = 0
    for side in CORES if core is None else (core,):
        tiles = HaloTiles(shape, tuple(even_core(n, side, step) for n in shape), halo, step)
        network, host = planned_bytes(spec, tiles, on_device=on_device)
        needed = network if on_device else network + host
        if needed <= memory_bytes:
            return tiles
        smallest = needed
    msg = (
        f"a tile of {tiles.core} voxels with a halo of {halo} needs {format_bytes(smallest)}, and "
        f"{format_bytes(memory_bytes)} may be used. Give more memory, a smaller tile, or use a GPU."
    )
    raise PlanError(msg)


def planned_bytes(
    spec: ModelSpec, tiles: HaloTiles | QuarterTiles, *, on_device: bool
) -> tuple[int, int]:
    """Peak memory of a tile: of the network, and of all else on the host, bytes.

    Parameters
    ----------
    spec : ModelSpec
        The network.
    tiles : HaloTiles or QuarterTiles
        How the volume is cut.
    on_device : bool
        Whether the network is on a GPU.
    """
    axes = range(len(tiles.shape))
    depth, height, width = (_longest(tiles, axis, "read") for axis in axes)
    largest = (depth, height, width)
    kept = prod(_longest(tiles, axis, "keep") for axis in axes)
    channels = spec.num_classes * len(spec.params.get("heads", ("semantic",)))
    # The voxels as read, scaled, finite or not, and on their way to the device.
    host = 4 * (4 * prod(largest) + HOST_COPIES * channels * kept)
    batch = 2 if isinstance(tiles, QuarterTiles) else 1
    return tile_bytes(spec, largest, batch_size=batch, on_device=on_device), host * batch


def describe_tiles(spec: ModelSpec, tiles: HaloTiles | QuarterTiles, *, on_device: bool) -> str:
    """One sentence on the work and memory of a prediction, for people.

    Parameters
    ----------
    spec, tiles, on_device
        As in `planned_bytes`.
    """
    network, host = planned_bytes(spec, tiles, on_device=on_device)
    return (
        f"{prod(tiles.numblocks)} tiles, {network_work(tiles):.2f} voxels through the network a "
        f"voxel, {format_bytes(network)} for the network and {format_bytes(host)} beside it"
    )


def _longest(tiles: Tiles, axis: int, part: Literal["read", "keep"]) -> int:
    """Longest side of a tile along an axis; tiles inside are alike."""
    index = [0] * len(tiles.shape)
    sides = []
    for number in range(min(3, tiles.numblocks[axis])):
        index[axis] = number
        side: slice = getattr(tiles[tuple(index)], part)[axis]
        sides.append(side.stop - side.start)
    return max(sides)


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
