"""Regions of a run that are computed again, and what comes of the comparison."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise, product
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.graph.predict_job import PredictJob, ProductKind
from volproc.graph.region_predict import count_passes, predict_region
from volproc.models.normalization import Scaling


def random_regions(shape: Shape, chunks: Shape, number: int, *, seed: int) -> list[Region]:
    """Boxes of a volume that lie otherwise than the blocks of its run.

    Parameters
    ----------
    shape, chunks : tuple of int
        Size of the volume, and of the run's blocks.
    number : int
        How many.
    seed : int
        Of their places.

    Returns
    -------
    regions : list of Region
        Each as large as a block, or half the volume where a block is as long as an axis. Every
        other one is centred on a corner of the run's blocks: seams are where errors are made.
    """
    rng = np.random.default_rng(seed)
    sizes = [c if c < n else -(-n // 2) for c, n in zip(chunks, shape, strict=True)]
    regions = []
    for i in range(number):
        starts = [int(rng.integers(n - s + 1)) for n, s in zip(shape, sizes, strict=True)]
        if i % 2 == 0:
            for a, (n, c, s) in enumerate(zip(shape, chunks, sizes, strict=True)):
                if c < n:
                    corner = c * int(rng.integers(1, -(-n // c)))
                    starts[a] = min(max(corner - s // 2, 0), n - s)
        regions.append(tuple(slice(a, a + s) for a, s in zip(starts, sizes, strict=True)))
    return regions


def shifted_regions(shape: Shape, chunks: Shape) -> list[Region]:
    """Boxes that fill a volume, shifted by half a block against those of its run.

    >>> [r[0] for r in shifted_regions((10, 3), (4, 3)) if r[1].start == 0]
    [slice(0, 2, None), slice(2, 6, None), slice(6, 10, None)]
    """
    axes = []
    for n, c in zip(shape, chunks, strict=True):
        first = (min(c, n) + 1) // 2
        edges = sorted({0, *range(first, n, c), n})
        axes.append([slice(a, b) for a, b in pairwise(edges)])
    return list(product(*axes))


def covered(regions: Sequence[Region], shape: Shape) -> float:
    """Part of a volume that lies in at least one of some boxes.

    >>> covered([(slice(0, 2), slice(0, 2)), (slice(1, 3), slice(0, 2))], (4, 4))
    0.375
    """
    edges = [
        sorted({e for region in regions for e in (region[a].start, region[a].stop)})
        for a in range(len(shape))
    ]
    inside = np.zeros([len(e) for e in edges], bool)
    for region in regions:
        inside[
            tuple(
                slice(e.index(s.start), e.index(s.stop)) for e, s in zip(edges, region, strict=True)
            )
        ] = True
    for axis, e in enumerate(edges):
        widths = np.diff([*e, e[-1]])
        inside = inside * np.expand_dims(widths, tuple(i for i in range(len(shape)) if i != axis))
    return float(inside.sum()) / prod(shape)


@dataclass(frozen=True, slots=True)
class RegionWork:
    """Computes one region again and compares it with what was written; picklable."""

    job: PredictJob
    scaling: Scaling
    regions: tuple[Region, ...]
    written: dict[ProductKind, tuple[Source, ...]]
    """What the run wrote: one source a map, and of the probabilities one a class."""

    dtypes: dict[ProductKind, np.dtype[Any]]

    def __call__(self, index: Index) -> dict[str, Any]:
        """Compare one region; JSON values."""
        begin = time.perf_counter()
        region = self.regions[index[0]]
        again = predict_region(self.job, self.scaling, region, self.dtypes)
        products = {}
        for kind, sources in self.written.items():
            parts = [source.read(region) for source in sources]
            found = np.stack(parts) if kind == "probabilities" else parts[0]
            products[kind] = compare(again[kind], found, region)
        return {
            "region": [[s.start, s.stop] for s in region],
            "products": products,
            "patches": count_passes(self.job, region)[0],
            "time_s": time.perf_counter() - begin,
        }


def compare(again: npt.NDArray[Any], found: npt.NDArray[Any], region: Region) -> dict[str, Any]:
    """Compare two arrays of a region, bit by bit.

    Parameters
    ----------
    again, found : ndarray
        What was computed now, and what was written: (z, y, x), or with channels first.
    region : Region
        Where.

    Returns
    -------
    facts : dict
        ``equal``, ``num_different``, SHA-256 of both, and the first difference: ``voxel`` of the
        volume, its ``channel`` where there are several, and both values.
    """
    # A format may keep classes in a wider type: then the values are what has to be the same.
    is_same_type = found.dtype == again.dtype
    differs = _bits(again) != _bits(found) if is_same_type else again != found
    facts: dict[str, Any] = {
        "equal": not differs.any(),
        "num_different": int(differs.sum()),
        "num_voxels": prod(region_shape(region)),
        "sha256": sha256(np.ascontiguousarray(again).tobytes()).hexdigest(),
        "sha256_written": sha256(
            np.ascontiguousarray(found.astype(again.dtype, copy=False)).tobytes()
        ).hexdigest(),
    }
    if differs.any():
        place = np.unravel_index(int(differs.argmax()), differs.shape)
        lead = differs.ndim - len(region)
        facts["first_difference"] = {
            "voxel": [s.start + int(i) for s, i in zip(region, place[lead:], strict=True)],
            **({"channel": int(place[0])} if lead else {}),
            "written": _plain(found[place]),
            "computed": _plain(again[place]),
        }
    return facts


def _plain(value: Any) -> int | float | str:
    """A number that JSON has, or the word for one that it has not."""
    number: int | float = value.item()
    return number if np.isfinite(number) else str(number)


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The same bits as unsigned integers: NaN equals itself, and -0.0 is not 0.0."""
    return np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")


def differences(facts: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """First difference of each product of each region that has one."""
    for one in facts:
        for kind, found in one["products"].items():
            if not found["equal"]:
                yield {"product": kind, **found["first_difference"]}
