"""Losses of semantic segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch.nn import functional

SMOOTH = 1.0
"""Added to both parts of the Dice fraction, so that a class that is absent costs nothing."""


Choice = Literal["dice-cross-entropy", "tversky", "focal", "focal-tversky"]


def loss_of(
    outputs: torch.Tensor | Sequence[torch.Tensor],
    classes: torch.Tensor,
    *,
    choice: Choice = "dice-cross-entropy",
    class_weights: torch.Tensor | None = None,
    alpha: float = 0.3,
    gamma: float = 2.0,
) -> torch.Tensor:
    """Loss of a batch.

    Parameters
    ----------
    outputs : tensor of float32, (b, classes, z, y, x), or several
        Output of the network. Of a network with deep supervision the outputs of all depths, the
        finest first, or stacked as (b, depths, classes, z, y, x): each counts half of the one
        before, against the truth at its places.
    classes : tensor of int64, (b, z, y, x)
        Truth.
    choice : {"dice-cross-entropy", "tversky", "focal", "focal-tversky"}
        Which loss; the last is the sum of the two.
    class_weights : tensor of float32, (classes,), optional
        Weights of the cross-entropy, plain or focal.
    alpha, gamma : float
        See `tversky` and `focal`.

    Returns
    -------
    loss : tensor of float32
        One number, 0 or more.
    """
    if isinstance(outputs, torch.Tensor):
        outputs = list(outputs.unbind(1)) if outputs.ndim == 6 else [outputs]
    total = outputs[0].new_zeros(())
    for depth, output in enumerate(outputs):
        logits, size = output.float(), output.shape[2:]
        truth = classes
        if tuple(size) != tuple(classes.shape[1:]):
            coarse = functional.interpolate(classes[:, None].float(), size=size, mode="nearest")
            truth = coarse[:, 0].long()
        part = 0.0 * total
        if choice == "dice-cross-entropy":
            part = dice_cross_entropy(logits, truth, class_weights=class_weights)
        if choice in ("tversky", "focal-tversky"):
            part = part + tversky(logits, truth, alpha=alpha)
        if choice in ("focal", "focal-tversky"):
            part = part + focal(logits, truth, gamma=gamma, class_weights=class_weights)
        total = total + part * 0.5**depth
    return total / sum(0.5**depth for depth in range(len(outputs)))


def tversky(logits: torch.Tensor, classes: torch.Tensor, *, alpha: float = 0.3) -> torch.Tensor:
    """Tversky loss, the mean over patches and classes, the background too.

    Parameters
    ----------
    logits, classes : tensor
        As in `dice_cross_entropy`.
    alpha : float
        Weight of false positives; that of false negatives is ``1 - alpha``.

    References
    ----------
    .. [1] S. S. M. Salehi, D. Erdogmus, A. Gholipour, "Tversky loss function for image
       segmentation using 3D fully convolutional deep networks", MLMI 2017.
    """
    probabilities, one_hot = _sides(logits, classes)
    axes = (2, 3, 4)
    shared = (probabilities * one_hot).sum(axes)
    extra, missed = probabilities.sum(axes) - shared, one_hot.sum(axes) - shared
    score = (shared + 1e-5) / (shared + alpha * extra + (1 - alpha) * missed + 1e-5)
    return (1 - score).mean()


def focal(
    logits: torch.Tensor,
    classes: torch.Tensor,
    *,
    gamma: float = 2.0,
    class_weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Focal loss: cross-entropy that counts less where the network is right already.

    Parameters
    ----------
    logits, classes, class_weights : tensor
        As in `dice_cross_entropy`.
    gamma : float
        0 gives the cross-entropy.

    References
    ----------
    .. [1] T.-Y. Lin et al., "Focal loss for dense object detection", ICCV 2017.
    """
    logs = logits.log_softmax(1).gather(1, classes[:, None])[:, 0]
    losses = -((1 - logs.exp()) ** gamma) * logs
    if class_weights is None:
        return losses.mean()
    weights = class_weights[classes]
    return (losses * weights).sum() / weights.sum()


def dice_cross_entropy(
    logits: torch.Tensor, classes: torch.Tensor, *, class_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Weighted cross-entropy plus soft Dice over the batch, the background left out of Dice.

    Parameters
    ----------
    logits : tensor of float32, (b, classes, z, y, x)
        Output of the network.
    classes : tensor of int64, (b, z, y, x)
        Truth.
    class_weights : tensor of float32, (classes,), optional
        Weights of the cross-entropy.

    Returns
    -------
    loss : tensor of float32
        One number, 0 or more.

    References
    ----------
    .. [1] F. Milletari, N. Navab, S.-A. Ahmadi, "V-Net", 3DV 2016 (soft Dice).
    """
    entropy = functional.cross_entropy(logits, classes, weight=class_weights)
    probabilities, one_hot = _sides(logits, classes)
    axes = (0, 2, 3, 4)
    shared = (probabilities * one_hot).sum(axes)
    both = probabilities.sum(axes) + one_hot.sum(axes)
    dice = (2 * shared + SMOOTH) / (both + SMOOTH)
    return entropy + (1 - dice[1:]).mean()


def _sides(logits: torch.Tensor, classes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities and truth, (b, classes, z, y, x)."""
    probabilities = logits.softmax(1)
    one_hot = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1)
    return probabilities, one_hot.to(probabilities.dtype)
