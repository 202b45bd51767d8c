"""CryoSiam's denoiser, lazily: inversion, scaling by percentiles, tiles of the network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import ConfigError
from volproc.core.model import ModelSpec
from volproc.core.types import Region, Shape
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import array_of, new_array, unique_name
from volproc.graph.predict import block_tasks, check_input
from volproc.graph.predict_job import Product
from volproc.graph.scaling import ScalingRule, lazy_scaling
from volproc.graph.scratch import Scratch
from volproc.graph.settings import Compat, Settings
from volproc.graph.spool import spool_input
from volproc.graph.tile_settings import make_tile_job, plan_tiles
from volproc.io.chunk_files import ChunkFiles
from volproc.io.open import from_source
from volproc.models.cryosiam import read_cryosiam_denoiser
from volproc.models.normalization import Scaling

PERCENTILES = (0.1, 99.9)
"""Percentiles of the whole volume that become 0 and 1, as in the denoiser's training."""


@dataclass(frozen=True, slots=True)
class ScaledSource:
    """A source of which every voxel is turned around and scaled, in float32.

    Parameters
    ----------
    source : Source
        What is read.
    is_inverted : bool
        Whether dark becomes bright: x becomes -x, before it is scaled.
    scaling : Scaling
        Constants of the whole volume.
    """

    source: Source
    is_inverted: bool = True
    scaling: Scaling = field(default_factory=Scaling)

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return np.dtype(np.float32)

    @property
    def chunks(self) -> Shape:
        """Region that storage reads at once, voxels."""
        return self.source.chunks

    @property
    def decoded_chunks(self) -> Shape:
        """Region that storage has to decode at once, voxels."""
        return decoded_chunks(self.source)

    def read(self, region: Region) -> npt.NDArray[np.float32]:
        """Read a region."""
        voxels = self.source.read(region).astype(np.float32)
        return self.scaling(np.negative(voxels, out=voxels) if self.is_inverted else voxels)

    def identity(self) -> str:
        """Text that changes when the content may have changed."""
        return f"{self.source.identity()} inverted {self.is_inverted} scaled {self.scaling}"


def percentile_rule(
    percentiles: Sequence[float], replace_nonfinite: float | None, name: str
) -> ScalingRule:
    """Say which percentiles of a volume become 0 and 1.

    Raises
    ------
    ConfigError
        If they are not two, in ascending order and in 0…100.
    """
    if len(percentiles) != 2 or not 0 <= percentiles[0] < percentiles[1] <= 100:
        msg = f"percentiles are two of 0…100, the lower one first, got {tuple(percentiles)}."
        raise ConfigError(f"{msg} Use 0.1 and 99.9, say.")
    low, high = percentiles
    spec = ModelSpec(
        "", "", (1, 1, 1), ("background", "intensity"), normalization="percentile",
        percentiles=(low, high),
    )  # fmt: skip
    return ScalingRule(spec, replace_nonfinite, name)


def invert(volume: Volume) -> Volume:
    """Turn dark into bright, lazily: each voxel x becomes -x, in float32.

    Parameters
    ----------
    volume : Volume
        (z, y, x), of any real type.

    Returns
    -------
    inverted : Volume
        Lazy. An opened volume is read from where it is.
    """
    if volume.source is None:
        return volume.with_data(-array_of(volume).astype(np.float32))
    return from_source(
        ScaledSource(volume.source),
        voxel_size=volume.voxel_size,
        origin=volume.origin,
        name=volume.name,
    )


def scale_percentiles(
    volume: Volume,
    *,
    percentiles: tuple[float, float] = PERCENTILES,
    replace_nonfinite: float | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> Volume:
    """Scale a volume so that two percentiles of all its voxels become 0 and 1, lazily.

    Parameters
    ----------
    volume : Volume
        (z, y, x).
    percentiles : tuple of float
        Lower and upper one, in 0…100; between voxels they are interpolated.
    replace_nonfinite : float or None
        What NaN and infinite voxels become; None refuses them.
    scratch : path
        Folder for a computed volume, seen by all workers; a temporary one by default.

    Returns
    -------
    scaled : Volume
        Lazy, float32. What is below or above the percentiles is not clipped.

    Raises
    ------
    ConfigError
        If the percentiles make no sense.
    NonFiniteError
        When computed, if there are NaN or infinite voxels and no replacement was asked for.

    Notes
    -----
    The percentiles are exact, and the same for every chunking. They read the volume three times,
    once more than the result; a computed volume is written to scratch for that.
    """
    rule = percentile_rule(percentiles, replace_nonfinite, volume.name)
    array, store, name = array_of(volume), Scratch(scratch), unique_name("scale")
    source, tasks, after = spool_input(volume, array, store, name)
    more, scaling = lazy_scaling(source, rule, prefix=name, after=after)
    keep = f"{name}-scratch"
    tasks |= more | {keep: store}
    for chunk in iterate_chunks(array.chunks):
        tasks[(name, *chunk.index)] = (partial(_scale, source, chunk.region), scaling, keep)
    depends = [array] if after is not None else []
    data = new_array(name, tasks, cuts=array.chunks, dtype=np.dtype(np.float32), depends_on=depends)
    return volume.with_data(data)


def cryosiam_denoise(
    volume: Volume,
    model: str | os.PathLike[str] | ModelSpec,
    *,
    is_inverted: bool = True,
    percentiles: tuple[float, float] = PERCENTILES,
    replace_nonfinite: float | None = None,
    compat: Compat = "none",
    device: str = "auto",
    chunks: Shape | None = None,
    scratch: str | os.PathLike[str] | None = None,
) -> Volume:
    """Denoise a tomogram with a denoiser of CryoSiam, lazily.

    Parameters
    ----------
    volume : Volume
        (z, y, x), black on white, as it was reconstructed.
    model : str, path or ModelSpec
        The ``.ckpt`` file, or what `read_cryosiam_denoiser` said of it.
    is_inverted : bool
        Turn it into white on black first, see `invert`; False if it is so already.
    percentiles : tuple of float
        What becomes 0 and 1 after that, see `scale_percentiles`; the network clips what is
        outside.
    replace_nonfinite : float or None
        What NaN and infinite voxels become, after the inversion; None refuses them.
    compat : {"none", "cryosiam"}
        CryoSiam's patches, instead of what the network gives for the whole volume.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    chunks : tuple of int
        Chunks of the result, rounded up to the network's stride; by default as memory allows.
    scratch : path
        Folder for what stands between steps, seen by all workers; a temporary one by default.

    Returns
    -------
    denoised : Volume
        Lazy, float32; the result is the same to 1e-5 for every chunking.

    Raises
    ------
    ModelError
        If it is no denoiser.
    NonFiniteError
        When computed, as in `scale_percentiles`.

    Notes
    -----
    The scaled volume and the result stand in scratch, so that neither is computed twice.
    """
    spec = model if isinstance(model, ModelSpec) else read_cryosiam_denoiser(os.fspath(model))
    check_input(volume, spec)
    settings = Settings(device=device, compat=compat)
    turned = invert(volume) if is_inverted else volume
    scaled = scale_percentiles(
        turned, percentiles=percentiles, replace_nonfinite=replace_nonfinite, scratch=scratch
    )
    array, store, name = array_of(scaled), Scratch(scratch), unique_name("denoise")
    source, tasks, after = spool_input(scaled, array, store, name)
    kind = np.dtype(np.float32)
    plan = plan_tiles(
        settings,
        spec,
        shape=array.shape,
        dtype=kind,
        storage_chunks=decoded_chunks(source),
        chunks=chunks,
        stored={"intensity": kind.itemsize},
    )
    files = ChunkFiles(store.path("result"), plan.grid.dask_chunks, kind)
    job = make_tile_job(source, spec, settings, plan, (Product("intensity", files),))
    tasks |= block_tasks(name, job, after, files, store)
    data = new_array(name, tasks, cuts=plan.grid.dask_chunks, dtype=kind, depends_on=[array])
    return volume.with_data(data)


def _scale(source: Source, region: Region, scaling: Scaling, keep: Any) -> npt.NDArray[np.float32]:
    del keep
    return scaling(source.read(region))
