"""Points against truth in one volume, by one rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from volproc.core.errors import AddressError, ConfigError, nearest
from volproc.core.points import Points, concat_points
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.copick_project import object_weights, project_objects
from volproc.io.point_inputs import PointReader
from volproc.io.points_table import DEFAULT_CLASS
from volproc.metrics.counting import Matching, check_matching
from volproc.metrics.summary import ScoreSummary, summarize_scores
from volproc.workflows.evaluate_pairs import Pair, Side
from volproc.workflows.record import POINT_ENDINGS, read_record
from volproc.workflows.score_volume import VolumeScores, score_volume


@dataclass(frozen=True, slots=True)
class ScoreRule:
    """What counts as found.

    Parameters
    ----------
    distance : float
        Longest distance of a pair, Å, included; of all classes.
    distance_fraction : float
        The same as a part of each class's radius, where ``distance`` is not given.
    beta : float
        Above 1, F-beta counts recall for more than precision.
    radii : mapping of str to float
        Radii of the classes, Å. Those of the copick project, or of the record that
        ``volproc localize`` left beside the predictions, where they are not given.
    weights : mapping of str to float
        Weights of the classes in the weighted F-beta; they go before those of the project
        (``metadata: {"weight": ...}``). 1 where nothing is said.
    classes : tuple of str
        The only classes to score. By default the particle objects of the project, else those
        with a radius, else all that occur.
    project : str
        Configuration of a copick project, of which objects, radii and weights are taken; by
        default that which predictions or truths lie in.
    """

    distance: float | None = None
    distance_fraction: float = 0.8
    beta: float = 4.0
    radii: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    project: str = ""
    matching: Matching = "one-to-one"
    sweep: bool = False
    distance_scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_matching(self.matching)
        if self.distance is not None and self.distance_scales:
            msg = (
                f"distance_scales {self.distance_scales} are parts of radii, and distance "
                f"{self.distance:g} is in Å for all classes. Give one of them."
            )
            raise ConfigError(msg)
        for scale in self.distance_scales:
            if not 0 < scale < float("inf"):
                msg = f"distance_scales must be positive and finite, got {scale}."
                raise ConfigError(msg)
        for name in ("distance", "distance_fraction", "beta"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                msg = f"{name} must be positive and finite, got {value}."
                raise ConfigError(msg)


class Scorer:
    """Scores pairs by one rule.

    Parameters
    ----------
    rule : ScoreRule
        As it was asked for.
    pairs : sequence of Pair
        All of them: the first project among their addresses says radii and weights.
    readers : (PointReader, PointReader)
        Read predictions, and truths.

    Raises
    ------
    ConfigError
        If a class is no object of the project, or has no radius where one is needed.
    """

    def __init__(
        self, rule: ScoreRule, pairs: Sequence[Pair], readers: tuple[PointReader, PointReader]
    ) -> None:
        addresses = [
            side.address
            for pair in pairs
            for side in (pair.truth, pair.predicted)
            if side is not None and side.points is None
        ]
        members = [parse_copick(address) for address in addresses if is_copick(address)]
        project = rule.project or (str(members[0].config) if members else "")
        objects = project_objects(project) if project else {}
        self._asked = {*rule.classes, *rule.weights}
        if objects:
            for name in {*self._asked, *rule.radii} - set(objects):
                msg = f'"{name}" is no object of {project}; {nearest(name, objects)}'
                raise ConfigError(msg)
        self._objects = set(objects)
        chosen = rule.classes or tuple(sorted({m.name for m in members} - {""}))
        self._drops_others = bool(chosen)
        radii = {name: o.radius_angstrom for name, o in objects.items() if o.radius_angstrom}
        radii = {**_recorded_radii(addresses), **radii, **rule.radii}
        classes = chosen or tuple(name for name, o in objects.items() if o.is_particle)
        if rule.distance is None:
            classes = classes or tuple(sorted(radii))
            _check_radii(classes, radii)
        weights = {**(object_weights(project) if project else {}), **rule.weights}
        self.rule = replace(
            rule, project=project, classes=classes, weights=weights,
            radii={name: radii[name] for name in classes if name in radii},
        )  # fmt: skip
        self._readers = readers
        self._seen: set[str] = set()

    def score(self, pair: Pair) -> VolumeScores:
        """Score one volume.

        Raises
        ------
        VolprocError
            If it has no truth, a table cannot be read, or a class is not known.
        """
        if pair.truth is None:
            raise AddressError(pair.problem)
        truth = _read(pair.truth, self._readers[1])
        if pair.predicted is None:
            predicted = replace(truth, table=truth.table.iloc[:0])
        else:
            predicted = _read(pair.predicted, self._readers[0])
        truth, predicted = (
            self._only_scored(_classified(one, self.rule.classes or other.class_names))
            for one, other in ((truth, predicted), (predicted, truth))
        )
        rule = self.rule
        radii, scale = dict(rule.radii), rule.distance_fraction
        if rule.distance is not None:
            # One distance for all classes: that of a ball of this radius, once.
            names = rule.classes or {*truth.class_names, *predicted.class_names}
            radii, scale = dict.fromkeys(names, rule.distance), 1.0
        return score_volume(
            truth, predicted, radii=radii, scale=scale, beta=rule.beta, matching=rule.matching,
            sweep=rule.sweep, distance_scales=rule.distance_scales,
        )  # fmt: skip

    def summarize(self, tables: Mapping[str, pd.DataFrame]) -> ScoreSummary:
        """Sum up the scores of all volumes; empty where there are none.

        Raises
        ------
        ConfigError
            If a class that was asked for is in no volume and in no project.
        """
        if not tables:
            return ScoreSummary(pd.DataFrame(), pd.DataFrame(), float("nan"))
        for name in sorted(self._asked - self._objects - self._seen):
            msg = f'no volume has the class "{name}"; {nearest(name, self._seen)}'
            raise ConfigError(msg)
        rule = self.rule
        return summarize_scores(
            tables, beta=rule.beta, weights=rule.weights, matching=rule.matching
        )

    def _only_scored(self, points: Points) -> Points:
        """Points of the classes that are scored; one that nobody knows stays, and is refused."""
        self._seen.update(points.class_names)
        names = points.table["class_name"]
        scored = names.isin(self.rule.classes)
        if not self._drops_others:
            scored |= ~names.isin(self._objects) | (not self.rule.classes)
        return replace(points, table=points.table[scored].reset_index(drop=True))


def _read(side: Side, reader: PointReader) -> Points:
    if side.points is not None:
        return side.points
    if side.parts:
        return concat_points(reader.read(part) for part in side.parts)
    return reader.read(side.address, side.volume)


def _classified(points: Points, classes: Collection[str]) -> Points:
    """Give points of a table without classes the one class there is.

    Raises
    ------
    ConfigError
        If there are several to choose from.
    """
    if points.class_names != (DEFAULT_CLASS,) or not classes or DEFAULT_CLASS in classes:
        return points
    if len(classes) > 1:
        msg = (
            f"the points of {points.name} have no classes, and those to score are "
            f"{', '.join(sorted(classes))}. Choose the one that they are of."
        )
        raise ConfigError(msg)
    (name,) = classes
    return replace(points, table=points.table.assign(class_name=name))


def _recorded_radii(addresses: Iterable[str]) -> dict[str, float]:
    """Radii of the first record of ``volproc localize`` beside predictions; empty without one."""
    for address in addresses:
        if address.lower().endswith(POINT_ENDINGS):
            radii = read_record(address).get("radii_angstrom")
            if radii:
                return dict(radii)
    return {}


def _check_radii(classes: Sequence[str], radii: Mapping[str, float]) -> None:
    lacking = [name for name in classes if name not in radii]
    if lacking or not classes:
        what = f"radii of {', '.join(lacking)}" if lacking else "the radii of the classes"
        msg = (
            f"{what} are not known, so that a part of a radius is no distance. Give radii "
            "(--radius NAME=Å), a copick project that has them (--project), or one distance in Å "
            "for all (--distance); or name the classes to score (--object-names)."
        )
        raise ConfigError(msg)
