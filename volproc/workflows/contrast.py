"""Whether the voxels of a tomogram lie where a network of CryoSiam wants them."""

from __future__ import annotations

from collections.abc import Sequence

SLACK = 0.01
"""Part of the range by which the contrast may lie outside it before that is said."""


def contrast_outside(lowest: float, highest: float, intensity: Sequence[float]) -> str:
    """Begin a sentence on voxels that are clipped; empty where hardly any is.

    Parameters
    ----------
    lowest, highest : float
        Range of the voxels.
    intensity : sequence of float
        What the network wants: least and greatest value first.

    Examples
    --------
    >>> contrast_outside(-3.0, 1.0, (0.0, 1.0))
    'the contrast is -3…1, and the model wants 0…1: what is outside'
    >>> contrast_outside(0.0, 1.005, (0.0, 1.0))
    ''
    """
    low, high, *_ = intensity
    slack = SLACK * (high - low)
    if not (lowest < low - slack or highest > high + slack):
        return ""
    return (
        f"the contrast is {lowest:.4g}…{highest:.4g}, and the model wants {low:g}…{high:g}: what "
        "is outside"
    )
