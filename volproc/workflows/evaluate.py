"""Points against truth, in one volume or many: who was found, who was missed."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import pandas as pd

from volproc.core.events import Event, Observer, ignore
from volproc.core.points import Points
from volproc.io.point_inputs import PointFormat, PointReader
from volproc.metrics.summary import ScoreSummary
from volproc.workflows.ahead import map_ahead
from volproc.workflows.dataset import explain
from volproc.workflows.dataset_record import Entry
from volproc.workflows.evaluate_octopi import PicksQuery, describe_query
from volproc.workflows.evaluate_output import ScoreFolder
from volproc.workflows.evaluate_pairs import (
    STAGE,
    Pair,
    PointsLike,
    as_list,
    find_pairs,
    pair_points,
)
from volproc.workflows.evaluate_sweep import SweepCollector, Sweeps
from volproc.workflows.score_volume import VolumeScores
from volproc.workflows.scorer import Scorer, ScoreRule


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores of one volume or many."""

    summary: ScoreSummary
    """Scores of all volumes together; its tables are empty where no volume could be scored."""

    volumes: dict[str, pd.DataFrame]
    """Scores of each volume, by its name."""

    entries: tuple[Entry, ...]
    """What became of each volume: ``done``, or ``failed`` and why."""

    rule: ScoreRule
    """What counted as found, with radii and weights filled in."""

    files: tuple[Path, ...] = ()
    """What was written."""

    sweeps: Sweeps = field(default_factory=Sweeps)
    """Scores at other thresholds and distances, where the rule asks for them."""

    @property
    def scores(self) -> pd.DataFrame:
        """A row a class and ``overall``, counts added over the volumes."""
        return self.summary.scores

    @property
    def num_failed(self) -> int:
        """Volumes that could not be scored."""
        return sum(entry.status == "failed" for entry in self.entries)


def evaluate(
    predicted: PointsLike | Sequence[PointsLike],
    truth: PointsLike | Sequence[PointsLike],
    *,
    rule: ScoreRule | None = None,
    runs: Collection[str] = (),
    point_format: PointFormat | None = None,
    truth_format: PointFormat | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    observe: Observer = ignore,
) -> Evaluation:
    """Score predicted points against true ones, in one volume or many.

    A predicted point is right if it is paired with a true one of its class: pairs are one to one,
    as many as possible, at the least total distance, and none is longer than the rule says. A
    volume that cannot be read is noted, and the others go on.

    Parameters
    ----------
    predicted : Points, address, or sequence of these
        Addresses as `volproc.read_points` takes them, folders, patterns, ``@list.txt``, tables of
        several volumes, and ``config.json:RUN*/:USER/SESSION`` for runs of a copick project.
    truth : Points, address, or sequence of these
        A sequence, or points, in the order of the predictions. An address is one file, a table
        of several volumes, a template with ``{name}``, a folder or pattern of files that are
        paired by name, or a pattern of runs.
    rule : ScoreRule
        What counts as found.
    runs : collection of str
        The only volumes to look at.
    point_format, truth_format : PointFormat
        What the tables do not say of themselves: voxel size, unit. The second is that of the
        predictions where it is not given.
    output : path
        Folder for ``scores.csv``, ``volumes.csv``, ``averages.csv``, ``picks.csv``,
        ``scores.json``, ``run.json``, and ``average_metrics.yaml``, ``metrics.json`` and
        ``metrics.csv`` in Octopi's layout; with sweeps ``sweep.csv`` and ``precision_recall.png``.
    overwrite : bool
        Replace scores that are in it.
    observe : callable
        Takes events: ``dataset``, a ``tomogram`` for each volume, notes.

    Returns
    -------
    evaluation : Evaluation
        Errors of single volumes are in it, and are not raised. The error of an only volume is.

    Raises
    ------
    VolprocError
        If no volume is found, a truth would serve several, a radius or class is unknown, or the
        output exists.

    Notes
    -----
    Octopi's ``evaluate`` differs, and where it does the figures here are lower or other:

    - It counts each prediction near any truth as right: five on one particle are five hits. Here
      one is, and four are false.
    - It takes distances below the limit, here the limit is included.
    - Volumes in which nothing was found, or nothing is, are left out of its means; here they are
      in them with 0. Only a class that neither is there nor was predicted is left out.
    - A class that occurs in no volume counts as 0 in its final score; here it is left out.
    - Its command and its function have different default distances, 0.8 and 0.5 radii, and the
      Kaggle challenge had 0.5. Here it is 0.8 of the radius in both.

    ``ScoreRule(matching="octopi")`` gives its figures in the first four points, and
    ``ScoreRule(matching="kaggle")`` those of the challenge.

    Volumes are read by several threads. One takes ten to thirty milliseconds beside the waiting
    for its files; of each only its scores are kept, and with a sweep some bytes a prediction.

    Examples
    --------
    >>> lies = {"class_name": "ball", "voxel_size": (10.0, 10.0, 10.0), "shape": ()}
    >>> truth = Points.from_zyx([[1, 2, 3], [9, 9, 9]], **lies)
    >>> found = Points.from_zyx([[1, 2, 4], [1, 3, 3]], **lies)
    >>> scores = evaluate(found, truth, rule=ScoreRule(distance=15.0)).scores
    >>> scores.loc[0, ["tp", "fp", "fn"]].tolist()
    [1, 1, 1]
    """
    how = point_format or PointFormat()
    readers = PointReader(how), PointReader(truth_format or how)
    pairs = pair_points(predicted, truth)
    if pairs is None:
        words = [str(word) for word in as_list(predicted)]
        pairs = find_pairs(words, str(truth), readers, runs=runs, observe=observe)
    said = [_text(item) for item in as_list(predicted)], [_text(item) for item in as_list(truth)]
    settings = {
        "predicted": said[0],
        "truth": said[1],
        "runs": sorted(runs),
        "format": asdict(how),
        "truth_format": asdict(truth_format or how),
    }
    query = describe_query(*said, list(runs), rule.project if rule else "")
    return score_pairs(
        pairs, readers, rule or ScoreRule(), settings=settings, query=query, output=output,
        overwrite=overwrite, observe=observe,
    )  # fmt: skip


def score_pairs(
    pairs: Sequence[Pair],
    readers: tuple[PointReader, PointReader],
    rule: ScoreRule,
    *,
    settings: dict[str, Any],
    query: PicksQuery,
    output: str | os.PathLike[str] | None,
    overwrite: bool,
    observe: Observer,
) -> Evaluation:
    """Score volumes of which truth and prediction are known.

    Parameters
    ----------
    pairs : sequence of Pair
        Truth and prediction of each volume.
    readers : (PointReader, PointReader)
        Read predictions, and truths.
    rule : ScoreRule
        What counts as found.
    settings : dict
        What the scores depend on beside the rule, for the record.
    query : PicksQuery
        What was scored, for the files in Octopi's layout.
    output, overwrite, observe
        As in `evaluate`.

    Raises
    ------
    VolprocError
        As `evaluate`.
    """
    scorer = Scorer(rule, pairs, readers)
    rule = scorer.rule
    entries = [Entry(p.name, str(p.predicted or ""), str(output or "")) for p in pairs]
    folder = None
    if output is not None:
        facts = {**settings, **asdict(rule)}
        folder = ScoreFolder(Path(output), facts, entries, overwrite=overwrite)
    collector = SweepCollector(
        matching=rule.matching,
        beta=rule.beta,
        scale=rule.distance_fraction if rule.distance is None else None,
        distance_scales=rule.distance_scales,
    )
    files: tuple[Path, ...] = ()
    try:
        tables = _score_all(pairs, entries, scorer, collector, folder, observe)
        summary, sweeps = scorer.summarize(tables), collector.finish()
        if folder is not None:
            truths = {pair.name: str(pair.truth or "") for pair in pairs}
            files = folder.finish(summary, tables, truths, sweeps=sweeps, rule=rule, query=query)
    except BaseException:
        if folder is not None:
            folder.stop()
        raise
    return Evaluation(summary, tables, tuple(entries), rule, files, sweeps)


def _score_all(
    pairs: Sequence[Pair],
    entries: list[Entry],
    scorer: Scorer,
    collector: SweepCollector,
    folder: ScoreFolder | None,
    observe: Observer,
) -> dict[str, pd.DataFrame]:
    """Score all volumes, several at a time, and note them in their order."""
    observe(Event("dataset", STAGE, total=len(pairs)))
    tables: dict[str, pd.DataFrame] = {}
    found = map_ahead(partial(_score, scorer=scorer), pairs)
    for number, (pair, (result, seconds)) in enumerate(found):
        entry = entries[number]
        if not isinstance(result, Exception):
            tables[pair.name] = result.scores
            collector.add(result)
            entry.status = "done"
        elif len(pairs) == 1:
            raise result
        else:
            entry.status, entry.error = "failed", explain(result)
        entry.seconds = round(seconds, 3)
        if folder is not None:
            folder.note(number, None if isinstance(result, Exception) else result.picks)
        facts = {"status": entry.status, "time_s": entry.seconds}
        observe(Event("tomogram", STAGE, text=entry.error, volume=pair.name, facts=facts))
    observe(Event("done", STAGE))
    return tables


def _score(pair: Pair, *, scorer: Scorer) -> tuple[VolumeScores | Exception, float]:
    """Scores of one volume, or why there are none, and the seconds that it took."""
    begin_s = perf_counter()
    try:
        return scorer.score(pair), perf_counter() - begin_s
    except Exception as error:  # one of many: it is noted, and the others go on
        return error, perf_counter() - begin_s


def _text(item: PointsLike) -> str:
    return f"points of {item.name}" if isinstance(item, Points) else os.fspath(item)
