"""A network of CryoSiam on one tile: voxels in, labels, probabilities and distances out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.errors import NonFiniteError
from volproc.core.model import ModelSpec
from volproc.core.types import ZYX, Region
from volproc.models.cryosiam import activate, split_outputs
from volproc.models.cryosiam_layers import scale_intensity
from volproc.models.loading import load_model
from volproc.models.memory import activation_bytes
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


def predict_tiles(
    spec: ModelSpec,
    tiles: Sequence[npt.NDArray[np.float32]],
    kept: Sequence[Region],
    *,
    threshold: float,
    batch_size: int = 1,
    device: str = "auto",
    is_exact: bool = False,
    views: tuple[View, ...] = (IDENTITY,),
) -> list[TileOutputs]:
    """Run a network on tiles of one size.

    Parameters
    ----------
    spec : ModelSpec
        From `unscaled`.
    tiles : sequence of ndarray of float32, (z, y, x)
        From `scale_voxels`, no more than a batch.
    kept : sequence of region
        What is kept of each, counted from its first voxel.
    threshold : float
        Probabilities below it do not count, see `choose_labels`.
    batch_size : int
        Tiles of a pass; the last tile is repeated where there are fewer, since other batches are
        computed by other instructions.
    device : str
        See `volproc.models.devices.choose_device`.
    is_exact : bool
        Compute in float32 on a GPU too.
    views : tuple of View
        Turned copies of the tiles, whose probabilities are averaged.

    Returns
    -------
    outputs : list of TileOutputs
        Of the kept regions.

    Notes
    -----
    One pass a view, with all outputs of the tiles at full size.
    """
    model = load_model(spec, device)
    if is_exact:
        model = replace(model, precision=torch.float32)
    filled = [*tiles, *[tiles[-1]] * (batch_size - len(tiles))]
    batch = torch.from_numpy(np.stack(filled))[:, None].to(model.device)
    sums: list[list[torch.Tensor]] = []
    for view in views:
        logits, distances = split_outputs(spec, view.inverse(model(view.forward(batch))))
        heads = [activate(spec, logits)] + ([] if distances is None else [distances])
        found = [[head[i][(slice(None), *cut)] for head in heads] for i, cut in enumerate(kept)]
        if sums:
            found = [
                [a + b for a, b in zip(*two, strict=True)] for two in zip(sums, found, strict=True)
            ]
        sums = found
    outputs = []
    for parts in sums:
        means = [np.array((part / len(views)).cpu().numpy(), order="C") for part in parts]
        labels = choose_labels(means[0], threshold)
        outputs.append(TileOutputs(labels, means[0], means[1] if len(means) > 1 else None))
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
