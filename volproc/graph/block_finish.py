"""What becomes of the sums of a block: divided, compared, quantised."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from volproc.core.types import Region, region_shape
from volproc.graph.predict_job import PredictJob, ProductKind
from volproc.models.sliding import (
    UNIT,
    Accumulator,
    Blend,
    shifted,
    to_classes,
    to_probabilities,
)
from volproc.models.windows import sum_windows
from volproc.plan.block_memory import SLAB_PLANES
from volproc.reduce.probabilities import LARGEST_VARIANCE


class Blended(Protocol):
    """What all sweeps of a prediction give, at any voxel of a region."""

    def mean(self, slab: Region) -> npt.NDArray[np.float32]:
        """What classes are compared by: logits or probabilities, (classes, z, y, x)."""
        ...

    def variance(self, slab: Region, classes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Variance of the probability of each voxel's class over the sweeps, (z, y, x)."""
        ...


class JointSums:
    """One array of sums to which all sweeps were added.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    sums : Accumulator
        To which all patches that touch a voxel are added before it is asked for.
    """

    def __init__(self, job: PredictJob, sums: Accumulator) -> None:
        self._job = job
        self._sums = sums

    def mean(self, slab: Region) -> npt.NDArray[np.float32]:
        """Weighted mean over patches, views and models."""
        return self._sums.mean(slab, weights_of(self._job, slab))

    def variance(self, slab: Region, classes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Nothing: there is one sweep, or the sweeps were not told apart."""
        return np.zeros(classes.shape, np.float32)


class ApartSums:
    """Sums over sweeps that were completed one after the other.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    region : Region
        What is finished.
    kinds : collection of kind
        What will be asked for.

    Notes
    -----
    Keeps 8 bytes a voxel and class of logits, and 4 each of probabilities and of their squares, as
    far as they are needed; see `kept_bytes`.
    """

    def __init__(self, job: PredictJob, region: Region, kinds: Collection[ProductKind]) -> None:
        self._job = job
        self._origin = [s.start for s in region]
        self._region = region
        self._blend: Blend = job.sweeps[0].inference.blend
        shape = (job.num_classes, *region_shape(region))
        is_summed, has_variance = self._blend != "view_probabilities", "variance" in kinds
        self._sums = np.zeros(shape, np.int64) if is_summed else None
        self._total = np.zeros(shape, np.float32) if has_variance or not is_summed else None
        self._squares = np.zeros(shape, np.float32) if has_variance else None

    def add(self, sums: Accumulator) -> None:
        """Add a sweep, to whose sums all its patches that touch the region were added."""
        for slab in slabs(self._region):
            here = self._here(slab)
            if self._sums is not None:
                self._sums[here] += sums.take(slab)
            if self._total is not None:
                share = np.full(region_shape(slab), 1 / len(self._job.sweeps))
                found = to_probabilities(sums.mean(slab, share), blend=self._blend)
                self._total[here] += found
                if self._squares is not None:
                    found *= found
                    self._squares[here] += found

    def mean(self, slab: Region) -> npt.NDArray[np.float32]:
        """Mean of the logits over all sweeps, or of the probabilities of each."""
        here = self._here(slab)
        if self._sums is None:
            assert self._total is not None  # one of them is there
            return self._total[here] / np.float32(len(self._job.sweeps))
        mean = np.empty(self._sums[here].shape, np.float32)
        np.multiply(self._sums[here], UNIT, out=mean, casting="unsafe", dtype=np.float64)
        return mean

    def variance(self, slab: Region, classes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Mean of the squares without the square of the mean, at the class of each voxel."""
        assert self._total is not None  # it was said that the variance will be asked for
        assert self._squares is not None
        here, at, count = self._here(slab), classes[None], np.float32(len(self._job.sweeps))
        mean = np.take_along_axis(self._total[here], at, axis=0)[0] / count
        squares = np.take_along_axis(self._squares[here], at, axis=0)[0] / count
        found: npt.NDArray[np.float32] = np.maximum(squares - mean * mean, np.float32(0))
        return found

    def _here(self, slab: Region) -> tuple[slice, ...]:
        return (slice(None), *shifted(slab, self._origin))


def kept_bytes(num_classes: int, *, blend: Blend, has_variance: bool) -> int:
    """Bytes a voxel that `ApartSums` keeps.

    >>> kept_bytes(7, blend="view_probabilities", has_variance=False)
    28
    """
    is_summed = blend != "view_probabilities"
    floats = int(has_variance or not is_summed) + int(has_variance)
    return num_classes * (8 * is_summed + 4 * floats)


def weights_of(job: PredictJob, region: Region) -> npt.NDArray[np.float64]:
    """Sum of the weights of all patches that reach into a region.

    Of several sweeps the weights of each patch are such that the sum is 1; see `weigh_patch`.
    """
    if len(job.sweeps) > 1:
        return np.ones(region_shape(region))
    (sweep,) = job.sweeps
    inference = sweep.inference
    return sum_windows(
        sweep.patches, region, kind=inference.window, sigma_scale=inference.sigma_scale
    )


def finish_region(
    job: PredictJob,
    region: Region,
    blended: Blended,
    dtypes: Mapping[ProductKind, np.dtype[Any]],
) -> dict[ProductKind, npt.NDArray[Any]]:
    """Divide, compare and quantise the sums over a region by slabs.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    region : Region
        What is finished.
    blended : Blended
        To which all patches that touch the region have been added.
    dtypes : mapping of kind to dtype
        What is wanted.
    """
    shape = region_shape(region)
    outputs: dict[ProductKind, npt.NDArray[Any]] = {
        kind: np.empty((job.num_classes, *shape) if kind == "probabilities" else shape, dtype)
        for kind, dtype in dtypes.items()
    }
    blend = job.sweeps[0].inference.blend
    if job.is_apart and blend == "view_probabilities":
        blend = "probabilities"  # the mean is of probabilities already
    for slab in slabs(region):
        here = shifted(slab, [s.start for s in region])
        mean = blended.mean(slab)
        if "classes" in outputs:
            outputs["classes"][here] = to_classes(mean, dtype=outputs["classes"].dtype)
        if "variance" in outputs:
            spread = blended.variance(slab, to_classes(mean, dtype=np.dtype(np.int64)))
            outputs["variance"][here] = quantize(
                spread, dtypes["variance"], largest=LARGEST_VARIANCE
            )
        if outputs.keys() & {"probabilities", "maximum"}:
            values = to_probabilities(mean, blend=blend)
            if "probabilities" in outputs:
                everywhere = (slice(None), *here)
                outputs["probabilities"][everywhere] = quantize(values, dtypes["probabilities"])
            if "maximum" in outputs:
                outputs["maximum"][here] = quantize(values.max(axis=0), dtypes["maximum"])
    return outputs


def quantize(
    values: npt.NDArray[np.float32], dtype: np.dtype[Any], *, largest: float = 1.0
) -> npt.NDArray[Any]:
    """Numbers from 0 to ``largest`` as ``dtype``; integers become ``round(255 * value / largest)``.

    >>> quantize(np.array([0.0, 0.5, 1.0], np.float32), np.dtype("uint8"))
    array([  0, 128, 255], dtype=uint8)
    """
    if dtype.kind == "u":
        return np.rint(values * np.float32(np.iinfo(dtype).max / largest)).astype(dtype)
    return values.astype(dtype)


def slabs(region: Region) -> Iterator[Region]:
    """Cut a region into a few planes at a time.

    >>> [slab[0] for slab in slabs((slice(3, 20),))]
    [slice(3, 11, None), slice(11, 19, None), slice(19, 20, None)]
    """
    z, *rest = region
    for first in range(z.start, z.stop, SLAB_PLANES):
        yield (slice(first, min(first + SLAB_PLANES, z.stop)), *rest)
