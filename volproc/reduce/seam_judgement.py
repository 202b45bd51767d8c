"""Whether a volume shows its block seams: planes between blocks against planes inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import comb, prod, sqrt

import numpy as np
import numpy.typing as npt

from volproc.core.types import axis_names
from volproc.reduce.seam_measures import Floats, Measure, find_measures
from volproc.reduce.seam_report import SeamFinding, SeamPlane, SeamReport, SeamRule, Verdict
from volproc.reduce.seams import PlaneCounts

WINDOW = 16
"""Planes on each side that say what is expected at a plane."""

LEAST_SETS = 20
"""Sets of control planes that there have to be: a p-value of 0.05 at best."""

NUM_WORST = 10
"""Seam planes that a report lists."""

ALL_AXES = "all"
"""Name of the rows that take the seams of all axes together."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AxisPlanes:
    """Seams and controls among the planes of one axis; plane ``p`` lies before slice ``p + 1``."""

    num_planes: int
    seams: Ints
    controls: Ints
    guard: int
    """Planes beside a seam, or beside the plane that is looked at, that say nothing of it."""


@dataclass(frozen=True, slots=True)
class Sums:
    """What is found at planes, what their surroundings let expect, and how much there is."""

    found: Floats
    expected: Floats
    weight: Floats
    observations: Floats

    def over(self, planes: npt.NDArray[np.int64]) -> Sums:
        """Sums over sets of planes, one set a row."""
        columns = (self.found, self.expected, self.weight, self.observations)
        return Sums(*(column[planes].sum(axis=-1) for column in columns))

    def plus(self, other: Sums) -> Sums:
        """Sums over the planes of both."""
        return Sums(
            self.found + other.found,
            self.expected + other.expected,
            self.weight + other.weight,
            self.observations + other.observations,
        )


def judge_seams(
    counts: PlaneCounts,
    cuts: Sequence[Sequence[int]],
    *,
    rule: SeamRule | None = None,
    seed: int = 0,
) -> SeamReport:
    """Hold the planes between blocks against the planes inside them.

    Parameters
    ----------
    counts : PlaneCounts
        Of the whole volume.
    cuts : sequence of sequence of int
        Sizes of the blocks along each axis.
    rule : SeamRule
        When a difference is one.
    seed : int
        Of the random sets of control planes.

    Returns
    -------
    report : SeamReport

    Notes
    -----
    Expected at a plane is the ratio over the control planes within 16 slices of it. The effect of
    a set of planes compares sums of what is found with sums of what is expected. Its p-value is
    the part of random sets of control planes, as many an axis as there are seams, drawn with
    replacement and treated in the same way, whose effect lies at least as far from their median;
    it is never below one over the number of such sets. Its deviation is the distance from their
    median in robust standard deviations (1.4826 times the median absolute deviation, at least
    the sampling error ``1 / sqrt(n)`` of ``n`` observations: objects, thousands of their voxels, or
    pairs of intensities). A finding fails if effect, p-value and deviation all
    pass the bounds of the rule; a p-value counts as small too where no smaller one exists, so
    that a single seam can fail. With fewer than 20 sets nothing is judged.
    """
    chosen = rule or SeamRule()
    names = axis_names(len(counts.shape))
    axes = [find_planes(cut) for cut in cuts]
    cut_axes = [a for a, axis in enumerate(axes) if len(axis.seams)]
    groups = {names[a]: [a] for a in cut_axes}
    if len(cut_axes) > 1:
        groups[ALL_AXES] = cut_axes
    draws = {a: _draw(axes[a], chosen.num_draws, (seed, a)) for a in cut_axes}
    findings: list[SeamFinding] = []
    worst: list[SeamPlane] = []
    measures = find_measures(counts)
    for measure in measures:
        sums = {a: _expect(measure, a, axes[a]) for a in cut_axes}
        for name, group in groups.items():
            findings.append(_judge(measure, name, group, axes, sums, draws, chosen))
        for a in cut_axes:
            worst += _places(measure, names[a], axes[a], sums[a])
    worst.sort(key=lambda w: (-abs(w.effect), w.measure, w.axis, w.position))
    verdict, reason = _conclude(findings)
    return SeamReport(
        verdict,
        reason,
        counts.kind,
        {name: tuple(accumulate(cut))[:-1] for name, cut in zip(names, cuts, strict=True)},
        tuple(findings),
        tuple(worst[:NUM_WORST]),
        {measure.name: _profiles(measure, names) for measure in measures},
        seed,
    )


def find_planes(cut: Sequence[int]) -> AxisPlanes:
    """Tell the seams of an axis from the planes inside blocks.

    >>> find_planes((4, 4, 2)).controls
    array([0, 1, 2, 4, 5, 6, 8])
    """
    num_planes = sum(cut) - 1
    seams = np.array(list(accumulate(cut))[:-1], np.int64) - 1
    # Two planes on each side of a seam may show it too, where blocks leave others to look at.
    guard = min(2, (min(cut) - 1) // 3)
    near = (seams[:, None] + np.arange(-guard, guard + 1)).ravel()
    controls = np.setdiff1d(np.arange(num_planes), near)
    return AxisPlanes(num_planes, seams, controls, guard)


def _expect(measure: Measure, a: int, axis: AxisPlanes) -> Sums:
    """Found and expected at every plane of an axis."""
    found, weight = measure.numerators[a], measure.denominators[a]
    is_control = np.zeros(axis.num_planes, bool)
    is_control[axis.controls] = True
    here = np.arange(axis.num_planes)
    tops, bottoms = np.zeros(len(here)), np.zeros(len(here))
    for values, sums in ((found, tops), (weight, bottoms)):
        running = np.concatenate([[0.0], np.cumsum(np.where(is_control, values, 0.0))])
        for start, stop in (
            (here - axis.guard - WINDOW, here - axis.guard),
            (here + axis.guard + 1, here + axis.guard + 1 + WINDOW),
        ):
            first, last = (np.clip(edge, 0, axis.num_planes) for edge in (start, stop))
            sums += running[last] - running[first]
    total = weight[is_control].sum()
    usual = found[is_control].sum() / total if total > 0 else 0.0
    ratio = np.full(len(here), usual)
    np.divide(tops, bottoms, out=ratio, where=bottoms > 0)
    return Sums(found, np.maximum(ratio, 0.0) * weight, weight, measure.observations[a])


def _draw(axis: AxisPlanes, num_draws: int, seed: tuple[int, int]) -> Ints:
    """Random sets of control planes, one a row; none where there are no controls."""
    if not len(axis.controls):
        return np.zeros((0, len(axis.seams)), np.int64)
    picks = np.random.default_rng(seed).integers(
        len(axis.controls), size=(num_draws, len(axis.seams))
    )
    return axis.controls[picks]


def _judge(
    measure: Measure,
    name: str,
    group: Sequence[int],
    axes: Sequence[AxisPlanes],
    sums: dict[int, Sums],
    draws: dict[int, Ints],
    rule: SeamRule,
) -> SeamFinding:
    """Judge one measure at the seams of one axis, or of all."""
    seam = _total([sums[a].over(axes[a].seams) for a in group])
    num_sets = prod(
        comb(len(axes[a].controls) + len(axes[a].seams) - 1, len(axes[a].seams)) for a in group
    )
    effect = float(measure.effect(seam.found, seam.expected, seam.weight))
    deviation, p_value = float("nan"), 1.0
    verdict: Verdict = "cannot judge"
    is_seen = bool(seam.weight > 0) and not np.isnan(effect)
    if is_seen and num_sets >= LEAST_SETS and all(len(draws[a]) for a in group):
        null = _total([sums[a].over(draws[a]) for a in group])
        effects = measure.effect(null.found, null.expected, null.weight)
        effects = effects[np.isfinite(effects)]
        if len(effects) >= LEAST_SETS:
            middle = float(np.median(effects))
            spread = 1.4826 * float(np.median(np.abs(effects - middle)))
            deviation = (effect - middle) / max(spread, 1 / sqrt(float(seam.observations)))
            num_beyond = int((np.abs(effects - middle) >= abs(effect - middle)).sum())
            p_value = max((1 + num_beyond) / (1 + len(effects)), 1 / num_sets)
            is_rare = p_value <= max(rule.significance, 1 / num_sets)
            is_far = abs(deviation) >= rule.min_deviation
            is_large = abs(effect) >= rule.min_effect
            verdict = "fail" if is_rare and is_far and is_large else "pass"
    return SeamFinding(
        measure.name,
        name,
        sum(len(axes[a].seams) for a in group),
        sum(len(axes[a].controls) for a in group),
        _figure(measure, seam.found, seam.weight),
        _figure(measure, seam.expected, seam.weight),
        effect,
        deviation,
        p_value,
        verdict,
    )


def _total(parts: Sequence[Sums]) -> Sums:
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    return total


def _figure(measure: Measure, top: Floats, weight: Floats) -> float:
    return measure.figure(float(top / weight)) if weight > 0 else float("nan")


def _places(measure: Measure, name: str, axis: AxisPlanes, sums: Sums) -> list[SeamPlane]:
    """All seam planes of an axis with what is found there."""
    places = []
    effects = measure.effect(sums.found, sums.expected, sums.weight)
    for plane in axis.seams:
        if np.isfinite(effects[plane]):
            found, expected = (
                _figure(measure, values[plane], sums.weight[plane])
                for values in (sums.found, sums.expected)
            )
            places.append(
                SeamPlane(
                    measure.name, name, int(plane) + 1, found, expected, float(effects[plane])
                )
            )
    return places


def _profiles(measure: Measure, names: str) -> dict[str, tuple[float, ...]]:
    return {
        name: tuple(_figure(measure, n, d) for n, d in zip(top, weight, strict=True))
        for name, top, weight in zip(names, measure.numerators, measure.denominators, strict=True)
    }


def _conclude(findings: Sequence[SeamFinding]) -> tuple[Verdict, str]:
    """Verdict over all findings, and why."""
    if not findings:
        return "cannot judge", "there is one block only, and so no seam: give the blocks of the run"
    judged = [f for f in findings if f.verdict != "cannot judge"]
    if not judged:
        return (
            "cannot judge",
            "too few planes between the seams, or nothing to see in the volume: "
            "give larger blocks, or a larger volume",
        )
    failed = [f for f in judged if f.verdict == "fail"]
    if not failed:
        return "pass", f"seams are like the planes between them in {len(judged)} figures"
    first = max(failed, key=lambda f: abs(f.deviation))
    return "fail", (
        f"seams differ from the planes between them in {len(failed)} of {len(judged)} figures, "
        f'most in "{first.measure}" along {first.axis}: {first.seam:.4g} at seams, '
        f"{first.control:.4g} expected"
    )
