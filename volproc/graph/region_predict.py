"""Any region of a prediction, computed for itself: another way to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Region
from volproc.graph.block_batches import BatchRunner, batches_of, cut_patch
from volproc.graph.block_finish import ApartSums, JointSums, finish_region
from volproc.graph.predict_job import PredictJob, ProductKind, union
from volproc.models.normalization import Scaling
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
    runner = BatchRunner(job)
    starts = [touching(sweep.patches, region) for sweep in job.sweeps]
    extent = union(
        *(sweep.patches.extent(mine) for sweep, mine in zip(job.sweeps, starts, strict=True))
    )
    scaled = scaling(job.source.read(extent))
    cut = partial(cut_patch, scaled, extent)
    if not job.is_apart:
        sums = runner.new_sums(region)
        for batch in batches_of(job.sweeps, starts):
            runner.add(batch, sums, cut)
        runner.largest.check()
        return finish_region(job, region, JointSums(job, sums), dtypes)
    kept = ApartSums(job, region, dtypes.keys())
    for number in range(len(job.sweeps)):
        sums = runner.new_sums(region)
        mine = [starts[number] if i == number else [] for i in range(len(job.sweeps))]
        for batch in batches_of(job.sweeps, mine):
            runner.add(batch, sums, cut)
        runner.largest.check()
        kept.add(sums)
    return finish_region(job, region, kept, dtypes)


def count_passes(job: PredictJob, region: Region) -> tuple[int, int]:
    """Patches that touch a region, and the passes through networks that they take."""
    counts = [len(touching(sweep.patches, region)) for sweep in job.sweeps]
    passes = sum(
        count * sweep.inference.passes_per_patch
        for count, sweep in zip(counts, job.sweeps, strict=True)
    )
    return sum(counts), passes


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
