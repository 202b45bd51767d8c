"""The patches of a region in batches, and their way through the networks into the sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volproc.core.types import Index, Region, Shape
from volproc.graph.predict_job import PredictJob, Sweep
from volproc.models.loading import load_model
from volproc.models.sliding import Accumulator, Largest, shifted
from volproc.models.staging import Staging
from volproc.models.windows import weigh_patch

Patch = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Batch:
    """Patches that go through a network together.

    Parameters
    ----------
    sweep : int
        Number of the sweep that they are of.
    starts : tuple of index
        First voxels of the patches, in raster order.
    """

    sweep: int
    starts: tuple[Index, ...]

    @property
    def first(self) -> int:
        """First plane that the patches reach."""
        return self.starts[0][0]


def batches_of(sweeps: Sequence[Sweep], starts: Sequence[Sequence[Index]]) -> list[Batch]:
    """Put patches into batches, each of one sweep.

    Parameters
    ----------
    sweeps : sequence of Sweep
        All sweeps of a prediction.
    starts : sequence of sequence of index
        Patches of each sweep, in raster order.

    Returns
    -------
    batches : list of Batch
        By their first plane: when a batch is begun, no later one reaches the planes before it.
        Batches of a sweep stay in their order.
    """
    batches = []
    for number, (sweep, mine) in enumerate(zip(sweeps, starts, strict=True)):
        size = sweep.inference.batch_size
        batches += [Batch(number, tuple(mine[i : i + size])) for i in range(0, len(mine), size)]
    return sorted(batches, key=lambda batch: batch.first)


class BatchRunner:
    """Sends batches through the networks of a prediction, and adds up what comes out.

    Parameters
    ----------
    job : PredictJob
        What the blocks share; its networks are loaded.
    """

    def __init__(self, job: PredictJob) -> None:
        self._job = job
        self._models = [load_model(sweep.spec, job.device) for sweep in job.sweeps]
        self._staging: dict[Shape, Staging] = {}
        self.largest = Largest()
        """Largest output so far, to be asked before the sums are used."""
        self.num_patches = 0
        """Patches that were added."""
        self.num_passes = 0
        """Times that a patch went through a network."""

    def new_sums(self, region: Region) -> Accumulator:
        """Sums over a region, for one sweep or for all."""
        return Accumulator(region, self._job.sweeps[0].inference, self._models[0].device)

    def add(self, batch: Batch, sums: Accumulator, cut: Callable[[Index, Shape], Patch]) -> None:
        """Add the patches of a batch to sums.

        Parameters
        ----------
        batch : Batch
            Which patches.
        sums : Accumulator
            What they are added to, as far as they reach into its region.
        cut : callable
            Gives the scaled voxels of a patch from its first voxel and its size.
        """
        sweep, model = self._job.sweeps[batch.sweep], self._models[batch.sweep]
        inference = sweep.inference
        size = sweep.patches.patch
        staging = self._staging.setdefault(size, Staging(inference.batch_size, model.device))
        patches = [cut(start, size) for start in batch.starts]
        outputs = inference.pass_batch(model, patches, staging, self.largest)
        for start, output in zip(batch.starts, outputs, strict=True):
            sums.add(start, output, self._weights(sweep, start))
        self.num_patches += len(batch.starts)
        self.num_passes += len(batch.starts) * inference.passes_per_patch

    def _weights(self, sweep: Sweep, start: Index) -> npt.NDArray[np.float32] | None:
        """Weights of a patch among those of several sweeps; None for the window's own."""
        if len(self._job.sweeps) == 1:
            return None
        return weigh_patch(
            sweep.patches,
            start,
            kind=sweep.inference.window,
            sigma_scale=sweep.inference.sigma_scale,
            share=1 / len(self._job.sweeps),
        )


def cut_patch(scaled: Patch, extent: Region, start: Index, patch: Shape) -> Patch:
    """Cut a view of a patch; one that hangs over the volume's edge is padded with zeros.

    Zero is the volume's mean once the voxels are normalised.
    """
    inside = tuple(
        slice(max(a, e.start), min(a + p, e.stop))
        for a, p, e in zip(start, patch, extent, strict=True)
    )
    part = scaled[shifted(inside, [e.start for e in extent])]
    if part.shape == tuple(patch):
        return part
    padded = np.zeros(patch, np.float32)
    padded[shifted(inside, start)] = part
    return padded
