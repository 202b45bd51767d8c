"""Losses of semantic segmentation."""

from __future__ import annotations

import torch
from torch.nn import functional

SMOOTH = 1.0
"""Added to both parts of the Dice fraction, so that a class that is absent costs nothing."""


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
    probabilities = logits.softmax(1)
    one_hot = functional.one_hot(classes, logits.shape[1]).movedim(-1, 1).to(probabilities.dtype)
    axes = (0, 2, 3, 4)
    shared = (probabilities * one_hot).sum(axes)
    both = probabilities.sum(axes) + one_hot.sum(axes)
    dice = (2 * shared + SMOOTH) / (both + SMOOTH)
    return entropy + (1 - dice[1:]).mean()
