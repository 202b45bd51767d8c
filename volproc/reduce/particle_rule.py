"""What a particle is, and how its centre is found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, get_args

from volproc.core.errors import ConfigError, nearest
from volproc.reduce.centres_watershed import MAX_CLASSES
from volproc.reduce.centres_window import reach_of, steps_of

Method = Literal["watershed", "centre-of-mass", "erosion", "peaks"]

Ties = Literal["scikit-image", "raster"]

RADIUS_MAX_SCALES: dict[str, float] = {
    "watershed": 1.0,
    "centre-of-mass": 1.5,
    "erosion": 1.5,
    "peaks": 1.0,
}
"""Largest particle where nothing is said, as a part of its radius."""

CONNECTIVITY = {"erosion": 3}
"""Connectivity of a method where nothing is said; 1 of the others."""

BORDER = {"erosion": 0.0}
"""Part of the volume's size in which a method leaves centres out; `USUAL_BORDER` of the others."""

USUAL_BORDER = 0.005

MAX_PEAK_SCALE = 10.0
"""Greatest distance and smoothing of peaks, in radii."""

MAX_OBJECT_VOXELS = 2**28
"""Largest box of an object that is split by one task, with its surroundings."""

ALL_CLASSES = ""
"""Name under which least numbers of voxels hold for all classes that have none of their own."""

USUAL_MIN_VOXELS = 100
"""CryoSiam's least number of voxels of an eroded object, where nothing says how large one is."""


@dataclass(frozen=True, slots=True)
class ParticleRule:
    """What a particle is, and how its centre is found.

    Parameters
    ----------
    classes : mapping of str to (int, float)
        Value in the class map, and radius in Å; 0 where it is not known.
    radius_min_scale, radius_max_scale : float
        Bounds of a particle's size: balls of these parts of the radius, inclusive. Centres not
        farther apart than the first are one particle.
    method : str
        ``"watershed"`` splits objects at their necks, ``"centre-of-mass"`` takes them as they
        are, ``"erosion"`` what an erosion leaves of them; ``"peaks"`` takes the greatest
        probabilities.
    connectivity : int
        1 (faces), 2 (edges) or 3 (corners); of a watershed always 1.
    filter_size : int
        Side of the cubic window in which the middle of a particle is the thickest place, voxels.
    ties : str
        Which of two equally thick places of an object is flooded first; see `volproc.localize`.
    border : float
        Centres nearer to a face than this part of the volume's size are left out.
    max_object_voxels : int
        Largest box that one task may hold.
    voxel_size : tuple of float
        Å per voxel, (z, y, x): where they differ, a particle is thick in Å, not in voxels.
    threshold : float
        Of peaks: least probability.
    distance_scale : float
        Of peaks: two of a class are farther apart than this part of the radius.
    smooth_scale : float
        Of peaks: standard deviation of the Gaussian that smooths the probabilities, as a part of
        the radius.
    refine : bool
        Of peaks: place them between voxels.
    min_voxels : mapping of str to int
        Particles of a class have more voxels than this, instead of the ball of the least radius;
        that of `ALL_CLASSES` holds for classes that are not named.
    min_size_nm3, max_size_nm3 : float
        Bounds of a particle's size, nm³, inclusive, instead of those of the radius.
    nms_distance : float
        Of two particles of a class at this distance or nearer, Å, the one with the greater score
        is kept; of equal ones the larger.
    nms_scale : float
        The same as a part of the radius.
    inside : bool
        Take the voxel of an object that is nearest to its centre, where that lies beside it.
    """

    classes: Mapping[str, tuple[int, float]]
    radius_min_scale: float = 0.5
    radius_max_scale: float = 1.0
    method: Method = "watershed"
    connectivity: int = 1
    filter_size: int = 10
    ties: Ties = "scikit-image"
    border: float = USUAL_BORDER
    max_object_voxels: int = MAX_OBJECT_VOXELS
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0)
    threshold: float = 0.5
    distance_scale: float = 1.0
    smooth_scale: float = 0.25
    refine: bool = False
    min_voxels: Mapping[str, int] = field(default_factory=dict)
    min_size_nm3: float | None = None
    max_size_nm3: float | None = None
    nms_distance: float | None = None
    nms_scale: float | None = None
    inside: bool = False

    @property
    def values(self) -> tuple[int, ...]:
        """Values in the class map, each once, ascending."""
        return tuple(sorted({value for value, _ in self.classes.values()}))

    def nms_radius(self, class_name: str) -> float:
        """Distance in Å within which one particle of a class is kept; 0 where all are."""
        if self.nms_distance is not None:
            return self.nms_distance
        return (self.nms_scale or 0.0) * self.classes[class_name][1]


def needs_radius(
    method: str,
    *,
    min_voxels: Mapping[str, int],
    min_size_nm3: float | None,
    max_size_nm3: float | None,
    nms_scale: float | None = None,
) -> bool:
    """Whether a particle has to have a radius: nothing else says how large one is.

    >>> needs_radius("erosion", min_voxels={}, min_size_nm3=None, max_size_nm3=None)
    False
    """
    if method == "peaks" or nms_scale is not None:
        return True
    has_bound = bool(min_voxels) or min_size_nm3 is not None or max_size_nm3 is not None
    return method != "erosion" and not has_bound


def make_rule(
    radii: Mapping[str, float | None],
    *,
    class_values: Mapping[str, int],
    method: Method = "watershed",
    radius_max_scale: float | None = None,
    connectivity: int | None = None,
    border: float | None = None,
    voxel_size: tuple[float, ...] = (1.0, 1.0, 1.0),
    **others: Any,
) -> ParticleRule:
    """Check what a particle is.

    Parameters
    ----------
    radii, class_values : mapping
        Radius in Å, and value in the map, by class name; None for a radius that is not known.
    method : str
        As in `ParticleRule`.
    radius_max_scale, connectivity, border : number, optional
        Those of the method if not given.
    voxel_size : tuple of float
        Of the map, Å; only how its numbers differ matters.
    **others
        Further fields of `ParticleRule`.

    Raises
    ------
    ConfigError
        If a class has no value in the map, a radius is missing or not positive, bounds are in the
        wrong order, or an option says something unknown.
    """
    if not radii:
        msg = "no class has a radius, so none is a particle. Give a radius in Å for each particle."
        raise ConfigError(msg)
    if method not in get_args(Method):
        msg = f'method is "{method}": {nearest(str(method), get_args(Method))}'
        raise ConfigError(msg)
    rule = ParticleRule(
        {name: (int(class_values.get(name, -1)), float(r or 0.0)) for name, r in radii.items()},
        method=method,
        radius_max_scale=(
            RADIUS_MAX_SCALES[method] if radius_max_scale is None else radius_max_scale
        ),
        connectivity=CONNECTIVITY.get(method, 1) if connectivity is None else connectivity,
        border=BORDER.get(method, USUAL_BORDER) if border is None else border,
        # One text for all cubes: killed runs are known by it, and headers round.
        voxel_size=(
            (1.0, 1.0, 1.0) if len(set(steps_of(voxel_size)[0])) == 1 else tuple(voxel_size)
        ),
        **others,
    )
    is_needed = needs_radius(
        method,
        min_voxels=rule.min_voxels,
        min_size_nm3=rule.min_size_nm3,
        max_size_nm3=rule.max_size_nm3,
        nms_scale=rule.nms_scale,
    )
    for class_name, radius in radii.items():
        _check_class(class_name, radius, class_values, is_needed=is_needed)
    _check_numbers(rule)
    _check_bounds(rule)
    _check_peaks(rule)
    if len(rule.values) > MAX_CLASSES:
        msg = f"at most {MAX_CLASSES} classes are localized at once, got {len(rule.values)}."
        raise ConfigError(msg)
    return rule


def _check_class(
    class_name: str, radius: float | None, class_values: Mapping[str, int], *, is_needed: bool
) -> None:
    if radius is None and is_needed:
        msg = (
            f"the radius of {class_name} is not known. Give it, as --radius {class_name}=ANGSTROM, "
            "or say how large particles are with --min-size and --max-size (nm³)."
        )
        raise ConfigError(msg)
    if radius is not None and not (isfinite(radius) and radius > 0):
        msg = f"the radius of {class_name} is {radius} Å. Give a positive one."
        raise ConfigError(msg)
    if class_values.get(class_name) == 0:
        msg = f"{class_name} has the value 0 in the map, which is the background. Give another."
        raise ConfigError(msg)
    if class_name not in class_values:
        msg = (
            f'the class "{class_name}" has a radius but no value in the map: '
            f"{nearest(class_name, class_values)}"
        )
        raise ConfigError(msg)


def _check_numbers(rule: ParticleRule) -> None:
    if rule.ties not in get_args(Ties):
        msg = f'ties is "{rule.ties}": {nearest(str(rule.ties), get_args(Ties))}'
        raise ConfigError(msg)
    low, high = rule.radius_min_scale, rule.radius_max_scale
    if not (0 <= low <= high and isfinite(high)):
        msg = (
            f"the scales of the radius go from {low} to {high}. Give a smaller one first, none "
            "negative."
        )
        raise ConfigError(msg)
    if rule.connectivity not in (1, 2, 3):
        msg = f"connectivity is {rule.connectivity}. Use 1 (faces), 2 (edges) or 3 (corners)."
        raise ConfigError(msg)
    if rule.method == "watershed" and rule.connectivity != 1:
        msg = (
            f"a watershed goes across faces, got connectivity {rule.connectivity}. Use 1, or "
            'method="centre-of-mass".'
        )
        raise ConfigError(msg)
    if not 0 <= rule.border < 0.5:
        msg = f"a border of {rule.border} leaves no volume. Give a part of its size below 0.5."
        raise ConfigError(msg)
    if rule.max_object_voxels < 1:
        msg = f"the largest object has {rule.max_object_voxels} voxels. Give a positive number."
        raise ConfigError(msg)
    reach_of(rule.filter_size)


def _check_bounds(rule: ParticleRule) -> None:
    """Refuse bounds of sizes and distances that say nothing."""
    low, high = rule.min_size_nm3, rule.max_size_nm3
    if not (0 <= (low or 0) < float("inf")) or (high is not None and not (low or 0) <= high):
        msg = f"sizes go from {low} to {high} nm³. Give the smaller one first, none negative."
        raise ConfigError(msg)
    unknown = [name for name in rule.min_voxels if name not in {*rule.classes, ALL_CLASSES}]
    if unknown:
        known = nearest(unknown[0], rule.classes)
        msg = f'min_voxels names the class "{unknown[0]}", which is not looked for: {known}'
        raise ConfigError(msg)
    if rule.min_voxels and min(rule.min_voxels.values()) < 0:
        msg = f"min_voxels is one number for each class, none negative, got {rule.min_voxels}."
        raise ConfigError(msg)
    if rule.nms_distance is not None and rule.nms_scale is not None:
        msg = "the distance of particles is given in Å and in radii. Leave one of them out."
        raise ConfigError(msg)
    for what, number in (("Å", rule.nms_distance), ("radii", rule.nms_scale)):
        if number is not None and not (isfinite(number) and number >= 0):
            msg = f"particles are suppressed within {number} {what}. Give a number of 0 or more."
            raise ConfigError(msg)


def _check_peaks(rule: ParticleRule) -> None:
    if not isfinite(rule.threshold):
        msg = f"the threshold of peaks is {rule.threshold}. Give a probability, as 0.5."
        raise ConfigError(msg)
    for what, scale in (("distance", rule.distance_scale), ("smoothing", rule.smooth_scale)):
        if not 0 <= scale <= MAX_PEAK_SCALE:
            msg = (
                f"the {what} of peaks is {scale} radii. Give a part of the radius, from 0 to "
                f"{MAX_PEAK_SCALE:g}."
            )
            raise ConfigError(msg)
    is_of_objects = (
        rule.min_voxels or rule.inside or {rule.min_size_nm3, rule.max_size_nm3} != {None}
    )
    if rule.method == "peaks" and is_of_objects:
        msg = (
            "peaks have no size: min_voxels, sizes in nm³ and inside are of objects. Leave them "
            'out, or use another method, as method="erosion".'
        )
        raise ConfigError(msg)
