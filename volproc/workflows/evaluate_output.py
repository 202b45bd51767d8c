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
from volproc.workflows.record import versions

MADE_BY = "volproc evaluate"

SCORES, VOLUMES, ALL = "scores.csv", "volumes.csv", "scores.json"
"""A row a class; a row a class and volume; both with settings and versions."""


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
        taken = [name for name in (SCORES, VOLUMES, ALL) if (folder / name).exists()]
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

    def note(self, number: int) -> None:
        """Note what became of a volume."""
        entry = self._entries[number]
        self._record.end(number, entry.status, seconds=entry.seconds, error=entry.error)

    def stop(self) -> None:
        """Leave a true record of a run that did not end, where the disk lets us."""
        with suppress(OSError):  # what ended the run is what has to be said
            self._record.finish("interrupted")

    def finish(
        self,
        summary: ScoreSummary,
        tables: Mapping[str, pd.DataFrame],
        truths: Mapping[str, str],
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
        """
        texts = {
            self.folder / SCORES: to_csv(join_means(summary)),
            self.folder / VOLUMES: to_csv(join_volumes(tables)),
            self.folder / ALL: self._json(summary, tables, truths),
        }
        write_texts(texts)
        status: Literal["done", "failed"] = "done"
        if any(entry.status == "failed" for entry in self._entries):
            status = "failed"
        self._record.finish(status)
        return (*texts, self._record.path)

    def _json(
        self,
        summary: ScoreSummary,
        tables: Mapping[str, pd.DataFrame],
        truths: Mapping[str, str],
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
            "volumes": volumes,
        }
        return json.dumps(content, indent=1, default=str, allow_nan=False) + "\n"


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
