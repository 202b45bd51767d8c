"""Forms of particles: bodies of revolution, with the core that stands for them in the truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float32]
Mask: TypeAlias = npt.NDArray[np.bool_]
Inside: TypeAlias = Callable[[Floats, Floats], Mask]
"""From the way along the axis and the squared distance from it to what lies inside, all in
nominal radii."""


@dataclass(frozen=True, slots=True)
class Form:
    """A particle's form, in multiples of its nominal radius."""

    reach: float
    """Radius of the ball about the centre that holds all of it."""

    body: Inside
    """Where there is density."""

    core: Inside
    """What the class map shows: well inside, solid and in one piece, so that the cores of two
    particles that touch stay apart, with its centroid at the particle's centre."""


def _shell(t: Floats, s2: Floats) -> Mask:
    r2 = t * t + s2
    return (r2 < 1.0) & (r2 > 0.55**2)


def _ball(t: Floats, s2: Floats) -> Mask:
    return t * t + s2 < 0.75**2


def _lobes(t: Floats, s2: Floats) -> Mask:
    return _two_balls(t, s2, 0.79, 0.53)


def _lobe_cores(t: Floats, s2: Floats) -> Mask:
    return _two_balls(t, s2, 0.61, 0.37)


def _two_balls(t: Floats, s2: Floats, large: float, small: float) -> Mask:
    return ((t + 0.13) ** 2 + s2 < large**2) | ((t - 0.70) ** 2 + s2 < small**2)


def _barrel(t: Floats, s2: Floats) -> Mask:
    return (np.abs(t) < 1.1) & (s2 < 0.68**2) & (s2 > 0.28**2)


def _rod(t: Floats, s2: Floats) -> Mask:
    return (np.abs(t) < 0.82) & (s2 < 0.5**2)


def _ellipsoid(t: Floats, s2: Floats) -> Mask:
    return t * t + s2 / 0.72**2 < 1.0


def _inner_ellipsoid(t: Floats, s2: Floats) -> Mask:
    return (t / 0.87) ** 2 + s2 / 0.6**2 < 1.0


SHAPES: dict[str, Form] = {
    "shell": Form(1.0, _shell, _ball),
    "lobes": Form(1.23, _lobes, _lobe_cores),
    "barrel": Form(1.3, _barrel, _rod),
    "ellipsoid": Form(1.0, _ellipsoid, _inner_ellipsoid),
}
"""Forms by name."""
