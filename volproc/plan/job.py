"""The sizes that a plan of a prediction is made from."""

from __future__ import annotations

from dataclasses import dataclass

from volproc.core.types import Shape


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be predicted, and with what.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    itemsize : int
        Bytes per input voxel.
    storage_chunks : tuple of int
        What storage reads at once, voxels.
    patch : tuple of int
        Size of a patch.
    overlap : float
        Part of a patch shared with the next.
    num_views : int
        Passes of each patch.
    num_classes : int
        Output channels.
    batch_size : int
        Patches per pass.
    probability_bytes : int
        Bytes per voxel and class of stored probabilities; 0 stores none.
    activation_bytes : int
        Memory of the network for one batch, and its weights.
    weight_bytes : int
        Its weights alone: they stay between blocks.
    on_device : bool
        Whether network and accumulators are on a GPU.
    pad : bool
        Whether a volume smaller than a patch is padded.
    """

    shape: Shape
    itemsize: int
    storage_chunks: Shape
    patch: Shape
    overlap: float
    num_views: int
    num_classes: int
    batch_size: int = 1
    probability_bytes: int = 0
    activation_bytes: int = 0
    weight_bytes: int = 0
    on_device: bool = False
    pad: bool = False
