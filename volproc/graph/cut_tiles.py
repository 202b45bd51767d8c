"""How a volume is cut into tiles: what they take of memory and of a network's work."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, prod
from operator import mul

from volproc.core.errors import ConfigError, PlanError
from volproc.core.model import ModelSpec
from volproc.core.types import Region, Shape, region_shape
from volproc.models.cryosiam_flow import plan_flow
from volproc.models.cryosiam_reach import alignment, receptive_halo
from volproc.models.devices import choose_device
from volproc.models.streaming import READ_PLANES, Flow, Interval, demand, sizes_along
from volproc.models.streaming_memory import stream_bytes
from volproc.models.tile_network import tile_bytes
from volproc.plan.block_memory import ALLOCATOR_PART, BASE_BYTES, CACHE_BYTES
from volproc.plan.memory import format_bytes
from volproc.plan.tiles import HaloTiles, QuarterTiles, Tile, Tiles, even_core, network_work

MOST_BYTES = 1_600_000_000
"""What a tile takes at most on the CPU, however much memory there is: the process stays below 3 GB
then, and with twice as much a network of CryoSiam would work 15 % less."""

SIDES = (320, 288, 256, 240, 224, 208, 192, 176, 160, 144, 128, 112, 96, 80, 64, 48, 32, 16)
"""Sides of cores along y and x that are tried, voxels."""

ENOUGH = 2.0
"""Work, in units of the network's, at which no thinner slabs are tried."""

SHARED_PART = 0.2
"""Time that slabs of one plane take for the planes that neighbouring slabs share, as a part of the
network's; measured on a CPU."""

DEPTHS = (512, 256, 128, 64, 32, 16)
"""Sides of cores along z: they matter where probabilities are kept, which are as large as a core,
while labels alone are small and the layers of a network keep some planes only."""

SLABS = {"cpu": (4, 2, 1), "cuda": (16, 8, 4, 2, 1)}
"""Planes that are computed at once. On a CPU few of them keep it busy, and larger cores save more
work than larger slabs."""

STEADY_PLANES = 24
"""After so many planes the layers of a network hold as much as at any later time."""

HOST_COPIES = 2
"""Arrays of float32 of each output channel of what a tile keeps that are in memory at once: as it
was computed, and as it is written."""

SLAB_COPIES = 4
"""The same of a slab: logits, their exponentials, probabilities and those that are the largest."""


@dataclass(frozen=True, slots=True)
class TileWork:
    """What a network computes for a volume in tiles."""

    part: float
    """Multiplications, over those of the network on the whole volume at once."""

    levels: tuple[float, ...]
    """Voxels at full size, at half of it and so on that are computed, over those of the volume."""


def halo_tiles(
    spec: ModelSpec,
    shape: Shape,
    *,
    memory_bytes: int,
    device: str = "auto",
    core: int | None = None,
    has_outputs: bool = True,
) -> HaloTiles:
    """Cut a volume so that tiles fit into memory and compute little twice.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    memory_bytes : int
        What the network may take on a GPU, or the tile on the CPU, without the libraries; there
        `MOST_BYTES` are enough, unless a core is given.
    device : str
        Where the network runs.
    core : int, optional
        Largest side of a core, voxels, instead of what memory allows; rounded up to the network's
        total stride.
    has_outputs : bool
        Whether probabilities are kept for a whole tile: they are wanted, or averaged over views.

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
    kind = choose_device(device).type
    most = memory_bytes if kind == "cuda" or core is not None else min(memory_bytes, MOST_BYTES)
    sides, depths = (SIDES, DEPTHS) if core is None else ((core,), (core,))
    if core is None and not has_outputs:
        depths = DEPTHS[:1]
    start = HaloTiles(shape, (step,) * len(shape), halo, step)

    def need(tiles: HaloTiles) -> int:
        planned = planned_bytes(spec, tiles, on_device=kind == "cuda", has_outputs=has_outputs)
        return planned[0] if kind == "cuda" else sum(planned)

    best, least = None, inf
    for slab in SLABS[kind]:
        for depth in depths:
            cores = dict.fromkeys(_core(shape, (depth, side, side), step) for side in sides)
            found = [replace(start, core=sizes, slab=slab) for sizes in cores]
            number = bisect_left(found, True, key=lambda tiles: need(tiles) <= most)
            if number == len(found):
                continue
            part = tile_work(spec, found[number]).part * (1 + SHARED_PART / slab)
            if part < least:
                best, least = found[number], part
        if best is not None and least < ENOUGH:
            break
    if best is not None:
        return best
    smallest = _core(shape, (depths[-1], sides[-1], sides[-1]), step)
    needed = need(replace(start, core=smallest, slab=1))
    msg = (
        f"a tile of {smallest} voxels with a halo of {halo} needs {format_bytes(needed)}, and "
        f"{format_bytes(memory_bytes)} may be used. Give more memory, a smaller tile, or use a GPU."
    )
    raise PlanError(msg)


def _core(shape: Shape, most: Shape, step: int) -> Shape:
    return tuple(even_core(n, side, step) for n, side in zip(shape, most, strict=True))


def planned_bytes(
    spec: ModelSpec,
    tiles: HaloTiles | QuarterTiles,
    *,
    on_device: bool,
    has_outputs: bool = True,
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
    has_outputs : bool
        Whether probabilities are kept for a whole tile: they are wanted, or averaged over views.
    """
    largest = _largest(tiles)
    if isinstance(tiles, QuarterTiles):
        depth, height, width = region_shape(largest.read)
        network = tile_bytes(spec, (depth, height, width), batch_size=2, on_device=on_device)
        read, batch, slab = depth * height * width, 2, 0
    else:
        network = _network_bytes(spec, tiles, largest.keep, on_device=on_device)
        planes = min(tiles.shape[0], max(READ_PLANES, tiles.slab))
        read, batch, slab = planes * prod(region_shape(largest.read)[1:]), 1, tiles.slab
    kept = prod(region_shape(largest.keep))
    channels = spec.num_classes * len(spec.params.get("heads", ("semantic",)))
    per_voxel = HOST_COPIES * (1 + 4 * channels * has_outputs) + 1  # labels, outputs, mask
    finished = SLAB_COPIES * 4 * channels * slab * prod(region_shape(largest.keep)[1:])
    # Voxels as read, scaled, finite or not, and on their way to the device.
    host = batch * (4 * 4 * read + per_voxel * kept) + finished
    return network, host


def process_bytes(
    spec: ModelSpec,
    tiles: HaloTiles | QuarterTiles,
    *,
    on_device: bool,
    has_outputs: bool = True,
) -> int:
    """Peak memory of the process that predicts, on the host, bytes: its libraries included.

    Parameters
    ----------
    spec, tiles, on_device, has_outputs
        As in `planned_bytes`.
    """
    network, host = planned_bytes(spec, tiles, on_device=on_device, has_outputs=has_outputs)
    own = host if on_device else network + host
    cache = min(CACHE_BYTES, 4 * prod(tiles.shape))
    return BASE_BYTES + cache + int((1 + ALLOCATOR_PART) * own)


def share_of_process(limit_bytes: int) -> int:
    """What a tile may take of a process that may take so much: the libraries take their part first.

    >>> share_of_process(500_000_000), 1.5e9 < share_of_process(3_000_000_000) < 2.1e9
    (0, True)
    """
    return max(0, int((limit_bytes - BASE_BYTES - CACHE_BYTES) / (1 + ALLOCATOR_PART)))


def tile_work(spec: ModelSpec, tiles: HaloTiles) -> TileWork:
    """Say how much a network computes for a volume in tiles.

    Parameters
    ----------
    spec : ModelSpec
        A network of CryoSiam.
    tiles : HaloTiles
        How the volume is cut.

    Notes
    -----
    Each layer's voxels are counted, tile by tile, and not what is read: coarse layers and the last
    ones compute less of the halo than the first ones.
    """
    flow = plan_flow(spec)
    done, due = [1] * len(flow), [1] * len(flow)
    for size, core in zip(tiles.shape, tiles.core, strict=True):
        sizes = sizes_along(flow, size)
        sides = [(begin, min(size, begin + core)) for begin in range(0, size, core)]
        lengths = [[b - a for a, b in demand(flow, sizes, side)] for side in sides]
        done = [n * sum(own) for n, own in zip(done, zip(*lengths, strict=True), strict=True)]
        due = [n * own for n, own in zip(due, sizes, strict=True)]
    each = [layer.multiply_adds for layer in flow]
    work, whole_work = (sum(map(mul, voxels, each)) for voxels in (done, due))
    levels: dict[int, float] = {}
    for own, whole, weight in zip(done, due, each, strict=True):
        if weight:
            levels[whole] = max(levels.get(whole, 0), own / whole)
    return TileWork(
        work / whole_work, tuple(levels[whole] for whole in sorted(levels, reverse=True))
    )


def describe_tiles(
    spec: ModelSpec,
    tiles: HaloTiles | QuarterTiles,
    *,
    on_device: bool,
    has_outputs: bool = True,
) -> str:
    """One sentence on the work and memory of a prediction, for people.

    Parameters
    ----------
    spec, tiles, on_device, has_outputs
        As in `planned_bytes`.
    """
    network, _ = planned_bytes(spec, tiles, on_device=on_device, has_outputs=has_outputs)
    host = process_bytes(spec, tiles, on_device=on_device, has_outputs=has_outputs)
    memory = f"{format_bytes(host)} of memory a process"
    if on_device:
        memory = f"{format_bytes(network)} of the GPU and {format_bytes(host)} of host memory"
    if isinstance(tiles, QuarterTiles):
        work = f"{network_work(tiles):.2f} voxels through the network a voxel"
    else:
        found = tile_work(spec, tiles)
        levels = ", ".join(f"{level:.2f}" for level in found.levels)
        work = f"{found.part:.2f} times the network's work (its levels: {levels})"
    return f"{prod(tiles.numblocks)} tiles, {work}, {memory}"


def _network_bytes(spec: ModelSpec, tiles: HaloTiles, keep: Region, *, on_device: bool) -> int:
    """Weights twice, as they were read and folded, and the layers of a tile."""
    flow = plan_flow(spec)
    weights = 2 * 4 * sum(layer.multiply_adds for layer in flow)
    begin = max(0, (tiles.shape[0] - STEADY_PLANES) // 2)
    planes = (begin, min(tiles.shape[0], begin + STEADY_PLANES))
    sides = (planes, *((side.start, side.stop) for side in keep[1:]))
    return weights + _layer_bytes(flow, tiles.shape, sides, tiles.slab, on_device)


@lru_cache(maxsize=512)
def _layer_bytes(
    flow: Flow,
    shape: Shape,
    sides: tuple[Interval, ...],
    slab: int,
    on_device: bool,  # the key of the cache
) -> int:
    keep = tuple(slice(*side) for side in sides)
    return stream_bytes(flow, shape, keep, slab=slab, on_device=on_device)


def _largest(tiles: Tiles) -> Tile:
    """A tile that reads most along each axis; those inside are alike."""
    index = [0] * len(tiles.shape)
    for axis, count in enumerate(tiles.numblocks):
        lengths = []
        for number in range(min(3, count)):
            index[axis] = number
            read = tiles[tuple(index)].read[axis]
            lengths.append(read.stop - read.start)
        index[axis] = lengths.index(max(lengths))
    return tiles[tuple(index)]
