"""How well a network does on volumes that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.types import Index, Shape
from volproc.plan.patches import PatchGrid
from volproc.training.labelled import LabelledVolume


@dataclass(frozen=True, slots=True)
class Scores:
    """Voxel-wise F-beta scores."""

    by_class: dict[str, float]
    """Score of each class but the background; classes that occur neither in truth nor in
    prediction are left out."""

    overall: float
    """Mean over those classes; 0 without any."""


def validate(
    forward: Callable[[torch.Tensor], torch.Tensor],
    volumes: Sequence[LabelledVolume],
    *,
    patch: Shape,
    classes: tuple[str, ...],
    beta: float,
    most_patches: int,
    device: torch.device,
) -> Scores:
    """Score a network voxel by voxel on patches side by side.

    Parameters
    ----------
    forward : callable
        From a batch (1, 1, z, y, x) to logits.
    volumes : sequence of LabelledVolume
        Volumes with truth.
    patch : tuple of int
        (z, y, x), voxels.
    classes : tuple of str
        Names, the background first.
    beta : float
        Above 1 recall counts more.
    most_patches : int
        Patches of a volume that are looked at, spread evenly over it.
    device : torch.device
        Where the network is.
    """
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for volume in volumes:
        for start in _spread(PatchGrid(volume.shape, patch, 0.0), most_patches):
            image, truth = volume.patch(start, patch)
            batch = torch.from_numpy(image)[None, None].to(device)
            predicted = forward(batch)[0].argmax(0).cpu().numpy()
            # What was mirrored to fill a patch is no part of the volume.
            inside = tuple(slice(0, n - a) for n, a in zip(volume.shape, start, strict=True))
            pairs = truth[inside].astype(np.int64) * len(classes) + predicted[inside]
            counts = np.bincount(pairs.ravel(), minlength=confusion.size)
            confusion += counts.reshape(confusion.shape)
    return score_confusion(confusion, classes, beta)


def score_confusion(
    confusion: npt.NDArray[np.int64], classes: tuple[str, ...], beta: float
) -> Scores:
    """F-beta scores of a confusion matrix.

    Parameters
    ----------
    confusion : ndarray of int, (classes, classes)
        Voxels by truth (rows) and prediction (columns).
    classes : tuple of str
        Names, the background first.
    beta : float
        Above 1 recall counts more.

    Examples
    --------
    >>> score_confusion(np.array([[5, 1], [1, 3]]), ("background", "ribosome"), 1.0).overall
    0.75
    """
    by_class = {}
    for k, name in enumerate(classes[1:], 1):
        hits = float(confusion[k, k])
        missed, extra = confusion[k].sum() - hits, confusion[:, k].sum() - hits
        whole = (1 + beta**2) * hits + beta**2 * missed + extra
        if whole:
            by_class[name] = float((1 + beta**2) * hits / whole)
    return Scores(by_class, float(np.mean(list(by_class.values()))) if by_class else 0.0)


def _spread(grid: PatchGrid, most: int) -> list[Index]:
    starts = list(grid)
    if len(starts) <= most:
        return starts
    return [starts[i] for i in np.linspace(0, len(starts) - 1, most).round().astype(int)]
