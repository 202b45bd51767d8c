"""Any region of a prediction, computed for itself: another way to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Region
from volproc.graph.block_predict import PredictJob, ProductKind, cut_patches, finish_region
from volproc.models.loading import load_model
from volproc.models.normalization import Scaling
from volproc.models.sliding import Accumulator
from volproc.plan.patches import PatchGrid


def predict_region(
    job: PredictJob,
    scaling: Scaling,
    region: Region,
    dtypes: Mapping[ProductKind, np.dtype[Any]],
) -> dict[ProductKind, npt.NDArray[Any]]:
    """Predict a region from all the patches that touch it, with no other block's help.

    Parameters
    ----------
    job : PredictJob
        Of the whole volume; its blocks, spill and products are not used.
    scaling : Scaling
        Normalisation, with constants of the whole volume.
    region : Region
        Any box of the volume, however it lies to the blocks.
    dtypes : mapping of kind to dtype
        What is wanted.

    Returns
    -------
    outputs : dict of kind to ndarray
        Class map, (z, y, x), and probabilities, (c, z, y, x), of the region.

    Notes
    -----
    Patches that reach over the region's border are computed whole, once for each region that
    they touch: `volproc.graph.block_predict` avoids that, at the price of an order among blocks.
    """
    model = load_model(job.spec, job.device)
    starts = touching(job.patches, region)
    extent = job.patches.extent(starts)
    sums = Accumulator(region, job.inference, model.device)
    scaled = scaling(job.source.read(extent))
    cut = cut_patches(scaled, extent, starts, job.inference.patch)
    for start, output in zip(starts, job.inference.run(model, cut, model.device), strict=True):
        sums.add(start, output)
    return finish_region(job, region, sums, dtypes)


def touching(patches: PatchGrid, region: Region) -> list[Index]:
    """Patches that have a voxel in a region, in raster order.

    >>> touching(PatchGrid((10, 16), (8, 8), 0.5), (slice(0, 1), slice(4, 8)))
    [(0, 0), (0, 4)]
    """
    axes = (
        [a for a in starts if a < s.stop and a + size > s.start]
        for starts, size, s in zip(patches.starts, patches.patch, region, strict=True)
    )
    return list(product(*axes))
