"""What a particle is to CryoSiam, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import pandas as pd

from volproc.core.errors import ConfigError
from volproc.graph.eroded_centres import ErodeWork, centres_inside, numbers_in_class
from volproc.io.cryosiam_tables import class_paths, empty_centres
from volproc.reduce.properties import finish
from volproc.reduce.tables import ObjectTable

ALL = "particles.csv"
"""Table of the particles of all classes."""

CUBIC_ANGSTROM_PER_CUBIC_NM = 1000.0


@dataclass(frozen=True, slots=True)
class CentresTask:
    """Which predictions, and what a particle is.

    Parameters
    ----------
    folder : str
        Predictions; see `volproc.io.cryosiam_files.find_predictions`.
    min_voxels : tuple of int
        For each class, that of value 1 first: particles have more voxels than this after the
        erosion.
    output : str
        Folder of the tables; that of the predictions by default.
    tomograms, extension : str
        Folder of the tomograms, and what their names end in: where a prediction says nothing of
        its voxel size, the tomogram does.
    voxel_size : float
        Å per voxel, whatever the files say.
    min_size_nm3, max_size_nm3 : float
        Bounds of a particle after the erosion, nm³, inclusive.
    inside : bool
        Take the voxel of a particle that is nearest to its mean, where the mean lies beside it.
    relion : str
        STAR file for RELION 5 to write beside; empty for none.
    overwrite : bool
        Replace tables that exist.
    resume : bool
        Take tables that were made as they would be made now for the result.
    """

    folder: str
    min_voxels: tuple[int, ...]
    output: str = ""
    tomograms: str = ""
    extension: str = ""
    voxel_size: float | None = None
    min_size_nm3: float | None = None
    max_size_nm3: float | None = None
    inside: bool = False
    relion: str = ""
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        low, high = self.min_size_nm3, self.max_size_nm3
        if (low or 0) < 0 or (high is not None and not (low or 0) <= high):
            msg = f"sizes go from {low} to {high} nm³. Give the smaller one first, none negative."
            raise ConfigError(msg)
        if not self.min_voxels or min(self.min_voxels) < 0:
            msg = f"min_voxels is one number for each class, none negative, got {self.min_voxels}."
            raise ConfigError(msg)

    @property
    def num_classes(self) -> int:
        """Values 1 to this one are classes."""
        return len(self.min_voxels)

    @property
    def place(self) -> Path:
        """Folder of the tables."""
        return Path(self.output or self.folder).absolute()

    @property
    def needs_size(self) -> bool:
        """Whether the voxel size matters."""
        return bool(self.relion) or self.min_size_nm3 is not None or self.max_size_nm3 is not None

    @property
    def outputs(self) -> list[Path]:
        """All tables."""
        tables = [class_paths(self.place, value) for value in range(1, self.num_classes + 1)]
        relion = [Path(self.relion).absolute()] if self.relion else []
        return [*(path for pair in tables for path in pair), self.place / ALL, *relion]


def centres_of(
    objects: ObjectTable,
    task: CentresTask,
    work: ErodeWork,
    *,
    name: str,
    voxel_size: tuple[float, ...] | None = None,
) -> pd.DataFrame:
    """Choose the particles among the objects of one tomogram.

    Parameters
    ----------
    objects : ObjectTable
        All objects of the eroded map, in the order of their first voxels.
    task : CentresTask
        What a particle is.
    work : ErodeWork
        What found them; it reads those whose centre shall lie inside.
    name : str
        Tomogram.
    voxel_size : tuple of float
        Å per voxel, where it is known.

    Returns
    -------
    centres : DataFrame
        Columns of `volproc.io.cryosiam_tables.COLUMNS`, and ``volume_nm3`` where the voxel size
        is known; by class, then by label. Without probabilities scores are 1.
    """
    if not len(objects):
        return empty_centres()
    assert objects.classes is not None
    numbers, classes = numbers_in_class(objects), objects.classes
    kept = objects.count > np.array([0, *task.min_voxels])[classes]
    volume = None
    if voxel_size is not None:
        volume = objects.count * (prod(voxel_size) / CUBIC_ANGSTROM_PER_CUBIC_NM)
        kept &= volume >= (task.min_size_nm3 or 0)
        kept &= volume <= (float("inf") if task.max_size_nm3 is None else task.max_size_nm3)
    rows = np.flatnonzero(kept)
    rows = rows[np.argsort(classes[rows], kind="stable")]
    chosen = objects.select(rows)
    scores = np.ones((2, len(rows)))
    if chosen.intensity is not None and len(rows):
        measured = finish(chosen, ["mean_intensity", "max_intensity"])
        scores = measured[["mean_intensity", "max_intensity"]].to_numpy(np.float64).T
    centres = centres_inside(work, chosen) if task.inside else chosen.centroids
    edge = ((chosen.lower == 0) | (chosen.upper == np.array(work.source.shape))).any(axis=1)
    columns = {
        "tomo": np.full(len(rows), name, object),
        "class_name": np.array([f"class-{value}" for value in classes[rows]], object),
        "z": centres[:, 0],
        "y": centres[:, 1],
        "x": centres[:, 2],
        "score": scores[0],
        "num_voxels": chosen.count,
        "class_value": classes[rows],
        "label": numbers[rows],
        "max_score": scores[1],
        "touches_edge": edge,
        **({} if volume is None else {"volume_nm3": volume[rows]}),
    }
    return pd.DataFrame(columns)
