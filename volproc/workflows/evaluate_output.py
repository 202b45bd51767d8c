"""Scores as files: tables for people, JSON for programs, and the record of the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from volproc.core.errors import ConfigError, ExistsError
from volproc.io.atomic_text import write_texts
from volproc.io.chunk_files import write_bytes
from volproc.io.create import partial_path, remove
from volproc.metrics.points import to_json
from volproc.metrics.summary import AVERAGED, ScoreSummary
from volproc.workflows.dataset_record import (
    RUN_FILE,
    Entry,
    RunRecord,
    goes_on,
    keep_aside,
    read_run,
)
from volproc.workflows.evaluate_octopi import (
    AVERAGES,
    METRICS,
    ROWS,
    PicksQuery,
    average_metrics,
    metrics_table,
    run_metrics,
)
from volproc.workflows.evaluate_sweep import Sweeps
from volproc.workflows.record import versions
from volproc.workflows.score_volume import PICK_COLUMNS
from volproc.workflows.scorer import ScoreRule

MADE_BY = "volproc evaluate"

SCORES, VOLUMES, ALL = "scores.csv", "volumes.csv", "scores.json"
"""A row a class; a row a class and volume; both with settings and versions."""

MEANS, PICKS = "averages.csv", "picks.csv"
"""Micro, macro and weighted averages over the classes; a row a point with its match."""

SWEEP, CURVE = "sweep.csv", "precision_recall.png"
"""A row a class and threshold or distance; a picture. Only where they were asked for."""

NAMES = (SCORES, VOLUMES, ALL, MEANS, PICKS, AVERAGES, METRICS, ROWS, SWEEP, CURVE)
"""Files that a run may write, beside its record."""


class ScoreFolder:
    """Folder that scores are written to.

    Parameters
    ----------
    folder : Path
        Made if it is not there.
    settings : dict
        What the scores depend on.
    entries : list of Entry
        The volumes; what becomes of them is read from here.
    overwrite : bool
        Replace scores that are there. Those of a run that was unfinished, or in which volumes
        failed, are replaced by those of the same run.

    Raises
    ------
    ConfigError
        If the folder has the name of a file.
    ExistsError
        If there are scores, or another file where the record would go.
    ResumeError
        If an unfinished run with other settings wrote to the folder.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], entries: list[Entry], *, overwrite: bool
    ) -> None:
        if folder.suffix.lower() in (".csv", ".json", ".yaml", ".yml") or folder.is_file():
            msg = f"{folder} is no folder. Give one: {SCORES}, {VOLUMES} and {ALL} go there."
            raise ConfigError(msg)
        self.folder = folder
        self._facts = {"made_by": MADE_BY, "settings": settings}
        self._entries = entries
        path = folder / RUN_FILE
        before = read_run(path)
        is_own = goes_on(before, self._facts, overwrite=overwrite)
        taken = [name for name in NAMES if (folder / name).exists()]
        if taken and not (overwrite or is_own):
            msg = (
                f"{folder} holds {', '.join(taken)}. Choose another folder, or replace them with "
                "overwrite= (--overwrite)."
            )
            raise ExistsError(msg)
        folder.mkdir(parents=True, exist_ok=True)
        if before and before["made_by"] != MADE_BY:
            keep_aside(path, before)
        self._record = RunRecord(path, self._facts, entries)
        self._record.begin()
        # Points go to disk volume by volume: of many volumes they would fill the memory.
        self._picks = partial_path(folder / PICKS)
        head = ("volume", *PICK_COLUMNS)
        self._picks.write_text(",".join(head) + "\n", encoding="utf-8")

    def note(self, number: int, picks: pd.DataFrame | None = None) -> None:
        """Note what became of a volume, and its points; volumes come in their order."""
        entry = self._entries[number]
        if picks is not None and len(picks):
            rows = picks.set_axis([entry.name] * len(picks), axis="index")
            with self._picks.open("a", encoding="utf-8", newline="") as file:
                file.write(rows.to_csv(header=False, lineterminator="\n"))
        self._record.end(number, entry.status, seconds=entry.seconds, error=entry.error)

    def stop(self) -> None:
        """Leave a true record of a run that did not end, where the disk lets us."""
        with suppress(OSError):  # what ended the run is what has to be said
            remove(self._picks)
            self._record.finish("interrupted")

    def finish(
        self,
        summary: ScoreSummary,
        tables: Mapping[str, pd.DataFrame],
        truths: Mapping[str, str],
        *,
        sweeps: Sweeps,
        rule: ScoreRule,
        query: PicksQuery,
    ) -> tuple[Path, ...]:
        """Write all scores, and the record last.

        Parameters
        ----------
        summary : ScoreSummary
            Of all volumes.
        tables : mapping of str to DataFrame
            Scores of each volume.
        truths : mapping of str to str
            Address of the truth of each volume.
        sweeps : Sweeps
            Of all volumes.
        rule : ScoreRule
            What counted as found.
        query : PicksQuery
            What was scored, for the files in Octopi's layout.
        """
        classes = rule.classes or tuple(
            dict.fromkeys(name for t in tables.values() for name in t["class_name"][:-1])
        )
        texts = {
            SCORES: to_csv(join_means(summary)),
            VOLUMES: to_csv(join_volumes(tables)),
            ALL: self._json(summary, tables, truths, sweeps),
            MEANS: to_csv(summary.averages),
            AVERAGES: average_metrics(summary, rule, query, classes),
            METRICS: run_metrics(tables, rule, query, classes),
            ROWS: metrics_table(tables, rule, classes),
        }
        if not sweeps.table.empty:
            texts[SWEEP] = to_csv(sweeps.table)
        pictures = {}
        if sweeps.curves:
            pictures[CURVE] = _draw(sweeps, rule)
        for name in {SWEEP, CURVE} - {*texts, *pictures}:
            remove(self.folder / name)  # of an earlier run, which had other settings
        write_texts({self.folder / name: text for name, text in texts.items()})
        for name, picture in pictures.items():
            write_bytes(self.folder / name, picture)
        self._picks.replace(self.folder / PICKS)
        status: Literal["done", "failed"] = "done"
        if any(entry.status == "failed" for entry in self._entries):
            status = "failed"
        self._record.finish(status)
        written = {*texts, *pictures, PICKS}
        return (*(self.folder / name for name in NAMES if name in written), self._record.path)

    def _json(
        self,
        summary: ScoreSummary,
        tables: Mapping[str, pd.DataFrame],
        truths: Mapping[str, str],
        sweeps: Sweeps,
    ) -> str:
        volumes = {
            entry.name: {
                "predicted": entry.input or None,
                "truth": truths[entry.name],
                "status": entry.status,
                **({"error": entry.error} if entry.error else {}),
                **({"scores": to_json(tables[entry.name])} if entry.name in tables else {}),
            }
            for entry in self._entries
        }
        weighted = summary.weighted_fbeta
        content = {
            **self._facts,
            "versions": versions(),
            "scores": _plain(summary.scores),
            "means": _plain(summary.means),
            "weighted_fbeta": None if pd.isna(weighted) else weighted,
            "averages": {
                str(row.pop("average")): {k: None if pd.isna(v) else v for k, v in row.items()}
                for row in summary.averages.to_dict("records")
            },
            **({"sweep": sweeps.facts()} if sweeps.curves else {}),
            "volumes": volumes,
        }
        return json.dumps(content, indent=1, default=str, allow_nan=False) + "\n"


def _draw(sweeps: Sweeps, rule: ScoreRule) -> bytes:
    """Draw precision against recall; matplotlib takes half a second, so that it waits."""
    from volproc.report.precision_recall import draw_precision_recall

    limit = f"{rule.distance_fraction:g} radii" if rule.distance is None else f"{rule.distance:g} Å"
    title = f"{rule.matching}, at most {limit}"
    return draw_precision_recall(sweeps.curves, beta=rule.beta, title=title)


def join_means(summary: ScoreSummary) -> pd.DataFrame:
    """Scores and means in one table, a row a class."""
    if summary.scores.empty:
        return summary.scores
    return summary.scores.merge(summary.means, on="class_name", how="left")


def join_volumes(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Scores of all volumes in one table, a row a volume and class."""
    if not tables:
        return pd.DataFrame()
    parts = [table.assign(volume=name) for name, table in tables.items()]
    joined = pd.concat(parts, ignore_index=True)
    return joined[["volume", *[c for c in joined.columns if c != "volume"]]]


def to_csv(table: pd.DataFrame) -> str:
    """Write a table as text; numbers are read back exactly."""
    return table.to_csv(index=False, lineterminator="\n")


def _plain(table: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Rows by class name; NaN becomes None."""
    if table.empty:
        return {}
    if "tp" in table.columns:
        return to_json(table)
    columns = [f"{c}_{what}" for c in AVERAGED for what in ("mean", "std")]
    return {
        str(row["class_name"]): {
            "num_volumes": int(row["num_volumes"]),
            **{c: None if pd.isna(row[c]) else float(row[c]) for c in columns},
        }
        for row in table.to_dict("records")
    }
