"""Networks of CryoSiam under the settings of a prediction: which tiles, and how large."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from math import lcm
from typing import Any

import numpy as np

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError, ModelError
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.graph.cut_tiles import SLABS, halo_tiles, planned_bytes, tile_work
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.predict_job import Product, ProductKind
from volproc.graph.settings import Models, Settings, as_models
from volproc.graph.tile_block import Replaced, TilePredictJob
from volproc.graph.tile_predict import TileJob
from volproc.models.cryosiam import with_intensity
from volproc.models.cryosiam_options import (
    class_thresholds,
    is_cryosiam,
    num_channels,
    with_distances,
)
from volproc.models.cryosiam_reach import alignment, receptive_halo
from volproc.models.devices import choose_device
from volproc.models.ensemble import match_classes
from volproc.models.same_numbers import limit_instructions
from volproc.plan.block_memory import ALLOCATOR_PART, BASE_BYTES, CACHE_BYTES
from volproc.plan.tile_grid import TileGrid
from volproc.plan.tile_plan import TilePlan
from volproc.plan.tiles import HaloTiles, QuarterTiles, even_core, network_work

OF_PATCHES = ("overlap", "batch_size", "blend", "window", "sigma_scale", "tta_grid")
"""Settings of blended patches, which tiles are not."""

OF_TILES = ("compat", "threshold", "intensity")
"""Settings that only networks of CryoSiam have."""

LEAST_CORE = 64
"""Side below which cores are not made smaller for the sake of many workers: halos would take over,
voxels."""

USABLE_PART = 0.8
"""Part of a worker's memory that is planned to be used."""

MOST_BYTES = 3_000_000_000
"""What a worker takes at most on the CPU, however much memory there is: more would save little."""


def is_tiled(settings: Settings, model: Models) -> bool:
    """Whether models are networks of CryoSiam, which are run by tiles and not by blended patches.

    Parameters
    ----------
    settings : Settings
        They are refused where they do not go with the models.
    model : ModelSpec or sequence of ModelSpec
        One or several models.

    Raises
    ------
    ConfigError
        If a setting of the one way was given for models of the other.
    ModelError
        If models of both are to be averaged.
    """
    specs = as_models(model)
    tiled = [is_cryosiam(spec) for spec in specs]
    if any(tiled) and not all(tiled):
        msg = (
            "models of CryoSiam are run on the whole volume and others by blended patches: they "
            "cannot be averaged. Segment with each by itself."
        )
        raise ModelError(msg)
    usual = {field.name: field.default for field in fields(Settings)}
    names = OF_PATCHES if all(tiled) else OF_TILES
    if changed := [name for name in names if getattr(settings, name) != usual[name]]:
        values = ", ".join(f"{name}={getattr(settings, name)!r}" for name in changed)
        if all(tiled):
            why = "A network of CryoSiam gives what it would for the whole volume, unblended"
        else:
            why = "That is for networks of CryoSiam"
        msg = f"{values} does not go with {specs[0].weights}. {why}: leave it out."
        raise ConfigError(msg)
    if all(tiled) and settings.compat == "cryosiam":
        _check_compatible(settings, specs)
        limit_instructions()  # before the plan, which calls a convolution to count its memory
    return all(tiled)


def refuse_of_tiles(**wanted: bool) -> None:
    """Refuse what only networks of CryoSiam have, beside settings.

    Raises
    ------
    ConfigError
        Naming what was wanted of another network.
    """
    if asked := [name for name, is_wanted in wanted.items() if is_wanted]:
        msg = (
            f"{' and '.join(asked)} go with networks of CryoSiam only, and this is another. Leave "
            "them out."
        )
        raise ConfigError(msg)


def tile_specs(
    settings: Settings, model: Models, *, has_distances: bool = False
) -> tuple[ModelSpec, ...]:
    """Return models with the intensities and the heads that are asked for.

    Raises
    ------
    ModelError
        If there is no distance head, or intensities make no sense.
    """
    specs = as_models(model)
    if settings.intensity is not None:
        low, high, mean, deviation = settings.intensity
        specs = tuple(
            with_intensity(spec, minimum=low, maximum=high, mean=mean, deviation=deviation)
            for spec in specs
        )
    return tuple(map(with_distances, specs)) if has_distances else specs


def plan_tiles(
    settings: Settings,
    model: Models,
    *,
    shape: Shape,
    dtype: np.dtype[Any],
    storage_chunks: Shape,
    chunks: Shape | None = None,
    slab: int | None = None,
    stored: dict[ProductKind, int] | None = None,
    host_limit: int | None = None,
    device_limit: int | None = None,
    num_workers: int = 1,
) -> TilePlan:
    """Cut a volume into tiles.

    Parameters
    ----------
    settings : Settings
        With which `is_tiled` is true.
    model : ModelSpec or sequence of ModelSpec
        One or several networks of CryoSiam.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    dtype : dtype
        Of the volume.
    storage_chunks : tuple of int
        What storage decodes at once, voxels.
    chunks : tuple of int
        What a tile keeps, rounded up to the network's total stride; by default as memory allows.
    slab : int
        Planes that are computed at once; by default as memory allows.
    stored : dict
        Bytes per voxel, and channel where there are channels, of what is kept beside classes.
    host_limit, device_limit : int
        Memory of one worker, bytes.
    num_workers : int
        Workers that share the volume.

    Raises
    ------
    PlanError
        If even the smallest tile does not fit.
    ConfigError
        If chunks are given where CryoSiam's patches are wanted.
    """
    kinds = dict(stored or {})
    specs = tile_specs(settings, model, has_distances="distances" in kinds)
    keeps_all = _keeps_all(settings, specs, kinds)
    on_device = choose_device(settings.device).type == "cuda"
    limits = {"host_limit": host_limit, "device_limit": device_limit}

    def plan_of(tiles: HaloTiles | QuarterTiles) -> TilePlan:
        sizes = [
            planned_bytes(spec, tiles, on_device=on_device, has_outputs=keeps_all) for spec in specs
        ]
        return TilePlan(
            TileGrid(tiles, 2 if isinstance(tiles, QuarterTiles) else 1),
            itemsize=dtype.itemsize,
            storage_chunks=tuple(storage_chunks),
            num_classes=specs[0].num_classes,
            num_sweeps=len(settings.views) * len(specs),
            work=sum(_work(spec, tiles) for spec in specs) * len(settings.views),
            network_bytes=max(network for network, _ in sizes),
            tile_bytes=max(host for _, host in sizes),
            sum_bytes=_sum_bytes(settings, specs, kinds),
            stored_bytes=_stored_bytes(specs, kinds),
            on_device=on_device,
            **limits,
        )

    if settings.compat == "cryosiam":
        found = plan_of(QuarterTiles(shape, specs[0].patch))
        _refuse_chunks(chunks, found)
        return found
    if chunks is not None:
        slabs = SLABS[choose_device(settings.device).type] if slab is None else (slab,)
        return _thickest(plan_of, _tiles_of(specs, shape, chunks), slabs)
    tiles = halo_tiles(
        max(specs, key=receptive_halo),
        shape,
        memory_bytes=_free_bytes(host_limit, device_limit, on_device=on_device),
        device=settings.device,
        has_outputs=keeps_all,
    )
    return _filling(specs, tiles, plan_of, num_workers=num_workers)


def make_tile_job(
    source: Source,
    model: Models,
    settings: Settings,
    plan: TilePlan,
    products: tuple[Product, ...],
    *,
    mask: PhysicalMask | None = None,
) -> TilePredictJob:
    """Bind everything that the tiles of a prediction share.

    Parameters
    ----------
    source : Source
        The volume.
    model : ModelSpec or sequence of ModelSpec
        One or several networks of CryoSiam.
    settings : Settings
        How they are run.
    plan : TilePlan
        From `plan_tiles`.
    products : tuple of Product
        What is written.
    mask : PhysicalMask or None
        Tiles that it leaves empty are not computed.
    """
    kinds = {product.kind for product in products}
    specs = tile_specs(settings, model, has_distances="distances" in kinds)
    thresholds = class_thresholds(specs[0], settings.threshold)
    if settings.replace_nonfinite is not None:
        source = Replaced(source, settings.replace_nonfinite)
    keeps_all = _keeps_all(settings, specs, kinds)
    parts = tuple(
        TileJob(
            source,
            spec,
            plan.grid.tiles,
            thresholds[0],
            str(choose_device(settings.device)),
            mask,
            (view,),
            has_outputs=keeps_all,
        )
        for spec in specs
        for view in settings.views
    )
    orders = [order for order in match_classes(specs).channels for _ in settings.views]
    return TilePredictJob(parts, tuple(orders), plan.grid, thresholds, tuple(products))


def _check_compatible(settings: Settings, specs: Sequence[ModelSpec]) -> None:
    num_sweeps = len(settings.views) * len(specs)
    if num_sweeps > 1:
        msg = (
            f"CryoSiam turns nothing and averages no models, got {len(settings.views)} views of "
            f"{len(specs)} models. Leave the views or the compatibility out."
        )
        raise ConfigError(msg)


def _keeps_all(
    settings: Settings, specs: Sequence[ModelSpec], kinds: Collection[ProductKind]
) -> bool:
    """Whether probabilities of whole tiles are kept: classes alone are chosen slab by slab."""
    is_one = len(settings.views) * len(specs) == 1
    thresholds = class_thresholds(specs[0], settings.threshold)
    return not is_one or len(set(thresholds)) > 1 or bool(set(kinds) - {"classes"})


def _sum_bytes(
    settings: Settings, specs: Sequence[ModelSpec], kinds: Collection[ProductKind]
) -> int:
    """Bytes per voxel of what is summed over views and models."""
    if len(settings.views) * len(specs) == 1:
        return 0
    return 4 * max(map(num_channels, specs)) * (1 + len({"variance", "distances"} & set(kinds)))


def _stored_bytes(specs: Sequence[ModelSpec], kinds: Mapping[ProductKind, int]) -> int:
    """Bytes per voxel of what is stored beside classes."""
    channels = {"probabilities": specs[0].num_classes, "distances": num_channels(specs[0])}
    return sum(size * channels.get(kind, 1) for kind, size in kinds.items())


def _refuse_chunks(chunks: Shape | None, plan: TilePlan) -> None:
    """Refuse other chunks than those of CryoSiam's patches."""
    if chunks is not None and tuple(chunks) != plan.chunks:
        msg = (
            f"CryoSiam's patches say how the volume is cut, got chunks {chunks}. Leave them "
            "out, or the compatibility."
        )
        raise ConfigError(msg)


def _work(spec: ModelSpec, tiles: HaloTiles | QuarterTiles) -> float:
    """What tiles compute, over the network's work on the whole volume."""
    if isinstance(tiles, QuarterTiles):
        return network_work(tiles)
    return tile_work(spec, tiles).part


def _free_bytes(host_limit: int | None, device_limit: int | None, *, on_device: bool) -> int:
    """Memory that a tile may take, where its network runs."""
    if on_device:
        return int(USABLE_PART * (device_limit or MOST_BYTES))
    return int((_host_budget(host_limit) - BASE_BYTES - CACHE_BYTES) / (1 + ALLOCATOR_PART))


def _host_budget(host_limit: int | None) -> int:
    return min(MOST_BYTES, int(USABLE_PART * (host_limit or MOST_BYTES / USABLE_PART)))


def _filling(
    specs: Sequence[ModelSpec],
    tiles: HaloTiles,
    plan_of: Callable[[HaloTiles], TilePlan],
    *,
    num_workers: int,
) -> TilePlan:
    """Make tiles smaller where what is kept beside the network, or many workers, ask for it."""
    shape = tiles.shape
    found = plan_of(_tiles_of(specs, shape, tiles.core, tiles.slab))
    sides = [max(tiles.core)]
    while sides[-1] > LEAST_CORE:
        sides.append(max(LEAST_CORE, sides[-1] * 3 // 4))
    for side in sides[1:]:
        is_small = found.host_bytes <= _host_budget(found.host_limit)
        if is_small and len(found.grid) >= num_workers:
            break
        cores = tuple(
            min(core, even_core(n, side, tiles.step))
            for n, core in zip(shape, tiles.core, strict=True)
        )
        found = plan_of(_tiles_of(specs, shape, cores, tiles.slab))
    return found


def _thickest(
    plan_of: Callable[[HaloTiles], TilePlan], tiles: HaloTiles, slabs: Sequence[int]
) -> TilePlan:
    """As many planes at once as fit into memory."""
    for slab in slabs:
        found = plan_of(replace(tiles, slab=slab))
        limits = ((found.host_bytes, found.host_limit), (found.device_bytes, found.device_limit))
        if all(limit is None or need <= USABLE_PART * limit for need, limit in limits):
            break
    return found


def _tiles_of(specs: Sequence[ModelSpec], shape: Shape, cores: Shape, slab: int = 1) -> HaloTiles:
    """Tiles that suit all of several networks; cores are rounded up to their strides."""
    step = lcm(*map(alignment, specs))
    halo = -(-max(map(receptive_halo, specs)) // step) * step
    if len(cores) != len(shape):
        cores = (0,) * len(shape)  # which is refused in the words of tiles
    rounded = tuple(
        -(-min(core, size) // step) * step for core, size in zip(cores, shape, strict=True)
    )
    return HaloTiles(shape, rounded, halo, step, slab)
