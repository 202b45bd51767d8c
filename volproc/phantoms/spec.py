"""What a phantom is made of: sizes, classes and levels, all that its voxels depend on."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from volproc.core.errors import ConfigError, ShapeError, nearest
from volproc.core.types import ZYX
from volproc.phantoms.shapes import SHAPES

BACKGROUND = "background"
MEMBRANE = "membrane"


@dataclass(frozen=True, slots=True)
class ParticleClass:
    """One kind of particle.

    Parameters
    ----------
    name : str
        Name of the class, as picks call it.
    form : str
        Name of a form in `volproc.phantoms.shapes.SHAPES`: ``shell``, ``lobes``, ``barrel`` or
        ``ellipsoid``.
    radius_angstrom : float
        Nominal radius, Å; the form's proportions are multiples of it.
    density : float
        Grey value inside, where 1 is the unit that `PhantomSpec.noise` counts in.
    abundance : float
        How often the class is tried, relative to the others.

    Raises
    ------
    ConfigError
        If the form is unknown or a number is not positive.
    """

    name: str
    form: str
    radius_angstrom: float
    density: float = 1.0
    abundance: float = 1.0

    def __post_init__(self) -> None:
        if self.form not in SHAPES:
            msg = f'the form "{self.form}" of class "{self.name}" is unknown: '
            raise ConfigError(msg + nearest(self.form, SHAPES))
        numbers = (self.radius_angstrom, self.density, self.abundance)
        if not all(isfinite(v) and v > 0 for v in numbers):
            msg = (
                f'class "{self.name}" needs a positive radius, density and abundance, got '
                f"{numbers}. Leave a class out instead of setting it to zero."
            )
            raise ConfigError(msg)
        if self.name in (BACKGROUND, MEMBRANE) or not self.name:
            msg = f'a particle class cannot be called "{self.name}". Choose another name.'
            raise ConfigError(msg)


DEFAULT_CLASSES = (
    ParticleClass("apo-ferritin", "shell", 60.0),
    ParticleClass("ribosome", "lobes", 95.0, abundance=2.5),
    ParticleClass("proteasome", "barrel", 80.0, abundance=2.0),
    ParticleClass("beta-amylase", "ellipsoid", 45.0, density=1.4),
)
"""Forms and sizes after the proteins that they are named for; grey values are round numbers."""


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """All that the voxels of a phantom depend on.

    Parameters
    ----------
    shape : tuple of int
        Size in voxels, (z, y, x).
    seed : int
        Seed of particles, vesicles and noise; two seeds share nothing.
    noise : float
        Standard deviation of the white noise before it is slightly smoothed and the wedge is
        taken out, relative to a particle of density 1. See `Phantom.noise_std` for what is left
        of it and `Phantom.snr` for the ratio of variances.
    voxel_size : float
        Å per voxel, on all axes.
    crowding : float
        Particles tried per 32 × 32 × 32 voxels; those that would touch others are left out.
    classes : tuple of ParticleClass
        Particle classes; class ``k`` of the truth is ``classes[k - 1]``.
    membranes : float
        Probability that a cell of 128 voxels a side holds a vesicle, in [0, 1].
    max_tilt_deg : float or None
        Largest tilt angle about y; what lies beyond it in the (z, x) plane of frequencies is
        missing. None keeps everything.

    Raises
    ------
    ShapeError
        If the shape is not three positive sizes.
    ConfigError
        If a number is out of range or two classes have one name.

    Examples
    --------
    >>> PhantomSpec((64, 96, 96), seed=1, noise=0.5).class_names
    ('background', 'apo-ferritin', 'ribosome', 'proteasome', 'beta-amylase', 'membrane')
    """

    shape: ZYX[int]
    seed: int = 0
    noise: float = 0.5
    voxel_size: float = 10.0
    crowding: float = 6.0
    classes: tuple[ParticleClass, ...] = DEFAULT_CLASSES
    membranes: float = 0.8
    max_tilt_deg: float | None = 60.0

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            msg = f"a phantom has three positive sizes (z, y, x), got {self.shape}."
            raise ShapeError(msg)
        limits = {
            "seed": (self.seed, 0, 2**63 - 1),
            "noise": (self.noise, 0, 1e6),
            "voxel_size": (self.voxel_size, 1e-6, 1e6),
            "crowding": (self.crowding, 0, 1e3),
            "membranes": (self.membranes, 0, 1),
            "max_tilt_deg": (90 if self.max_tilt_deg is None else self.max_tilt_deg, 1, 90),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                msg = f"{name} is {value}, outside {low} to {high}. Choose a value in between."
                raise ConfigError(msg)
        names = [c.name for c in self.classes]
        if len(set(names)) != len(names):
            msg = f"two particle classes share a name, got {names}. Give each its own."
            raise ConfigError(msg)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names by value of the class map: background, particles, membrane."""
        return (BACKGROUND, *(c.name for c in self.classes), MEMBRANE)

    @property
    def radii(self) -> dict[str, float]:
        """Nominal radius of each particle class, Å."""
        return {c.name: c.radius_angstrom for c in self.classes}

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> PhantomSpec:
        """Read what `to_json` wrote; keys that are left out take their defaults.

        Raises
        ------
        ConfigError
            If a key is unknown or the shape is missing.
        """
        values = dict(values)
        known = set(cls.__dataclass_fields__)
        for key in set(values) - known:
            msg = f'the phantom has no setting "{key}": {nearest(key, known)}'
            raise ConfigError(msg)
        if "shape" not in values:
            msg = "the phantom has no shape. Give its size in voxels, (z, y, x)."
            raise ConfigError(msg)
        values["shape"] = tuple(values["shape"])
        if "classes" in values:
            values["classes"] = tuple(
                c if isinstance(c, ParticleClass) else ParticleClass(**c) for c in values["classes"]
            )
        return cls(**values)
