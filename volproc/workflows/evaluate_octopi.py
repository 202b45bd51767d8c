"""Scores in the files that Octopi's ``evaluate`` writes, with its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from volproc.core.errors import AddressError
from volproc.io.copick_address import is_copick, parse_copick
from volproc.io.octopi_logs import dump_yaml
from volproc.metrics.points import OVERALL
from volproc.metrics.summary import ScoreSummary
from volproc.workflows.scorer import ScoreRule

AVERAGES, METRICS, ROWS = "average_metrics.yaml", "metrics.json", "metrics.csv"
"""Scores of all runs together; those of each run; the same as a table, which Octopi has not."""

KEYS = {
    "precision": "precision",
    "recall": "recall",
    "f1": "f1_score",
    "fbeta": "fbeta_score",
    "accuracy": "accuracy",
    "tp": "true_positives",
    "fp": "false_positives",
    "fn": "false_negatives",
}
"""Column → Octopi's word for it, in its order."""

UNSAID = ("f1", "accuracy")
"""Columns that Octopi leaves out where one side is empty."""


@dataclass(frozen=True, slots=True)
class PicksQuery:
    """Which picks were scored, in Octopi's words; None where they are not of a project."""

    config: str | None = None
    """Configuration of the project."""

    truth_user: str | None = None
    """Whose picks are true."""

    truth_session: str | None = None
    """Session of that user; None for any."""

    user: str | None = None
    """Whose picks are scored."""

    session: str | None = None
    """Session of that user."""

    runs: tuple[str, ...] = ()
    """Runs that were asked for; empty for all."""

    def values(self) -> dict[str, str | None]:
        """The same under Octopi's keys."""
        return {
            "copick_config": self.config,
            "ground_truth_user_id": self.truth_user,
            "ground_truth_session_id": self.truth_session,
            "prediction_user_id": self.user,
            "predict_session_id": self.session,
        }


def describe_query(
    predicted: Sequence[str], truth: Sequence[str], runs: Sequence[str], project: str
) -> PicksQuery:
    """What was scored, as far as the addresses say it.

    >>> query = describe_query(["c.json:*/:octopi/1"], ["c.json:*/:people/0"], [], "")
    >>> query.config, query.truth_user, query.session
    ('c.json', 'people', '1')
    """
    owners: list[tuple[str | None, str | None]] = []
    configs = [project] if project else []
    for words in (truth, predicted):
        found = None
        if len(words) == 1 and is_copick(words[0]):
            try:
                found = parse_copick(words[0])
            except AddressError:  # a template, say, which names no one set of picks
                found = None
        owners.append((found.user, found.session) if found else (None, None))
        configs += [str(found.config)] if found else []
    (truth_user, truth_session), (user, session) = owners
    return PicksQuery(
        configs[0] if configs else None, truth_user, truth_session, user, session, tuple(runs)
    )


def average_metrics(
    summary: ScoreSummary, rule: ScoreRule, query: PicksQuery, classes: Sequence[str]
) -> str:
    """Text of ``average_metrics.yaml``.

    Parameters
    ----------
    summary : ScoreSummary
        Of all runs.
    rule : ScoreRule
        What counted as found.
    query : PicksQuery
        What was scored.
    classes : sequence of str
        All that were looked for, in the order of the file.
    """
    rows = _by_class(summary.scores)
    means = _by_class(summary.means)
    final = summary.weighted_fbeta
    return dump_yaml(
        {
            "input": query.values(),
            "final_fbeta_score": 0.0 if pd.isna(final) else final,
            "aggregated_particle_scores": {
                name: {
                    **{
                        key: int(rows[name][key]) if name in rows else 0
                        for key in ("tp", "fp", "fn")
                    },
                    "weight": _short(rule.weights.get(name, 1.0)),
                }
                for name in classes
            },
            "summary_metrics": {
                name: {
                    word: {
                        what: float(means[name][f"{column}_{what}"])
                        if name in means
                        else float("nan")
                        for what in ("mean", "std")
                    }
                    for column, word in KEYS.items()
                }
                for name in classes
            },
            "parameters": _parameters(rule, query),
        }
    )


def run_metrics(
    tables: Mapping[str, pd.DataFrame], rule: ScoreRule, query: PicksQuery, classes: Sequence[str]
) -> str:
    """Text of ``metrics.json``; parameters as in `average_metrics`, with the scores of each run."""
    metrics = _metrics_of_runs(tables, rule, classes)
    content = {
        "input": query.values(), "metrics": metrics, "parameters": _parameters(rule, query)
    }  # fmt: skip
    return json.dumps(content, indent=4) + "\n"


def metrics_table(
    tables: Mapping[str, pd.DataFrame], rule: ScoreRule, classes: Sequence[str]
) -> str:
    """Text of ``metrics.csv``: a row a run and object, under Octopi's keys."""
    rows = [
        {"run": run, "object": name, **values}
        for run, by_name in _metrics_of_runs(tables, rule, classes).items()
        for name, values in by_name.items()
    ]
    table = pd.DataFrame(rows, columns=["run", "object", *KEYS.values()])
    return table.to_csv(index=False, lineterminator="\n")


def _metrics_of_runs(
    tables: Mapping[str, pd.DataFrame], rule: ScoreRule, classes: Sequence[str]
) -> dict[str, dict[str, dict[str, float | int]]]:
    """Scores by run and class."""
    metrics = {}
    for run, table in tables.items():
        rows = _by_class(table)
        metrics[run] = {name: _metrics(rows[name], rule) for name in classes if name in rows}
    return metrics


def _metrics(row: Mapping[str, Any], rule: ScoreRule) -> dict[str, float | int]:
    """Scores of a class in one run."""
    is_one_sided = not (row["num_truth"] and row["num_predicted"])
    left_out = UNSAID if rule.matching == "octopi" and is_one_sided else ()
    return {
        word: int(row[column]) if column in ("tp", "fp", "fn") else float(row[column])
        for column, word in KEYS.items()
        if column not in left_out
    }


def _parameters(rule: ScoreRule, query: PicksQuery) -> dict[str, Any]:
    """What Octopi says of the parameters, and what it has not where that was used."""
    scale = rule.distance_fraction if rule.distance is None else None
    parameters: dict[str, Any] = {
        "distance_threshold_scale": scale, "runIDs": list(query.runs) or None
    }  # fmt: skip
    if rule.distance is not None:
        parameters["distance_angstrom"] = rule.distance
    if rule.matching != "octopi":
        parameters["matching"] = rule.matching
    return parameters


def _by_class(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    if table.empty:
        return {}
    # By column: row by row it would take as long as to score the volume.
    columns = {str(column): table[column].tolist() for column in table.columns}
    rows = zip(*columns.values(), strict=True)
    by_name = {str(name): row for name, row in zip(columns["class_name"], rows, strict=True)}
    return {
        name: dict(zip(columns, row, strict=True))
        for name, row in by_name.items()
        if name != OVERALL
    }


def _short(weight: float) -> float | int:
    """Whole weights without a point, as they stand in the project."""
    return int(weight) if float(weight).is_integer() else float(weight)
