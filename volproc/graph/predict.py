"""Lazy sliding-window inference: a volume in, a class map or probabilities out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import dask.array as da
import numpy as np

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Shape
from volproc.core.volume import Volume
from volproc.graph.block_predict import predict_block
from volproc.graph.layers import Graph, array_of, new_array, unique_name
from volproc.graph.mask_input import open_mask
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.predict_job import PredictJob, Product, ProductKind
from volproc.graph.scaling import ScalingRule, lazy_scaling
from volproc.graph.scratch import Scratch
from volproc.graph.settings import Settings, as_models
from volproc.graph.spill import Spill
from volproc.graph.spool import nothing, spool_input
from volproc.graph.tile_block import TilePredictJob, predict_tile_block
from volproc.graph.tile_settings import is_tiled, make_tile_job, plan_tiles, refuse_of_tiles
from volproc.io.chunk_files import ChunkFiles
from volproc.models.cryosiam_options import num_channels
from volproc.models.devices import choose_device
from volproc.models.loading import check_channels, read_spec
from volproc.models.normalization import Scaling
from volproc.plan.block_memory import class_bytes
from volproc.plan.inference import Plan, make_plan

Output = Literal["classes", "probabilities", "distances"]


def predict(
    volume: Volume,
    model: str | os.PathLike[str] | ModelSpec | Sequence[ModelSpec],
    *,
    output: Output = "classes",
    dtype: np.dtype[Any] | str | None = None,
    settings: Settings | None = None,
    chunks: Shape | None = None,
    scratch: str | os.PathLike[str] | None = None,
    mask: Volume | str | os.PathLike[str] | None = None,
    **options: Any,
) -> Volume:
    """Segment a volume with a network, lazily.

    Every patch of one global grid goes through the network exactly once per view, however the
    volume is chunked; weighted outputs are summed as integers. The result is therefore
    bit-identical for every chunking and every number of workers, on one kind of device.

    Parameters
    ----------
    volume : Volume
        (z, y, x). A computed one is first written to scratch, chunk by chunk.
    model : str, path, ModelSpec or sequence of ModelSpec
        A model file, or the name of embedded weights; or several models, which are averaged. Their
        classes are matched by name, in the order of the first, and each keeps its own patch.
    output : {"classes", "probabilities", "distances"}
        Class map, (z, y, x) uint8 or uint16; probabilities, (c, z, y, x); or what the distance
        head of a network of CryoSiam gives, (c, z, y, x).
    dtype : dtype
        Of probabilities and distances: float16 (default), float32, or for probabilities uint8,
        ``round(255 p)``.
    settings : Settings
        How the network is slid; single settings may be given as keywords instead:
        ``tta="octopi4"``, ``overlap=0.5``.
    chunks : tuple of int
        Chunks of the result; by default as large as memory allows.
    scratch : path
        Folder for what stands between blocks, seen by all workers; a temporary one by default.
        It is removed with the result.
    mask : Volume, str or path
        For networks of CryoSiam: tiles that it leaves empty are not computed, and all outputs are
        0 outside it. 0 and 1, with voxels of any size, over the same box.

    Returns
    -------
    result : Volume
        Lazy. A second computation of the same result reads what the first has left in scratch.

    Raises
    ------
    ShapeError
        If the volume is a micrograph, or smaller than a patch without ``pad=True``.
    ModelError
        If the model cannot be read, or takes another number of channels.
    NonFiniteError
        When computed, if there are NaN or infinite voxels and no replacement was asked for.

    Notes
    -----
    Two tasks a block, beside one a block for the statistics of the volume. Memory per worker is
    bounded by the block, see `volproc.plan`.

    Networks of CryoSiam are run by tiles with a halo, which give what the network would for the
    whole volume, to 1e-5 of the probabilities for every chunking (chunks are rounded up to
    multiples of the network's stride, 8 or 16); or by CryoSiam's own patches with
    ``compat="cryosiam"``. They scale voxels by constants, without statistics of the volume.
    """
    chosen = (settings or Settings()).changed(options)
    if isinstance(model, str | os.PathLike):
        model = read_spec(os.fspath(model))
    specs = as_models(model)
    spec = specs[0]
    array = check_input(volume, spec)
    if is_tiled(chosen, specs):
        kind = _result_type(output, dtype, spec)
        return _predict_tiles(volume, array, specs, chosen, output, kind, chunks, scratch, mask)
    refuse_of_tiles(mask=mask is not None, distances=output == "distances")
    store = Scratch(scratch)
    name = unique_name("predict")
    source, tasks, after = spool_input(volume, array, store, name)
    kind = _result_type(output, dtype, spec)
    plan = make_plan(
        chosen.job(
            specs, shape=array.shape, dtype=array.dtype, storage_chunks=decoded_chunks(source)
        ),
        chunks=chunks,
    )
    plan.validate()
    lead = ((spec.num_classes,),) if output == "probabilities" else ()
    cuts = (*lead, *plan.grid.dask_chunks)
    files = ChunkFiles(store.path("result"), cuts, kind, is_compressed=output == "classes")
    job = make_job(
        source, specs, chosen, plan, Spill(store.path("spill")), (Product(output, files),)
    )
    rule = ScalingRule(spec, chosen.replace_nonfinite, volume.name)
    scaling_tasks, scaling = lazy_scaling(source, rule, prefix=name, after=after)
    tasks |= scaling_tasks
    tasks |= block_tasks(name, job, scaling, files, store)
    depends = [array] if after is not None else []
    data = new_array(name, tasks, cuts=cuts, dtype=kind, depends_on=depends)
    channels = spec.classes if output == "probabilities" else ()
    return volume.with_data(data, channels=channels)


def _predict_tiles(
    volume: Volume,
    array: da.Array,
    specs: tuple[ModelSpec, ...],
    settings: Settings,
    output: Output,
    kind: np.dtype[Any],
    chunks: Shape | None,
    scratch: str | os.PathLike[str] | None,
    mask: Volume | str | os.PathLike[str] | None,
) -> Volume:
    """Segment with networks of CryoSiam, tile by tile."""
    store, name = Scratch(scratch), unique_name("predict")
    source, tasks, after = spool_input(volume, array, store, name)
    laid, mask_after, depends = None, None, [array] if after is not None else []
    if isinstance(mask, Volume):
        voxels = array_of(mask)
        masked, more, mask_after = spool_input(mask, voxels, store, f"{name}-mask", folder="mask")
        laid = PhysicalMask(
            masked, array.shape, mask.name or "mask", volume.voxel_size, mask.voxel_size
        )
        tasks |= more
        depends += [voxels] if mask_after is not None else []
    elif mask is not None:
        laid = open_mask(mask, array.shape, volume.voxel_size)
    plan = plan_tiles(
        settings,
        specs,
        shape=array.shape,
        dtype=array.dtype,
        storage_chunks=decoded_chunks(source),
        chunks=chunks,
        stored={} if output == "classes" else {output: kind.itemsize},
    )
    plan.validate()
    names = product_channels(output, specs[0])
    cuts = (*([(len(names),)] if names else []), *plan.grid.dask_chunks)
    files = ChunkFiles(store.path("result"), cuts, kind, is_compressed=output == "classes")
    job = make_tile_job(source, specs, settings, plan, (Product(output, files),), mask=laid)
    ready = f"{name}-ready"
    tasks[ready] = (nothing, [key for key in (after, mask_after) if key is not None])
    tasks |= block_tasks(name, job, ready, files, store)
    data = new_array(name, tasks, cuts=cuts, dtype=kind, depends_on=depends)
    return volume.with_data(data, channels=names)


def make_job(
    source: Source,
    model: ModelSpec | Sequence[ModelSpec],
    settings: Settings,
    plan: Plan,
    spill: Spill,
    products: tuple[Product, ...],
    *,
    has_variance: bool = False,
) -> PredictJob:
    """Bind everything that the blocks of a prediction share.

    The variance is wanted where it is a product, or said to be: regions have no products.
    """
    has_variance = has_variance or any(product.kind == "variance" for product in products)
    return PredictJob(
        source=source,
        grid=plan.grid,
        sweeps=settings.sweeps(model, plan.job.shape, has_variance=has_variance),
        device=str(choose_device(settings.device)),
        spill=spill,
        products=products,
        is_apart=settings.is_apart(model, has_variance=has_variance),
    )


def check_input(volume: Volume, spec: ModelSpec) -> da.Array:
    """Refuse a volume that a network cannot take; return its array.

    Raises
    ------
    ShapeError, DtypeError, ModelError
    """
    array = array_of(volume)
    check_channels(spec, max(1, len(volume.channels)))
    if array.ndim != 3:
        msg = (
            f"a 3-D network takes volumes (z, y, x), got shape {array.shape}. Micrographs need a "
            "2-D model."
        )
        raise ShapeError(msg)
    if 0 in array.shape:
        msg = f"there is nothing to segment in an empty volume, got shape {array.shape}."
        raise ShapeError(msg)
    if array.dtype.kind not in "iufb":
        msg = f"a network takes real voxels, got {array.dtype}. Take the absolute value first."
        raise DtypeError(msg)
    return array


def product_channels(kind: ProductKind, spec: ModelSpec) -> tuple[str, ...]:
    """Names of the channels of a product; none where it has no axis of channels."""
    if kind == "distances":
        return spec.classes[1:] if num_channels(spec) == 1 else spec.classes
    return spec.classes if kind == "probabilities" else ()


def class_type(spec: ModelSpec) -> np.dtype[Any]:
    """Type of a class map of a model."""
    return np.dtype(f"u{class_bytes(spec.num_classes)}")


def _result_type(
    output: Output, dtype: np.dtype[Any] | str | None, spec: ModelSpec
) -> np.dtype[Any]:
    if output == "classes":
        if dtype is not None:
            msg = f"a class map has the type that holds its classes, got dtype {dtype}."
            raise ConfigError(msg)
        return class_type(spec)
    if output not in get_args(Output):
        msg = (
            f'output is "{output}". Choose classes or probabilities, or distances of a network '
            "of CryoSiam."
        )
        raise ConfigError(msg)
    chosen = np.dtype(dtype or np.float16)
    if output == "distances" and chosen not in (np.float16, np.float32):
        msg = f"distances are stored as float16 or float32, got {chosen}."
        raise ConfigError(msg)
    if chosen not in (np.float16, np.float32, np.uint8):
        msg = f"probabilities are stored as float16, float32 or uint8, got {chosen}."
        raise ConfigError(msg)
    return chosen


def block_tasks(
    name: str, job: PredictJob | TilePredictJob, scaling: Any, files: ChunkFiles, store: Scratch
) -> Graph:
    """Two tasks a block: predict it into scratch, and read it from there."""
    shared, keep = f"{name}-job", f"{name}-scratch"
    tasks: Graph = {shared: _Literal(job), keep: store}
    lead = (0,) * (len(files.cuts) - 3)
    for index in job.grid.indices():
        needs = [(f"{name}-block", *i) for i in job.needs(index)]
        tasks[(f"{name}-block", *index)] = (
            partial(_predict_once, files=files, index=index, chunk=(*lead, *index)),
            shared,
            scaling,
            needs,
        )
        tasks[(name, *lead, *index)] = (
            partial(_read_result, files, (*lead, *index)),
            (f"{name}-block", *index),
            keep,
        )
    return tasks


@dataclass(frozen=True, slots=True)
class _Literal:
    """A value that Dask must not look into for keys."""

    value: Any


def _predict_once(
    shared: _Literal, scaling: Scaling, needs: Any, *, files: ChunkFiles, index: Index, chunk: Index
) -> None:
    """Predict a block unless an earlier computation of the same array has done it."""
    del needs
    job: PredictJob | TilePredictJob = shared.value
    if isinstance(job, TilePredictJob):
        if not files.has_chunk(chunk):
            predict_tile_block(job, index)
        return
    if not files.has_chunk(chunk):
        predict_block(job, scaling, index)
    lead = chunk[: -len(index)]
    for giver in job.needs(index):
        if all(files.has_chunk((*lead, *taker)) for taker in job.takers(giver)):
            for spill in job.spills:
                spill.drop(giver)


def _read_result(files: ChunkFiles, chunk: Index, done: Any, keep: Any) -> Any:
    del done, keep
    return files.read_chunk(chunk)
