"""Connected components by block against whole-volume labelling, in one process.

The price of cutting: blocks are labelled, joined, united and relabelled one after the other, so a
ratio to cc3d above 1 is the overhead, and what workers share comes on top. The result is compared
with scipy's before anything is timed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import dask.array as da
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi

from benchmarks.harness import Case, Contender, compare, run
from volproc.reduce.components import label_array

try:
    from dask_image.ndmeasure import label as label_dask_image
except ImportError:  # a baseline only: the others say enough
    label_dask_image = None


@dataclass(frozen=True)
class LabelCase(Case):
    """Blobs to label."""

    chunks: tuple[int, ...]
    """Size of the blocks."""

    connectivity: int = 1
    """Steps along axes between neighbours."""

    num_classes: int = 1
    """Classes beside the background; scipy and dask-image know only one."""

    with_dask_image: bool = False
    """Whether dask-image finishes in reasonable time: its graph is quadratic in the blocks."""


CASES = (
    # the usual block: what cutting costs
    LabelCase("blobs-6", (256, 256, 256), (128, 128, 128), with_dask_image=True),
    # all 13 directions of contact
    LabelCase("blobs-26", (256, 256, 256), (128, 128, 128), connectivity=3),
    # small blocks: eight times as many, the share of faces and tables doubles
    LabelCase("small-blocks", (256, 256, 256), (64, 64, 64), with_dask_image=True),
    # class by class in one go; cc3d alone does the same
    LabelCase("classes", (256, 256, 256), (128, 128, 128), connectivity=3, num_classes=3),
    # how time and memory grow with the volume
    LabelCase("large", (512, 512, 512), (128, 128, 128)),
    # two axes
    LabelCase("micrograph", (4096, 4096), (1024, 1024), connectivity=2),
)

TINY = (
    LabelCase("tiny", (24, 20, 28), (16, 8, 16), with_dask_image=True),
    LabelCase("tiny-classes", (24, 20, 28), (16, 8, 16), connectivity=3, num_classes=3),
    LabelCase("tiny-micrograph", (40, 56), (16, 32), connectivity=2),
)


def blobs(case: LabelCase) -> npt.NDArray[np.uint8]:
    """Smooth random objects over a fifth of the volume, seeded."""
    tile = tuple(min(n, 512 if len(case.shape) == 2 else 256) for n in case.shape)
    rng = np.random.default_rng(0)
    field = ndi.gaussian_filter(rng.standard_normal(tile).astype(np.float32), 2.5, mode="wrap")
    classes = (field > np.quantile(field, 0.8)).astype(np.uint8)
    if case.num_classes > 1:  # large regions, not salt and pepper
        place = ndi.gaussian_filter(rng.standard_normal(tile).astype(np.float32), 8, mode="wrap")
        steps = np.linspace(0, 1, case.num_classes + 1)[1:-1]
        regions = 1 + np.digitize(place, np.quantile(place, steps))
        classes = ((classes > 0) * regions).astype(np.uint8)
    repeats = [-(-n // t) for n, t in zip(case.shape, tile, strict=True)]
    return np.tile(classes, repeats)[tuple(slice(n) for n in case.shape)]


def measure(case: LabelCase, repeats: int) -> dict[str, Any]:
    """Compare the block-wise labelling of one case with its baselines."""
    classes = blobs(case)
    mask: npt.NDArray[Any] = classes > 0 if case.num_classes == 1 else classes
    ndim = len(case.shape)
    structure = ndi.generate_binary_structure(ndim, case.connectivity)
    neighbours = {2: {1: 4, 2: 8}, 3: {1: 6, 2: 18, 3: 26}}[ndim][case.connectivity]
    baselines: dict[str, Contender] = {
        "cc3d": lambda: cc3d.connected_components(
            mask, connectivity=neighbours, return_N=True, out_dtype=np.uint32
        )
    }
    if case.num_classes == 1:
        baselines["scipy"] = lambda: ndi.label(mask, structure)
    if case.with_dask_image and label_dask_image is not None:
        lazy = da.from_array(mask, chunks=case.chunks)
        baselines["dask_image"] = lambda: label_dask_image(lazy, structure)[0].compute()

    def own() -> tuple[npt.NDArray[Any], int]:
        return label_array(mask, connectivity=case.connectivity, chunks=case.chunks)

    labels, num_objects = own()
    expected, num_expected = baselines.get("scipy", baselines["cc3d"])()
    if num_objects != num_expected or ("scipy" in baselines and (labels != expected).any()):
        msg = f"{case.name}: {num_objects} objects, expected {num_expected} with the same labels."
        raise AssertionError(msg)
    return compare(case, own, baselines, repeats=repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
