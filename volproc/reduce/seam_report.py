"""What is said of the seams of a volume, and by which rule."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

from volproc.core.errors import ConfigError
from volproc.reduce.seams import Kind

Verdict = Literal["pass", "fail", "cannot judge"]


@dataclass(frozen=True, slots=True)
class SeamRule:
    """When a figure at the seams is called different from that at control planes.

    Parameters
    ----------
    significance : float
        Greatest p-value of a failure.
    min_deviation : float
        Least distance from what sets of control planes give, in robust standard deviations.
    min_effect : float
        Least effect: Cohen's h of a rate, or the relative change of a mean. What is smaller
        counts for nothing, however significant: a large volume makes everything significant.
    num_draws : int
        Random sets of control planes.
    """

    significance: float = 0.01
    min_deviation: float = 5.0
    min_effect: float = 0.1
    num_draws: int = 999

    def __post_init__(self) -> None:
        if not (0 < self.significance < 1 and self.min_deviation >= 0 and self.min_effect >= 0):
            msg = (
                f"significance {self.significance} lies in (0, 1), deviation {self.min_deviation} "
                f"and effect {self.min_effect} are not negative. Leave out what you do not know."
            )
            raise ConfigError(msg)
        if self.num_draws < 99:
            msg = f"a p-value needs at least 99 draws, got {self.num_draws}. Use 999."
            raise ConfigError(msg)


@dataclass(frozen=True, slots=True)
class SeamFinding:
    """One figure at the seams, and at the planes in between."""

    measure: str
    """What was looked at: see `volproc.seam_report`."""

    axis: str
    """``z``, ``y``, ``x``, or ``all`` for the seams of all axes together."""

    num_seams: int
    """Seam planes."""

    num_controls: int
    """Planes in between that they are held against."""

    seam: float
    """Figure at the seams."""

    control: float
    """What the planes around each seam let expect there."""

    effect: float
    """Cohen's h, or relative change; 0 for none."""

    deviation: float
    """Effect in robust standard deviations of sets of control planes."""

    p_value: float
    """Part of the sets of control planes that are at least as far off, two-sided."""

    verdict: Verdict
    """``cannot judge`` where there are too few planes, or nothing to see at them."""


@dataclass(frozen=True, slots=True)
class SeamPlane:
    """One seam plane, for a list of places to look at."""

    measure: str
    axis: str
    position: int
    """Slice right after the seam."""

    found: float
    """Figure at this plane."""

    expected: float
    """What the planes around it let expect."""

    effect: float
    """As in `SeamFinding`."""


@dataclass(frozen=True, slots=True, eq=False)
class SeamReport:
    """Whether a volume shows the seams of its blocks."""

    verdict: Verdict
    """``fail`` if any finding fails; ``cannot judge`` if none could be judged."""

    reason: str
    """The verdict in a sentence."""

    kind: Kind
    """What the voxels mean."""

    seams: dict[str, tuple[int, ...]]
    """Axis → seam planes, each by the slice after it."""

    findings: tuple[SeamFinding, ...]
    """By measure, then axis."""

    worst: tuple[SeamPlane, ...]
    """Seam planes with the largest effects, at most ten."""

    profiles: dict[str, dict[str, tuple[float, ...]]]
    """Measure → axis → figure at every plane, from the one before slice 1; NaN where there is
    nothing to see."""

    seed: int
    """Of the random sets of control planes."""

    @property
    def passed(self) -> bool | None:
        """True or False; None where it cannot be judged."""
        return {"pass": True, "fail": False, "cannot judge": None}[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file; the profiles are left out, infinite numbers become None."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "kind": self.kind,
            "seams": {axis: list(planes) for axis, planes in self.seams.items()},
            "findings": [_finite(asdict(f)) for f in self.findings],
            "worst": [_finite(asdict(w)) for w in self.worst],
            "seed": self.seed,
        }


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    """Replace what JSON has no number for."""
    return {
        key: None if isinstance(value, float) and not isfinite(value) else value
        for key, value in values.items()
    }
