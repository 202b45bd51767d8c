"""CryoSiam's post-processing of a lamella by blocks, against the whole volume in memory.

The baseline reads all probabilities, smooths, labels and draws the hull of each slice with SciPy
and scikit-image, as CryoSiam does. Both give the same mask, which is checked before anything is
timed. The figure to read is ``ratio_peak``: the memory of blocks does not grow with the volume.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from scipy import ndimage as ndi
from skimage.morphology import convex_hull_image

from benchmarks.harness import Case, compare, run
from volproc.graph.lamella_rule import SIGMA
from volproc.workflows.lamella import LamellaTask, clean_map

CUBE = np.ones((3, 3, 3), bool)

THRESHOLD = 0.4

VOXEL_SIZE = 10.0
"""Å; CryoSiam's way does not depend on it."""


@dataclass(frozen=True)
class LamellaCase(Case):
    """A bent slab in noise."""

    thickness: int
    """Voxels."""


CASES = (
    # an eighth of a tomogram of the issue
    LamellaCase("eighth", (232, 480, 464), 80),
    # small: what the blocks themselves take
    LamellaCase("small", (100, 200, 200), 40),
)

TINY = (LamellaCase("tiny", (40, 30, 34), 24),)


def write_slab(case: LamellaCase, path: Path) -> None:
    """Write probabilities slice by slice, as CryoSiam's ``probs``."""
    rng = np.random.default_rng(0)
    depth, height, width = case.shape
    y, x = np.ogrid[:height, :width]
    middle = depth / 2 + 0.05 * (y - height / 2) + depth / 30 * np.sin(6 * x / width)
    with h5py.File(path, "w") as file:
        made = file.create_dataset("probs", (1, *case.shape), np.float32)
        for z in range(depth):
            near = 1 / (1 + np.exp((np.abs(z - middle) - case.thickness / 2) / 2))
            made[0, z] = np.clip(near + rng.normal(0, 0.1, near.shape), 0, 1)


def whole_volume(path: Path) -> npt.NDArray[np.uint8]:
    """The same mask with everything in memory."""
    with h5py.File(path) as file:
        likely = file["probs"][0]
    labels, _ = ndi.label(ndi.gaussian_filter(likely, SIGMA, mode="constant") > THRESHOLD, CUBE)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    body = labels == counts.argmax()
    mask = (likely > THRESHOLD).astype(np.uint8)
    for z in np.flatnonzero(body.any(axis=(1, 2))):
        mask[z] = convex_hull_image(body[z])
    return mask


def measure(case: LamellaCase, repeats: int) -> dict[str, Any]:
    """Compare blocks with the whole volume."""
    with tempfile.TemporaryDirectory() as folder:
        path, output = Path(folder) / "slab.h5", Path(folder) / "mask.h5"
        write_slab(case, path)
        task = LamellaTask(
            f"{path}:/probs",
            str(output),
            threshold=THRESHOLD,
            compat="cryosiam",
            voxel_size=VOXEL_SIZE,
            selection={"c": 0},
            overwrite=True,
        )

        def own() -> None:
            clean_map(task)

        own()
        with h5py.File(output) as file:
            if (file["labels"][:] != whole_volume(path)).any():
                msg = f"{case.name}: the mask is not that of the whole volume."
                raise AssertionError(msg)
        return compare(case, own, {"scipy": lambda: whole_volume(path)}, repeats=repeats)


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
