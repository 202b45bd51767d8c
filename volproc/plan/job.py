"""The sizes that a plan of a prediction is made from."""

from __future__ import annotations

from dataclasses import dataclass

from volproc.core.types import Shape
from volproc.plan.patches import PatchGrid


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
        Size of a patch; the largest one where there are several grids.
    overlap : float
        Part of a patch shared with the next.
    num_views : int
        Passes of each patch: the views of a patch where they share its grid, else 1.
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
    grids : tuple of PatchGrid
        Grids of patches, each of which is slid over the volume by itself: of several models, or of
        views with grids of their own. Empty means one, of ``patch`` and ``overlap``.
    num_models : int
        Networks, each of which has as many grids and views as the others.
    kept_bytes : int
        Bytes per voxel that a block keeps from grid to grid, where each is completed by itself; 0
        where one array of sums serves all grids.
    map_bytes : int
        Bytes per voxel of what is stored beside classes and probabilities.
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
    grids: tuple[PatchGrid, ...] = ()
    num_models: int = 1
    kept_bytes: int = 0
    map_bytes: int = 0

    @property
    def patch_grids(self) -> tuple[PatchGrid, ...]:
        """All grids of patches."""
        return self.grids or (PatchGrid(self.shape, self.patch, self.overlap),)
