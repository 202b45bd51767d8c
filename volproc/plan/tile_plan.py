"""What a prediction by tiles will take, before it runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, prod

from volproc.core.errors import PlanError
from volproc.core.types import Shape
from volproc.plan.block_memory import ALLOCATOR_PART, BASE_BYTES, CACHE_BYTES, class_bytes
from volproc.plan.memory import format_bytes
from volproc.plan.tile_grid import TileGrid
from volproc.plan.tiles import HaloTiles


@dataclass(frozen=True, slots=True)
class TilePlan:
    """How a volume is cut into tiles that need no other tile, and what that takes.

    Parameters
    ----------
    grid : TileGrid
        The passes.
    itemsize : int
        Bytes per input voxel.
    storage_chunks : tuple of int
        What storage reads at once, voxels.
    num_classes : int
        Classes, the background included.
    num_sweeps : int
        Passes of each tile: views times models.
    work : float
        What all passes compute, over the network's work on the whole volume at once.
    network_bytes : int
        Memory of the network for one pass, where it runs.
    tile_bytes : int
        Memory of a pass on the host beside the network, bytes.
    sum_bytes : int
        Bytes per voxel that a pass keeps from sweep to sweep.
    stored_bytes : int
        Bytes per voxel of what is stored beside classes.
    on_device : bool
        Whether the network is on a GPU.
    host_limit, device_limit : int or None
        Memory of one worker, bytes; None where unknown.
    """

    grid: TileGrid
    itemsize: int
    storage_chunks: Shape
    num_classes: int
    num_sweeps: int
    work: float
    network_bytes: int
    tile_bytes: int
    sum_bytes: int = 0
    stored_bytes: int = 0
    on_device: bool = False
    host_limit: int | None = None
    device_limit: int | None = None

    scratch_bytes = 0
    """Tiles leave nothing for each other."""

    @property
    def shape(self) -> Shape:
        """Size of the volume, voxels."""
        return self.grid.shape

    @property
    def chunks(self) -> Shape:
        """Size of which all cuts between blocks are multiples, voxels."""
        return self.grid.chunks

    @property
    def num_passes(self) -> int:
        """Passes through networks, all views and models included."""
        return len(self.grid) * self.num_sweeps

    @property
    def read_bytes(self) -> int:
        """Bytes decoded from storage over the whole run, storage chunks counted whole."""
        return self._decoded_voxels() * self.num_sweeps * self.itemsize

    @property
    def read_ratio(self) -> float:
        """Bytes decoded from storage, over the bytes of the volume."""
        return self.read_bytes / (prod(self.shape) * self.itemsize)

    @property
    def host_bytes(self) -> int:
        """Peak memory of one worker on the host."""
        return sum(self.host_parts.values())

    @property
    def host_parts(self) -> dict[str, int]:
        """What that memory is for, bytes by name."""
        kept = prod(max(sizes) for sizes in self.grid.dask_chunks)
        own = {
            "network": 0 if self.on_device else self.network_bytes,
            "tile": self.tile_bytes,
            "sums": kept * self.sum_bytes,
            "outputs": kept * (class_bytes(self.num_classes) + self.stored_bytes),
        }
        cache = min(CACHE_BYTES, prod(self.shape) * self.itemsize)
        allocator = int(ALLOCATOR_PART * sum(own.values()))
        return {"libraries": BASE_BYTES, "cache": cache, **own, "allocator": allocator}

    @property
    def device_bytes(self) -> int:
        """Peak memory of one worker on its GPU; 0 without one."""
        return self.network_bytes if self.on_device else 0

    @property
    def output_bytes(self) -> int:
        """Size of the outputs, uncompressed, without pyramids."""
        return prod(self.shape) * (class_bytes(self.num_classes) + self.stored_bytes)

    def explain(self) -> str:
        """Lines for people."""
        tiles = self.grid.tiles
        if isinstance(tiles, HaloTiles):
            cut = f"of {_size(tiles.core)} voxels with a halo of {tiles.halo}"
        else:
            cut = f"of {_size(tiles.patch)} voxels, of which the middle half is kept"
        sweeps = f"{self.num_sweeps} view{'s' * (self.num_sweeps > 1)}"
        parts = ", ".join(f"{name} {format_bytes(n)}" for name, n in self.host_parts.items() if n)
        size = format_bytes(prod(self.shape) * self.itemsize)
        lines = [
            f"volume    {_size(self.shape)} voxels, {size}",
            f"tiles     {prod(tiles.numblocks)} ({_size(tiles.numblocks)}) {cut}, {sweeps}: "
            f"{self.num_passes} passes",
            f"work      {self.work:.2f} times the network's on the whole volume at once; what "
            "lies outside a mask is left out",
            f"reads     {format_bytes(self.read_bytes)}, {self.read_ratio:.2f} times the volume "
            f"(storage chunks {_size(self.storage_chunks)})",
            f"memory    {format_bytes(self.host_bytes)} peak per worker on the host"
            + _limit(self.host_limit),
            f"          {parts}",
        ]
        if self.on_device:
            lines.append(
                f"          {format_bytes(self.device_bytes)} peak per worker on the device"
                + _limit(self.device_limit)
            )
        lines.append(
            f"output    {format_bytes(self.output_bytes)} before compression, {self.num_classes} "
            "classes"
        )
        return "\n".join(lines)

    def validate(self) -> None:
        """Refuse what cannot be done.

        Raises
        ------
        PlanError
            If a worker's peak memory exceeds its limit; the message has both numbers.
        """
        for place, need, limit in (
            ("host", self.host_bytes, self.host_limit),
            ("device", self.device_bytes, self.device_limit),
        ):
            if limit is not None and need > limit:
                msg = (
                    f"a tile that keeps {_size(self.chunks)} voxels needs {format_bytes(need)} on "
                    f"the {place}, a worker has {format_bytes(limit)}. Use smaller chunks, or "
                    "fewer workers."
                )
                raise PlanError(msg)

    def _decoded_voxels(self) -> int:
        """Voxels of the storage chunks that all tiles touch: a product over the axes."""
        total = 1
        tiles = self.grid.tiles
        for axis, (size, chunk) in enumerate(zip(self.shape, self.storage_chunks, strict=True)):
            index, line = [0] * len(self.shape), 0
            for number in range(tiles.numblocks[axis]):
                index[axis] = number
                side = tiles[tuple(index)].read[axis]
                low = side.start // chunk * chunk
                line += min(ceil(min(side.stop, size) / chunk) * chunk, size) - low
            total *= line
        return total


def _size(shape: Shape) -> str:
    return " × ".join(map(str, shape))


def _limit(limit: int | None) -> str:
    return "" if limit is None else f" of {format_bytes(limit)}"
