"""CryoSiam's centres in one pass over the blocks, against a pass for each class with scipy.

The baseline reads the whole prediction for each class, as CryoSiam does: compare, erode, label,
count, mean. Both find the same centres, which is checked before anything is timed. Ours includes
opening the folder, and writing all tables. Times of the processor are given too: on a busy machine
they say more.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import ndimage as ndi

from benchmarks.harness import Case, compare, run
from volproc.workflows.cryosiam_centres import find_centres
from volproc.workflows.cryosiam_rule import CentresTask

CUBE = np.ones((3, 3, 3), bool)

RADII = (4, 10)
"""Least radius of a ball, and the end, voxels."""

MIN_VOXELS = 100


@dataclass(frozen=True)
class CentresCase(Case):
    """A prediction to find centres in."""

    num_classes: int
    num_particles: int
    """Balls of a random class, some of which touch."""


CASES = (
    # an eighth of the figure of the issue, for busy machines
    CentresCase("cube-256", (256, 256, 256), 10, 600),
    # the figure itself
    CentresCase("cube-512", (512, 512, 512), 10, 5000),
)

TINY = (CentresCase("tiny", (40, 60, 70), 3, 30),)


def balls(case: CentresCase) -> npt.NDArray[np.uint8]:
    """Class map, seeded."""
    rng = np.random.default_rng(0)
    classes = np.zeros(case.shape, np.uint8)
    for number in range(case.num_particles):
        radius = int(rng.integers(*RADII))
        centre = [int(rng.integers(0, n)) for n in case.shape]
        box = tuple(
            slice(max(0, c - radius), min(n, c + radius + 1))
            for c, n in zip(centre, case.shape, strict=True)
        )
        squared = sum((g - c) ** 2 for g, c in zip(np.ogrid[box], centre, strict=True))
        classes[box][squared <= radius**2] = number % case.num_classes + 1
    return classes


def class_by_class(path: Path, num_classes: int) -> list[npt.NDArray[np.float64]]:
    """Centres of each class with scipy, the whole volume read for each."""
    found = []
    for value in range(1, num_classes + 1):
        with h5py.File(path) as file:
            mask = file["labels"][:] == value
        eroded = ndi.binary_erosion(mask, border_value=1)
        labels, count = ndi.label(eroded, CUBE)
        sizes = np.bincount(labels.ravel(), minlength=count + 1)
        kept = np.flatnonzero(sizes > MIN_VOXELS)
        kept = kept[kept > 0]
        centres = ndi.center_of_mass(eroded, labels, kept) if len(kept) else []
        found.append(np.array(centres, np.float64).reshape(-1, 3))
    return found


def measure(case: CentresCase, repeats: int) -> dict[str, Any]:
    """Compare one pass over blocks with a pass for each class."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom_preds.h5"
        with h5py.File(path, "w") as file:  # contiguous, as CryoSiam writes it
            file["labels"] = balls(case)
        task = CentresTask(folder, (MIN_VOXELS,) * case.num_classes, overwrite=True)

        def own() -> None:
            find_centres(task)

        own()
        table = pd.read_csv(Path(folder) / "particles.csv")
        for value, expected in enumerate(class_by_class(path, case.num_classes), start=1):
            found = table.loc[table["class_value"] == value, ["z", "y", "x"]].to_numpy()
            if found.shape != expected.shape or np.abs(found - expected).max(initial=0) > 1e-9:
                msg = f"{case.name}: centres of class {value} are not those of scipy."
                raise AssertionError(msg)
        spent: dict[str, list[float]] = {"own": [], "scipy": []}

        def timed(name: str, call: Callable[[], object]) -> Callable[[], None]:
            def run_timed() -> None:
                start = process_time()
                call()
                spent[name].append(process_time() - start)

            return run_timed

        baselines = {"scipy": timed("scipy", lambda: class_by_class(path, case.num_classes))}
        record = compare(case, timed("own", own), baselines, repeats=repeats)
        processor = {name: median(times) for name, times in spent.items()}
        ratio = processor["own"] / processor["scipy"]
        return {**record, "processor_s": processor, "processor_ratio": {"scipy": ratio}}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
