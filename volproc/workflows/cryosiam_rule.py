"""Which predictions of CryoSiam centres are found in, and what a particle is there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from volproc.core.errors import ConfigError, FormatError, nearest
from volproc.core.types import Shape
from volproc.graph.class_maps import BesideMaps, ClassMaps, Quantity
from volproc.graph.object_blocks import CORNERS
from volproc.io.cryosiam_files import PROBABILITIES, Prediction, open_probabilities
from volproc.io.cryosiam_tables import class_paths
from volproc.reduce.particle_rule import Method, ParticleRule, make_rule
from volproc.workflows.particle_maps import open_beside

ALL = "particles.csv"
"""Table of the particles of all classes."""

METHODS: tuple[Method, ...] = ("erosion", "centre-of-mass", "watershed")
"""How objects are told apart; the first one is CryoSiam's."""

DATASETS = (PROBABILITIES, "distances")
"""Datasets of a prediction that may weigh voxels."""


@dataclass(frozen=True, slots=True)
class CentresTask:
    """Which predictions, and what a particle is.

    Parameters
    ----------
    folder : str
        Predictions; see `volproc.io.cryosiam_files.find_predictions`.
    min_voxels : tuple of int
        For each class, that of value 1 first: particles have more voxels than this, after the
        erosion if there is one.
    output : str
        Folder of the tables; that of the predictions by default.
    tomograms, extension : str
        Folder of the tomograms, and what their names end in: where a prediction says nothing of
        its voxel size, the tomogram does.
    voxel_size : float
        Å per voxel, whatever the files say.
    is_compatible : bool
        CryoSiam's rule, and nothing but its columns in the tables of the classes.
    class_names : mapping of str to int
        Values of classes by name; "class-N" where a value has none.
    method : str
        One of `METHODS`.
    min_size_nm3, max_size_nm3 : float
        Bounds of a particle, nm³, inclusive; after the erosion.
    nms_distance : float
        Of two particles of a class at this distance or nearer, Å, the better one stays.
    inside : bool
        Take the voxel of a particle that is nearest to its mean, where the mean lies beside it.
    probabilities, variance : str
        Maps that scores and their spread come from; ``{name}`` in them is the tomogram. Without
        one, scores are those of the dataset ``probs``.
    weight_by : str
        Dataset of the prediction, ``probs`` or ``distances``, or a map as above, whose numbers
        weigh the voxels in a centre; those below 0 count as 0.
    relion : str
        STAR file for RELION 5 to write beside; empty for none.
    picks : str
        Picks of a copick project to write beside, ``config.json:*/:USER/SESSION``; empty for none.
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
    is_compatible: bool = False
    class_names: Mapping[str, int] = field(default_factory=dict)
    method: Method = "erosion"
    min_size_nm3: float | None = None
    max_size_nm3: float | None = None
    nms_distance: float | None = None
    inside: bool = False
    probabilities: str = ""
    variance: str = ""
    weight_by: str = ""
    relion: str = ""
    picks: str = ""
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            msg = f'method is "{self.method}": {nearest(self.method, METHODS)}'
            raise ConfigError(msg)
        if self.relion and Path(self.relion).suffix.lower() != ".star":
            msg = f"{self.relion} is no name of a RELION table. Use one that ends in .star."
            raise ConfigError(msg)
        if not self.min_voxels or min(self.min_voxels) < 0:
            msg = f"min_voxels is one number for each class, none negative, got {self.min_voxels}."
            raise ConfigError(msg)
        values = list(self.class_names.values())
        wrong = [value for value in values if not 1 <= value <= self.num_classes]
        if wrong or len(set(values)) < len(values):
            msg = (
                f"classes are named {dict(self.class_names)}, and there are the values 1 to "
                f"{self.num_classes}. Give each value one name."
            )
            raise ConfigError(msg)
        own = {
            "method": self.method != "erosion",
            "min_size_nm3": self.min_size_nm3 is not None,
            "max_size_nm3": self.max_size_nm3 is not None,
            "nms_distance": self.nms_distance is not None,
            "inside": self.inside,
            "weight_by": bool(self.weight_by),
        }
        given = [name for name, is_given in own.items() if is_given]
        if self.is_compatible and given:
            msg = f"CryoSiam has no {', '.join(given)}. Leave it out, or do without compatibility."
            raise ConfigError(msg)
        self.rule(None)

    @property
    def num_classes(self) -> int:
        """Values 1 to this one are classes."""
        return len(self.min_voxels)

    @property
    def classes(self) -> dict[str, int]:
        """Value of each class by its name, ascending."""
        names = {value: name for name, value in self.class_names.items()}
        return {
            names.get(value, f"class-{value}"): value for value in range(1, self.num_classes + 1)
        }

    @property
    def place(self) -> Path:
        """Folder of the tables."""
        return Path(self.output or self.folder).absolute()

    @property
    def needs_size(self) -> bool:
        """Whether the voxel size matters."""
        asked = (self.min_size_nm3, self.max_size_nm3, self.nms_distance)
        return bool(self.relion or self.picks) or asked != (None, None, None)

    @property
    def outputs(self) -> list[Path]:
        """All tables."""
        tables = [class_paths(self.place, value) for value in range(1, self.num_classes + 1)]
        relion = [Path(self.relion).absolute()] if self.relion else []
        return [*(path for pair in tables for path in pair), self.place / ALL, *relion]

    def rule(self, voxel_size: tuple[float, ...] | None) -> ParticleRule:
        """What a particle is in one tomogram."""
        return make_rule(
            dict.fromkeys(self.classes),
            class_values=self.classes,
            method=self.method,
            connectivity=1 if self.method == "watershed" else CORNERS,
            border=0.0,
            voxel_size=voxel_size or (1.0, 1.0, 1.0),
            min_voxels={name: self.min_voxels[value - 1] for name, value in self.classes.items()},
            min_size_nm3=self.min_size_nm3,
            max_size_nm3=self.max_size_nm3,
            nms_distance=self.nms_distance,
            inside=self.inside,
        )


def open_prediction_maps(task: CentresTask, prediction: Prediction, shape: Shape) -> BesideMaps:
    """Open what a task looks at beside the class map of one tomogram.

    Raises
    ------
    FormatError
        If a prediction that is no HDF5 shall have further datasets.
    VolprocError
        As `volproc.workflows.particle_maps.open_beside` does.
    """
    weight = task.weight_by
    if weight in DATASETS:
        if not prediction.path.endswith(".h5"):
            msg = (
                f"{prediction.path} has no dataset {weight}, as only HDF5 has. Give the address of "
                "a map, with {name} for the tomogram."
            )
            raise FormatError(msg)
        weight = f"{prediction.path}:/{weight}"
    else:
        weight = _named(weight, prediction.name)
    addresses: dict[Quantity, str] = {
        "probability": _named(task.probabilities, prediction.name),
        "variance": _named(task.variance, prediction.name),
        "weight": weight,
    }
    # Which voxel size a map states does not matter here: what counts is that the voxels fit.
    how: dict[str, Any] = {"voxel_size": 1.0, "on_conflict": "override"}
    maps = open_beside(addresses, task.classes, shape, **how)
    if maps.scores is not None:
        return maps
    channels = open_probabilities(prediction, task.num_classes, shape)
    if not channels:
        return maps
    scores = ClassMaps(tuple(task.classes.values()), tuple(task.classes), channels)
    return BesideMaps(scores, maps.variance, maps.weights)


def centres_frame(
    table: pd.DataFrame, name: str, voxel_size: tuple[float, ...] | None
) -> pd.DataFrame:
    """Particles of one tomogram as rows of the table of all.

    Parameters
    ----------
    table : DataFrame
        As `volproc.reduce.particle_table.particle_table` gives it.
    name : str
        Tomogram.
    voxel_size : tuple of float or None
        Å per voxel, (z, y, x), where it is known.

    Returns
    -------
    centres : DataFrame
        Columns of `volproc.io.cryosiam_tables.COLUMNS`, and further ones where they are known; by
        class, then by label. Without probabilities scores are 1.
    """
    first = ["class_name", "z", "y", "x", "score", "num_voxels", "class_value", "label"]
    scores = table["max_score"] if "max_score" in table else np.ones(len(table))
    centres = table[first].assign(max_score=scores, touches_edge=table["touches_edge"])
    rest = [column for column in table.columns if column not in centres.columns]
    centres = centres.join(table[rest])
    if voxel_size is not None:
        for axis, size in zip("zyx", voxel_size, strict=True):
            centres[f"{axis}_angstrom"] = centres[axis] * size
        is_cube = max(voxel_size) <= min(voxel_size) * 1.001
        centres["voxel_size_angstrom"] = voxel_size[-1] if is_cube else np.nan
    centres.insert(0, "tomo", np.full(len(table), name, object))
    return centres


def _named(address: str, name: str) -> str:
    return address.replace("{name}", name)
