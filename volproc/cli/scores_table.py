"""Scores of points on the screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from volproc.cli.dataset import MAX_FAILED, MAX_ROWS
from volproc.cli.options import say

if TYPE_CHECKING:
    import pandas as pd

    from volproc.workflows.evaluate import Evaluation
    from volproc.workflows.scorer import ScoreRule

SHOWN = ("num_truth", "num_predicted", "tp", "fp", "fn", "precision", "recall", "f1", "fbeta")
"""Columns of the tables on the screen."""

RULES = {
    "one-to-one": "paired one to one",
    "octopi": "counted as Octopi does, by the nearest and below the limit",
    "kaggle": "counted by the Kaggle rule",
}
"""Matching → what it does, for people."""


def show_scores(result: Evaluation, *, every: bool = False) -> int:
    """Write the tables of an evaluation, and return the exit status.

    Parameters
    ----------
    result : Evaluation
        What was scored.
    every : bool
        Write the scores of each volume, however many there are.
    """
    failed = [entry for entry in result.entries if entry.status == "failed"]
    num_scored = len(result.volumes)
    if num_scored:
        scores = result.scores.set_index("class_name")
        for line in score_lines(scores, "class"):
            say(line)
        if num_scored > 1:
            say()
            _show_volumes(result, every=every)
        say()
        say(_describe(result.rule))
        _show_averages(result, scores)
        _show_sweeps(result)
    for entry in failed[:MAX_FAILED]:
        say(f"{entry.name}  failed  {' '.join(entry.error.split())}")
    if len(failed) > MAX_FAILED:
        say(f"and {len(failed) - MAX_FAILED} more that failed")
    more = f", {len(failed)} failed" if failed else ""
    volumes = "1 volume" if len(result.entries) == 1 else f"{len(result.entries)} volumes"
    say(f"{volumes}: {num_scored} scored{more}")
    for path in result.files:
        say(f"wrote  {path}")
    return 1 if failed else 0


def _show_averages(result: Evaluation, scores: pd.DataFrame) -> None:
    """Write one figure for all classes, three ways."""
    name = f"F{result.rule.beta:g}"
    averages = result.summary.averages.set_index("average")["fbeta"]
    say(f"micro {name}  {averages['micro']:.4f}")
    weights = {name: weight for name, weight in scores["weight"].items() if weight == weight}
    if weights:
        listed = ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
        say(f"macro {name}  {averages['macro']:.4f}")
        say(f"weighted {name}  {averages['weighted']:.4f}  (weights: {listed})")


def _show_sweeps(result: Evaluation) -> None:
    """Write what other thresholds and distances would score."""
    name = f"F{result.rule.beta:g}"
    for label, curve in result.sweeps.curves.items():
        best = curve.best
        text = "nothing predicted"
        if best is not None:
            text = (
                f"best {name} {best['fbeta']:.4f} at scores from {best['threshold']:.4g}, "
                f"precision {best['precision']:.3f}, recall {best['recall']:.3f}"
            )
        say(f"{label}  average precision {curve.average_precision:.4f}; {text}")
    table = result.sweeps.table
    rows = table[table["sweep"] == "distance"]
    for scale, part in rows.groupby("distance_scale", sort=False):
        figures = ", ".join(
            f"{row.class_name} {row.fbeta:.4f}" for row in part.itertuples(index=False)
        )
        say(f"{name} at {scale:g} radii: {figures}")


def _show_volumes(result: Evaluation, *, every: bool) -> None:
    """Write the overall row of each volume, and the means over them."""
    from volproc.metrics.points import OVERALL
    from volproc.workflows.evaluate_output import join_volumes

    is_short = every or len(result.volumes) <= MAX_ROWS
    if is_short:
        table = join_volumes(result.volumes)
        overall = table[table["class_name"] == OVERALL].set_index("volume")
        for line in score_lines(overall, "volume"):
            say(line)
    means = result.summary.means.set_index("class_name")
    if is_short:
        say()
    say("mean over volumes (± standard deviation)")
    for name, row in means[means["num_volumes"] > 0].iterrows():
        figures = ", ".join(
            f"{what} {row[f'{what}_mean']:.3f} ± {row[f'{what}_std']:.3f}"
            for what in ("precision", "recall", "f1", "fbeta")
        )
        say(f"{name}  {int(row['num_volumes'])} volumes: {figures}")


def score_lines(table: pd.DataFrame, title: str) -> list[str]:
    """Rows of scores in columns, with a head.

    Parameters
    ----------
    table : DataFrame
        Scores; its index names the rows.
    title : str
        What the rows are.
    """
    columns = [
        [
            f"{value:.3f}" if table[column].dtype.kind == "f" else str(value)
            for value in table[column]
        ]
        for column in SHOWN
    ]
    rows = [
        [title, *(column.removeprefix("num_") for column in SHOWN)],
        *([str(name), *cells] for name, *cells in zip(table.index, *columns, strict=True)),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    ]


def _describe(rule: ScoreRule) -> str:
    """Say what counted as found."""
    limit = f"{rule.distance_fraction:g} radii"
    if rule.distance is None:
        radii = ", ".join(f"{name} {radius:g}" for name, radius in rule.radii.items())
        limit += f" (Å: {radii})"
    else:
        limit = f"{rule.distance:g} Å"
    return f"{RULES[rule.matching]}, at most {limit} apart; F-beta with beta {rule.beta:g}"
