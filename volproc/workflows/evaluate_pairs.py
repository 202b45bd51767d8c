"""Which truth belongs to which prediction: by name, by run, by volume of a table, or as given."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias

from volproc.core.errors import AddressError, ConfigError, SeveralError, VolprocError, nearest
from volproc.core.events import Event, Observer
from volproc.core.points import Points
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.formats import is_pattern
from volproc.io.inputs import LIST_SIGN
from volproc.io.point_inputs import PointReader, expand_points, is_run_pattern, picks_of_runs
from volproc.workflows.ahead import map_ahead
from volproc.workflows.dataset_outputs import fill_template, input_name, make_template, named

STAGE = "evaluate"

PointsLike: TypeAlias = str | os.PathLike[str] | Points
"""Points, or the address of some."""


@dataclass(frozen=True, slots=True)
class Side:
    """Truth or prediction of one volume."""

    address: str = ""
    """Where the points are; empty where they were given themselves."""

    volume: str = ""
    """Which volume of a table that names volumes."""

    points: Points | None = None
    """The points, where they were given."""

    parts: tuple[str, ...] = ()
    """Addresses that are read together, where one does not name them all."""

    def __str__(self) -> str:
        if self.parts:
            return " + ".join(self.parts)
        return f"{self.address} ({self.volume})" if self.volume else self.address or "points"


@dataclass(frozen=True, slots=True)
class Pair:
    """Truth and prediction of one volume."""

    name: str
    """What people call the volume; unique."""

    predicted: Side | None
    """None where nothing was predicted."""

    truth: Side | None
    """None where there is a problem."""

    problem: str = ""
    """Why there is no truth."""


@dataclass(frozen=True, slots=True)
class _Found:
    """A prediction that looks for its truth."""

    name: str
    side: Side | None
    other_name: str = ""
    """What its table calls the volume, where that may be another name."""

    is_listed: bool = False
    """Whether a pattern of runs, or a table, brought it: without a truth it is left out."""


def point_name(address: str) -> str:
    """What to call the volume of a file of points.

    >>> point_name("picks/TS_1_picks.csv"), point_name("c.json:TS_2/:me/1")
    ('TS_1', 'TS_2')
    """
    return input_name(address).removesuffix("_picks").removesuffix("_classes")


def pair_points(
    predicted: PointsLike | Sequence[PointsLike], truth: PointsLike | Sequence[PointsLike]
) -> list[Pair] | None:
    """Pairs of what was given one by one; None where names have to be looked up.

    Raises
    ------
    ConfigError
        If there are more of one than of the other.
    """
    found, true = as_list(predicted), as_list(truth)
    if isinstance(truth, str | os.PathLike) and not any(isinstance(p, Points) for p in found):
        return None
    if len(found) != len(true):
        msg = (
            f"{len(found)} predictions and {len(true)} truths do not make pairs. Give as many, or "
            'a template as truth, such as "truth/{name}.csv".'
        )
        raise ConfigError(msg)
    names = [
        item.name if isinstance(item, Points) else point_name(os.fspath(item)) for item in found
    ]
    return _unique(
        [
            Pair(name or f"volume {number}", _side(one), _side(other))
            for number, (name, one, other) in enumerate(zip(names, found, true, strict=True), 1)
        ]
    )


def find_pairs(
    predicted: Sequence[str],
    truth: str,
    readers: tuple[PointReader, PointReader],
    *,
    runs: Collection[str] = (),
    observe: Observer,
) -> list[Pair]:
    """Find the truth of every prediction.

    Parameters
    ----------
    predicted : sequence of str
        Words as `volproc.io.point_inputs.expand_points` takes them, and patterns of runs.
    truth : str
        One file; a table of several volumes, in which a volume is looked up by its name; a
        template with ``{name}`` and ``{folder}``; a folder, a pattern or a list of files, which
        are paired by name; or a pattern of runs of a project.
    readers : (PointReader, PointReader)
        Open tables of predictions, and of truths.
    runs : collection of str
        The only volumes to look at.
    observe : callable
        Is told what is left out, and where nothing was predicted.

    Raises
    ------
    AddressError
        If nothing fits, or if no run at all has the predictions or the truths asked for.
    ConfigError
        If one truth would serve several volumes.
    """
    found = _restrict(list(_find_predictions(predicted, readers[0], runs)), runs)
    source = _truth_source(truth, readers[1], found, runs)
    pairs, without = [], []
    for one in found:
        pair = source.pair(one)
        if pair.truth is None and one.is_listed and not runs:
            without.append(one.name)
        else:
            pairs.append(pair)
    if not pairs:
        msg = f"{truth} has no truth for any of {named(without)}. Check both names."
        raise AddressError(msg)
    pairs += source.missed(found, is_one_table=_is_one_table(found))
    missed = [pair.name for pair in pairs if pair.predicted is None and pair.truth is not None]
    for what, names in (
        ("left out, since there is no truth", without),
        ("nothing is predicted, all is missed", missed),
    ):
        if names:
            observe(Event("note", STAGE, text=f"{what}: {named(names)}"))
    return _unique(pairs)


class _Truths:
    """Truths by a template: a file or a member of a project for each volume."""

    def __init__(self, template: str) -> None:
        self.template = template

    def pair(self, found: _Found) -> Pair:
        """Pair with the truth of its name."""
        name = input_name(found.name) if found.side and found.side.volume else found.name
        beside = found.side.address if found.side else ""
        try:
            address = fill_template(self.template, beside, name_of=lambda _: name)
        except AddressError as error:
            return Pair(found.name, found.side, None, str(error))
        return Pair(found.name, found.side, Side(address))

    def missed(self, found: Sequence[_Found], *, is_one_table: bool) -> list[Pair]:
        """Truths of volumes in which nothing was predicted."""
        return []


class _RunTruths(_Truths):
    """Truths in the runs of a project; a run without any is known beforehand."""

    def __init__(self, pattern: str) -> None:
        super().__init__(make_template(pattern, usual="", is_many=True))
        self.pattern = pattern
        whole = replace(parse_copick(pattern), run="*")
        self.has_truth = picks_of_runs(str(whole))
        if not any(self.has_truth.values()):
            raise AddressError(_no_picks(pattern))

    def pair(self, found: _Found) -> Pair:
        """Pair with the truth of its run."""
        if self.has_truth.get(found.name):
            return super().pair(found)
        what = "has no such picks" if found.name in self.has_truth else "is no run of the project"
        return Pair(found.name, found.side, None, f"no truth {self.pattern}: {found.name} {what}.")


class _NamedTruths(_Truths):
    """Truths with a name each: files of a pattern, or volumes of one table."""

    def __init__(self, truth: str, sides: dict[str, Side]) -> None:
        super().__init__(truth)
        self.sides = sides
        self.by_stem: dict[str, list[str]] = {}
        for name in sides:
            self.by_stem.setdefault(point_name(name), []).append(name)

    def pair(self, found: _Found) -> Pair:
        """Pair with the truth that has one of its names."""
        name = self._find(found)
        if name is None:
            known = nearest(found.name, list(self.sides)[:50])
            msg = f"{self.template} has no truth of {found.name}; {known}"
            return Pair(found.name, found.side, None, msg)
        return Pair(found.name, found.side, self.sides[name])

    def missed(self, found: Sequence[_Found], *, is_one_table: bool) -> list[Pair]:
        """Volumes of the truth's table that a table of predictions does not know."""
        if not is_one_table or not any(side.volume for side in self.sides.values()):
            return []
        seen = {self._find(one) for one in found}
        return [Pair(name, None, side) for name, side in self.sides.items() if name not in seen]

    def _find(self, found: _Found) -> str | None:
        for name in (found.name, found.other_name):
            if name in self.sides:
                return name
        for name in (found.name, found.other_name):
            # Tables often hold the file name or path of a volume where people say its name.
            fitting = self.by_stem.get(point_name(name), []) if name else []
            if len(fitting) == 1:
                return fitting[0]
        return None


def _truth_source(
    truth: str, reader: PointReader, found: Sequence[_Found], runs: Collection[str]
) -> _Truths:
    """What finds the truth of a volume."""
    if is_run_pattern(truth):
        return _RunTruths(truth)
    if "{" in truth:
        return _Truths(make_template(truth, usual="", is_many=True))
    is_list = truth.startswith(LIST_SIGN) and not Path(truth).exists()
    if not is_copick(truth) and (is_list or Path(truth).is_dir() or is_pattern(truth)):
        return _NamedTruths(truth, _by_name(list(expand_points([truth]))))
    names = () if is_copick(truth) else reader.names(truth)
    if len(names) > 1 or (names and len(found) > 1):
        sides = {name: Side(truth, name) for name in names if not runs or name in runs}
        return _NamedTruths(truth, sides)
    if len(found) > 1:
        msg = (
            f"{truth} is one truth, and there are {len(found)} volumes. Give a template, as "
            '"truth/{name}.csv" or "config.json:*/:USER/SESSION", or a table that names volumes.'
        )
        raise ConfigError(msg)
    return _Truths(truth)


def _by_name(addresses: Sequence[str]) -> dict[str, Side]:
    """Files by the names of their volumes."""
    sides: dict[str, Side] = {}
    for address in addresses:
        other = sides.setdefault(point_name(address), Side(address))
        if other.address != address:
            msg = (
                f"{other.address} and {address} are both truths of {point_name(address)}. Give a "
                'template that tells them apart, as "truth/{folder}/{name}.csv".'
            )
            raise ConfigError(msg)
    return sides


def _find_predictions(
    words: Sequence[str], reader: PointReader, runs: Collection[str]
) -> Iterator[_Found]:
    """Volumes that predictions are of."""
    for address, names in map_ahead(partial(_names_of, reader=reader), expand_points(words)):
        if is_run_pattern(address):
            has_picks = picks_of_runs(address, runs)
            if not any(has_picks.values()):
                raise AddressError(_no_picks(address))
            for run, is_there in has_picks.items():
                member = str(replace(parse_copick(address), run=run))
                # No file is written for a run in which nothing was found.
                yield _Found(run, Side(member) if is_there else None, is_listed=True)
        elif len(names) > 1:
            for name in names:
                yield _Found(name, Side(address, name), is_listed=True)
        else:
            yield _Found(point_name(address), Side(address), names[0] if names else "")


def _names_of(address: str, *, reader: PointReader) -> tuple[str, ...]:
    """Volumes that a table names; none where it cannot be read."""
    try:
        return () if is_run_pattern(address) else reader.names(address)
    except (VolprocError, OSError):
        return ()  # it fails when it is read, and the others go on


def _restrict(found: list[_Found], runs: Collection[str]) -> list[_Found]:
    """Only the volumes that were asked for."""
    if not runs:
        return found
    known = {one.name for one in found} | {one.other_name for one in found}
    chosen = [one for one in found if one.name in runs or one.other_name in runs]
    lacking = sorted(set(runs) - known)
    if _is_one_table(found):
        return [*chosen, *(_Found(name, None, is_listed=True) for name in lacking)]
    if lacking:
        known.discard("")
        msg = f"no prediction is of {named(lacking)}; {nearest(lacking[0], known)}"
        raise AddressError(msg)
    return chosen


def _is_one_table(found: Sequence[_Found]) -> bool:
    """Whether all predictions are in one table, which tells nothing of empty volumes."""
    addresses = {one.side.address for one in found if one.side is not None}
    return len(addresses) == 1 and any(one.side and one.side.volume for one in found)


def _no_picks(pattern: str) -> str:
    found = parse_copick(pattern)
    what = f"{found.name}:{found.user}/{found.session}"
    return f"no run of {found.config} has picks {what}. Check object, user and session."


def _unique(pairs: list[Pair]) -> list[Pair]:
    """Give volumes of one name their addresses as names."""
    names = [pair.name for pair in pairs]
    if len(set(names)) == len(names):
        return pairs
    longer = [replace(p, name=str(p.predicted or p.truth or p.name)) for p in pairs]
    if len({pair.name for pair in longer}) == len(longer):
        return longer
    return [replace(pair, name=f"{pair.name} #{n}") for n, pair in enumerate(longer, 1)]


def as_list(items: PointsLike | Sequence[PointsLike]) -> list[PointsLike]:
    """Return one thing, or several, as a list."""
    return [items] if isinstance(items, str | os.PathLike | Points) else list(items)


def _side(item: PointsLike) -> Side:
    if isinstance(item, Points):
        return Side(points=item)
    if is_run_pattern(os.fspath(item)):
        msg = (
            f"{item} is a pattern of runs. Give it by itself, with a pattern or template as truth."
        )
        raise SeveralError(msg, option="address")
    return Side(os.fspath(item))
