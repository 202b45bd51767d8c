"""A network of CryoSiam on one tile: voxels in, labels, probabilities and distances out.

`predict_region` gives what the network gives for the whole volume; `predict_tiles` takes a tile by
itself, as CryoSiam does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.errors import NonFiniteError
from volproc.core.model import ModelSpec
from volproc.core.types import ZYX, Region, Shape, region_shape
from volproc.models.cryosiam import activate, split_outputs
from volproc.models.cryosiam_layers import scale_intensity
from volproc.models.cryosiam_streaming import SLAB, stream_region
from volproc.models.loading import load_model
from volproc.models.memory import activation_bytes
from volproc.models.same_numbers import same_numbers
from volproc.models.streaming_tensors import Read
from volproc.models.views import IDENTITY, View


@dataclass(frozen=True, slots=True)
class TileOutputs:
    """What a network says of a tile."""

    labels: npt.NDArray[np.uint8]
    """Class map, (z, y, x)."""

    probabilities: npt.NDArray[np.float32]
    """As CryoSiam has them: one channel, or one a class, (c, z, y, x)."""

    distances: npt.NDArray[np.float32] | None
    """As the head gives them, (c, z, y, x); None where the model was read without it."""


def scale_voxels(spec: ModelSpec, voxels: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Scale the voxels of a tile as a model wants them.

    Raises
    ------
    NonFiniteError
        If there are NaN or infinite voxels.
    """
    scaled = np.asarray(voxels, np.float32)
    if not np.isfinite(scaled).all():
        msg = (
            f"{int((~np.isfinite(scaled)).sum())} voxels of a tile are NaN or infinite, and would "
            "spread. Denoise the tomogram again, or replace them."
        )
        raise NonFiniteError(msg)
    intensity = spec.params.get("intensity")
    if intensity is None:
        return scaled
    return scale_intensity(torch.from_numpy(scaled.copy()), intensity).numpy()


def unscaled(spec: ModelSpec) -> ModelSpec:
    """The same model, for voxels that went through `scale_voxels`."""
    return replace(spec, params={**spec.params, "intensity": None})


def predict_region(
    spec: ModelSpec,
    shape: Shape,
    keep: Region,
    read: Read,
    *,
    threshold: float | Sequence[float],
    device: str = "auto",
    views: tuple[View, ...] = (IDENTITY,),
    slab: int = SLAB,
    has_outputs: bool = True,
) -> TileOutputs:
    """Compute a region of what a network gives for a whole volume.

    Parameters
    ----------
    spec : ModelSpec
        From `unscaled`.
    shape : tuple of int
        Size of the whole volume, (z, y, x), voxels.
    keep : region
        Which voxels are wanted.
    read : callable
        Gives a region of the volume, see `scale_voxels`.
    threshold : float or sequence of float
        Probabilities below it do not count, see `choose_labels`.
    device : str
        See `volproc.models.devices.choose_device`.
    views : tuple of View
        Turned copies of the volume, whose probabilities are averaged.
    slab : int
        Planes that are computed at once.
    has_outputs : bool
        Give probabilities and distances too; without, they have no channel.

    Returns
    -------
    outputs : TileOutputs
        Of ``keep``.

    Notes
    -----
    Without outputs and with one view, only the labels are in memory at full size.
    """
    model = load_model(spec, device)
    sides = region_shape(keep)
    labels = np.empty(sides, np.uint8)
    is_summed = has_outputs or len(views) > 1
    sums: list[npt.NDArray[np.float32]] = []
    for view in views:
        for region, given in stream_region(model, shape, keep, read, slab=slab, view=view):
            parts = _activated(spec, given[None])
            at = tuple(
                slice(r.start - k.start, r.stop - k.start)
                for r, k in zip(region, keep, strict=True)
            )
            if not is_summed:
                labels[at] = choose_labels(parts[0], threshold)
                continue
            sums = sums or [np.zeros((len(part), *sides), np.float32) for part in parts]
            for total, part in zip(sums, parts, strict=True):
                total[(slice(None), *at)] += part
    for total in sums:
        total /= len(views)
    for begin in range(0, len(labels), slab) if is_summed else ():
        planes = slice(begin, begin + slab)
        labels[planes] = choose_labels(sums[0][:, planes], threshold)
    if not has_outputs:
        return TileOutputs(labels, np.empty((0, *sides), np.float32), None)
    return TileOutputs(labels, sums[0], sums[1] if len(sums) > 1 else None)


def _activated(spec: ModelSpec, outputs: torch.Tensor) -> list[npt.NDArray[np.float32]]:
    """Probabilities, and distances if there are any, (c, z, y, x)."""
    logits, distances = split_outputs(spec, outputs)
    heads = [activate(spec, logits)] + ([] if distances is None else [distances])
    return [np.array(head[0].cpu().numpy(), order="C") for head in heads]


def predict_tiles(
    spec: ModelSpec,
    tiles: Sequence[npt.NDArray[np.float32]],
    kept: Sequence[Region],
    *,
    threshold: float | Sequence[float],
    batch_size: int = 1,
    device: str = "auto",
) -> list[TileOutputs]:
    """Run a network on tiles of one size, each by itself, with the same numbers on every CPU.

    Parameters
    ----------
    spec : ModelSpec
        From `unscaled`.
    tiles : sequence of ndarray of float32, (z, y, x)
        From `scale_voxels`, no more than a batch.
    kept : sequence of region
        What is kept of each, counted from its first voxel.
    threshold : float or sequence of float
        Probabilities below it do not count, see `choose_labels`.
    batch_size : int
        Tiles of a pass; the last tile is repeated where there are fewer, since other batches are
        computed by other instructions.
    device : str
        See `volproc.models.devices.choose_device`.

    Returns
    -------
    outputs : list of TileOutputs
        Of the kept regions.

    Notes
    -----
    One pass in float32, on a GPU too, with all outputs of the tiles at full size; see
    `volproc.models.same_numbers.same_numbers`.
    """
    filled = [*tiles, *[tiles[-1]] * (batch_size - len(tiles))]
    with same_numbers():
        model = load_model(spec, device, precision=torch.float32)
        given = model(torch.from_numpy(np.stack(filled))[:, None].to(model.device))
    outputs = []
    for number, cut in enumerate(kept):
        inner = (slice(number, number + 1), slice(None), *cut)
        parts = _activated(spec, given[inner])
        labels = choose_labels(parts[0], threshold)
        outputs.append(TileOutputs(labels, parts[0], parts[1] if len(parts) > 1 else None))
    return outputs


def choose_labels(
    probabilities: npt.NDArray[np.float32], threshold: float | Sequence[float]
) -> npt.NDArray[np.uint8]:
    """Turn probabilities into classes by CryoSiam's rule.

    Parameters
    ----------
    probabilities : ndarray of float32, (c, z, y, x)
        One channel: class 1 is where it is above the threshold. More: the largest of those that
        are not below it, the first one of equals, and the background where none is left.
    threshold : float or sequence of float
        In 0…1; one for all channels, or one each.

    Examples
    --------
    >>> p = np.array([[0.3, 0.2], [0.3, 0.1], [0.4, 0.7]], np.float32).reshape(3, 1, 1, 2)
    >>> choose_labels(p, 0.5).tolist(), choose_labels(p[2:], 0.5).tolist()
    ([[[0, 2]]], [[[0, 1]]])
    >>> choose_labels(p, (0.5, 0.2, 0.8)).tolist()
    [[[1, 0]]]
    """
    least = np.broadcast_to(np.asarray(threshold, np.float64), len(probabilities)).tolist()
    if len(probabilities) == 1:
        return (probabilities[0] > least[0]).astype(np.uint8)
    labels = np.zeros(probabilities.shape[1:], np.uint8)
    best = np.where(probabilities[0] < least[0], np.float32(0), probabilities[0])
    for number, channel in enumerate(probabilities[1:], 1):
        is_better = (channel >= least[number]) & (channel > best)
        labels[is_better] = number
        best[is_better] = channel[is_better]
    return labels


def tile_bytes(spec: ModelSpec, size: ZYX[int], *, batch_size: int, on_device: bool) -> int:
    """Peak memory of a network on tiles of a size, bytes."""
    return activation_bytes(replace(spec, patch=size), batch_size=batch_size, on_device=on_device)
