"""A localization, fully described."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from volproc.core.errors import SeveralError
from volproc.core.volume import Volume
from volproc.io.open import VoxelSize, open_
from volproc.reduce.particle_rule import MAX_OBJECT_VOXELS, Method, Ties, needs_radius
from volproc.workflows.particle_classes import known_classes

RULE_OPTIONS = (
    "method",
    "radius_min_scale",
    "radius_max_scale",
    "connectivity",
    "filter_size",
    "ties",
    "border",
    "max_object_voxels",
    "threshold",
    "distance_scale",
    "smooth_scale",
    "refine",
    "min_voxels",
    "min_size_nm3",
    "max_size_nm3",
    "nms_distance",
    "nms_scale",
    "inside",
)
"""Fields of a task that say what a particle is."""


@dataclass(frozen=True, slots=True)
class LocalizeTask:
    """A localization, fully described.

    Parameters
    ----------
    address : str
        Class map, or for peaks a map of probabilities; see `volproc.open`.
    output : str
        ``.csv``, ``.star``, or ``config.json:RUN/:USER/SESSION``; empty writes nothing.
    radii : mapping of str to float
        Radius of each particle class, Å. Where it is empty, the radii come from the copick
        project, or from the record that ``segment semantic`` left beside the class map.
    class_values : mapping of str to int
        Value of each class in the map; where it is empty, from the log or the record of the
        segmentation, or the labels of the project.
    objects : tuple of str
        The only classes to look for; all particles where it is empty.
    label : int
        Value of every class in the map, whatever else says; for masks of other tools.
    method : str
        ``"watershed"``, ``"centre-of-mass"``, ``"erosion"`` or ``"peaks"``; see
        `volproc.localize`, as for all that follows.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of its radius, inclusive.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners); of a watershed always 1. That of the method if not
        given, and so is ``border``.
    filter_size : int
        Side of the window in which the middle of a particle is the thickest place, voxels.
    ties : str
        ``"scikit-image"`` or ``"raster"``.
    border : float
        Part of the volume's size in which centres are left out.
    max_object_voxels : int
        Largest box of an object that is split.
    threshold, distance_scale, smooth_scale : float
        Of peaks: least probability; distance and smoothing as parts of the radius.
    refine : bool
        Of peaks: place them between voxels.
    probabilities : str
        Map of probabilities whose mean in an object is its score; 1 without one.
    variance : str
        Map of the variance of the probabilities over views and models: a particle then says how
        much they differ.
    weight_by : str
        Map whose numbers weigh the voxels in a centre; those below 0 count as 0.
    min_voxels : mapping of str to int
        Particles of a class have more voxels; "" stands for all others.
    min_size_nm3, max_size_nm3 : float
        Bounds of a particle, nm³, inclusive.
    nms_distance, nms_scale : float
        Distance at which the better one of two particles stays, Å or parts of the radius.
    inside : bool
        Take the voxel of an object that is nearest to its mean, where that lies beside it.
    voxel_size : float or tuple of float
        Å per voxel, where the file gives none or a wrong one.
    override_voxel_size : bool
        Use ``voxel_size`` even where a valid header contradicts it.
    selection : dict
        ``t``, ``c``, ``level``, ``dataset`` of the input.
    overwrite : bool
        Replace picks that exist.
    options : dict
        What the output format takes; see `volproc.io.points.write_points`.
    resume : bool
        Take picks that exist for the result, where `volproc.workflows.picking.pick` finds that
        they were made as they would be made now.
    """

    address: str
    output: str = ""
    radii: Mapping[str, float | None] = field(default_factory=dict)
    class_values: Mapping[str, int] = field(default_factory=dict)
    objects: tuple[str, ...] = ()
    label: int | None = None
    method: Method = "watershed"
    radius_min_scale: float = 0.5
    radius_max_scale: float | None = None
    connectivity: int | None = None
    filter_size: int = 10
    ties: Ties = "scikit-image"
    border: float | None = None
    max_object_voxels: int = MAX_OBJECT_VOXELS
    threshold: float = 0.5
    distance_scale: float = 1.0
    smooth_scale: float = 0.25
    refine: bool = False
    probabilities: str = ""
    variance: str = ""
    weight_by: str = ""
    min_voxels: Mapping[str, int] = field(default_factory=dict)
    min_size_nm3: float | None = None
    max_size_nm3: float | None = None
    nms_distance: float | None = None
    nms_scale: float | None = None
    inside: bool = False
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    resume: bool = False

    def open(self) -> Volume:
        """Open the class map, or the first channel of probabilities; only its head is read."""
        try:
            return open_(self.address, **self.reading)
        except SeveralError as error:
            if self.method != "peaks" or error.option != "c":
                raise
        return open_(self.address, **{**self.reading, "c": 0})

    @property
    def reading(self) -> dict[str, Any]:
        """How the map is opened."""
        conflict = "override" if self.override_voxel_size else "error"
        return {"voxel_size": self.voxel_size, "on_conflict": conflict, **self.selection}

    @property
    def needs_radius(self) -> bool:
        """Whether each particle has to have a radius."""
        return needs_radius(
            self.method,
            min_voxels=self.min_voxels,
            min_size_nm3=self.min_size_nm3,
            max_size_nm3=self.max_size_nm3,
            nms_scale=self.nms_scale,
        )

    def find_classes(self) -> tuple[dict[str, float | None], dict[str, int]]:
        """Radii and values of the particle classes of the map.

        See `volproc.workflows.particle_classes.known_classes`.

        Raises
        ------
        ConfigError
            If they are nowhere to be found, or a particle has no radius that needs one.
        """
        return known_classes(
            self.address,
            self.output,
            radii=self.radii,
            class_values=self.class_values,
            objects=self.objects,
            label=self.label,
            needs_radius=self.needs_radius,
        )
