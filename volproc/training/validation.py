"""How well a network does on volumes that it was not trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.types import ZYX, Index, Region, Shape, region_shape, whole
from volproc.plan.patches import PatchGrid
from volproc.training.labelled import LabelledVolume
from volproc.training.picks import Centres, count_matches, find_centres, score_counts

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Scores:
    """F-beta scores."""

    by_class: dict[str, float]
    """Voxel-wise score of each class but the background; classes that occur neither in truth nor
    in prediction are left out."""

    overall: float
    """Mean over those classes; 0 without any."""

    picks: dict[str, float] = field(default_factory=dict)
    """Score of the localized picks of each class with a radius, where picks were validated."""

    @property
    def overall_picks(self) -> float:
        """Mean over the classes of picks; 0 without any."""
        return float(np.mean(list(self.picks.values()))) if self.picks else 0.0


def validate(
    forward: Forward,
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
            # What was added to fill a patch is no part of the volume.
            inside = tuple(
                slice(max(-a, 0), n - a) for n, a in zip(volume.shape, start, strict=True)
            )
            confusion += _confuse(truth[inside], predicted[inside], len(classes))
    return score_confusion(confusion, classes, beta)


def validate_picks(
    forward: Forward,
    volumes: Sequence[LabelledVolume],
    *,
    patch: Shape,
    overlap: float,
    classes: tuple[str, ...],
    radii: Mapping[str, float],
    beta: float,
    most_patches: int,
    device: torch.device,
) -> Scores:
    """Score a network by the particles that are localized in what it predicts.

    Parameters
    ----------
    forward, volumes, patch, classes, beta, device
        As in `validate`.
    overlap : float
        Part of a patch that it shares with the next, as in inference; where patches overlap, their
        logits are averaged.
    radii : mapping of str to float
        Radius of each particle class, Å.
    most_patches : int
        Patches of a volume, side by side, that are looked at: all of it, or its middle.

    Returns
    -------
    scores : Scores
        With the voxels of the same regions.

    Notes
    -----
    Memory is one plane of patches with a float32 for each class, and the class map of a region:
    that of ``most_patches`` patches, whatever the volume.
    """
    wanted = {classes.index(name): radius for name, radius in radii.items()}
    counts = {value: np.zeros(3, np.int64) for value in wanted}
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    for volume in volumes:
        region = middle_region(volume.shape, patch, most_patches)
        predicted = predict_classes(
            forward, volume, region, patch=patch, overlap=overlap, device=device
        )
        truth = volume.classes.read(region)
        confusion += _confuse(truth, predicted, len(classes))
        known = _true_centres(volume, region, truth, wanted)
        found = find_centres(predicted, wanted, volume.voxel_size)
        # Of a part of a volume, particles that its faces cut are not counted.
        if region != whole(volume.shape):
            known, found = (
                _well_inside(centres, region_shape(region), wanted, volume.voxel_size)
                for centres in (known, found)
            )
        for value, more in count_matches(known, found, wanted, volume.voxel_size).items():
            counts[value] += more
    voxels = score_confusion(confusion, classes, beta)
    return Scores(voxels.by_class, voxels.overall, score_counts(counts, classes, beta))


def middle_region(shape: Shape, patch: Shape, most_patches: int) -> Region:
    """The middle of a volume, of at most so many patches side by side; all of a small one.

    Examples
    --------
    >>> middle_region((40, 300, 500), (32, 32, 32), 27)
    (slice(0, 40, None), slice(76, 224, None), slice(176, 324, None))
    """
    voxels = most_patches * prod(patch)
    size = list(shape)
    while prod(size) > voxels:
        free = [a for a in range(3) if size[a] > patch[a]]
        if not free:
            break
        axis = max(free, key=lambda a: size[a])
        # The longest sides shrink together, to the next ones or to what is allowed.
        longest = [a for a in free if size[a] == size[axis]]
        rest = prod(n for a, n in enumerate(size) if a not in longest)
        below = max((n for n in size if n < size[axis]), default=1)
        fitting = int((voxels / rest) ** (1 / len(longest)))
        for a in longest:
            size[a] = max(patch[a], min(size[a] - 1, max(fitting, below)))
    starts = [(n - m) // 2 for n, m in zip(shape, size, strict=True)]
    return tuple(slice(a, a + m) for a, m in zip(starts, size, strict=True))


def predict_classes(
    forward: Forward,
    volume: LabelledVolume,
    region: Region,
    *,
    patch: Shape,
    overlap: float,
    device: torch.device,
) -> npt.NDArray[np.uint8]:
    """Class map of a region: the mean of the logits of overlapping patches, then the greatest.

    Parameters
    ----------
    forward : callable
        From a batch (1, 1, z, y, x) to logits.
    volume : LabelledVolume
        Where patches come from.
    region : Region
        Part of the volume.
    patch : tuple of int
        (z, y, x), voxels.
    overlap : float
        In [0, 1).
    device : torch.device
        Where the network is.

    Notes
    -----
    Logits are held for the planes that patches still reach, not for the region.
    """
    size, corner = region_shape(region), [s.start for s in region]
    out = np.zeros(size, np.uint8)
    sums: torch.Tensor | None = None
    top = 0  # plane of the region that the sums begin with
    for start in PatchGrid(size, patch, overlap):
        place = tuple(a + c for a, c in zip(start, corner, strict=True))
        image = volume.patch(place, patch)[0]
        logits = forward(torch.from_numpy(image)[None, None].to(device))[0].float().cpu()
        if sums is None:
            sums = torch.zeros((len(logits), patch[0], *size[1:]))
        if start[0] > top:
            done = start[0] - top
            out[top : start[0]] = sums[:, :done].argmax(0).numpy()
            sums = torch.cat([sums[:, done:], torch.zeros_like(sums[:, :done])], 1)
            top = start[0]
        # Where the region is smaller than a patch, the patch hangs over both edges.
        inside = tuple(
            slice(max(-a, 0), min(p, n - a)) for a, p, n in zip(start, patch, size, strict=True)
        )
        z, y, x = (slice(i.start + a, i.stop + a) for i, a in zip(inside, start, strict=True))
        sums[:, z.start - top : z.stop - top, y, x] += logits[:, *inside]
    assert sums is not None  # a region has at least one patch
    out[top:] = sums[:, : size[0] - top].argmax(0).numpy()
    return out


def _true_centres(
    volume: LabelledVolume,
    region: Region,
    truth: npt.NDArray[np.uint8],
    radii: Mapping[int, float],
) -> Centres:
    """Known centres of a region, in its voxels."""
    corner, size = [s.start for s in region], region_shape(region)
    known: Centres = {}
    for value, zyx in volume.centres.items():
        local = zyx - corner
        inside = ((local >= -0.5) & (local < np.array(size) - 0.5)).all(axis=1)
        known[value] = local[inside]
    others = {value: radius for value, radius in radii.items() if value not in known}
    return {**known, **find_centres(truth, others, volume.voxel_size)}


def _well_inside(
    centres: Centres, size: Shape, radii: Mapping[int, float], voxel_size: ZYX[float]
) -> Centres:
    kept = {}
    for value, zyx in centres.items():
        margin = radii.get(value, 0.0) / np.array(voxel_size)
        kept[value] = zyx[((zyx >= margin) & (zyx <= np.array(size) - 1 - margin)).all(axis=1)]
    return kept


def _confuse(
    truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.integer], num_classes: int
) -> npt.NDArray[np.int64]:
    """Voxels by truth (rows) and prediction (columns)."""
    pairs = truth.astype(np.int64) * num_classes + predicted
    counts = np.bincount(pairs.ravel(), minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


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
