"""The state of an unfinished training run, so that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from volproc.core.errors import ExistsError, ResumeError
from volproc.models.weights import save_whole
from volproc.training.settings import TrainingSettings

BEST, LAST, HISTORY, CONFIG = "best.pt", "last-state.pt", "history.csv", "training.json"
OCTOPI = ("model_config.yaml", "best_model.pth")
"""The model as Octopi keeps it, of networks that Octopi has."""

KEY = "volproc_training"


def refuse_run(output: Path) -> None:
    """Refuse a folder with another run in it.

    Raises
    ------
    ExistsError
        If a run is there.
    """
    there = [name for name in (BEST, LAST, *OCTOPI) if (output / name).exists()]
    if there:
        msg = (
            f"{output} holds a training run already ({', '.join(there)}). Go on with it with "
            "resume (--resume), replace it with overwrite (--overwrite), or choose another folder."
        )
        raise ExistsError(msg)


def prepare_folder(output: Path, *, keep: bool) -> None:
    """Make the output folder, and remove an earlier run from it unless it is kept."""
    if not keep:
        for name in (BEST, LAST, HISTORY, CONFIG, *OCTOPI):
            (output / name).unlink(missing_ok=True)
    output.mkdir(parents=True, exist_ok=True)


def write_config(output: Path, settings: TrainingSettings) -> None:
    """Write the resolved settings and the versions beside the checkpoints."""
    values = {
        "settings": settings.to_json(),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }
    _replace_text(output / CONFIG, json.dumps(values, indent=2) + "\n")


def write_history(output: Path, history: list[dict[str, float]]) -> None:
    """Write one row an epoch: loss, score, score of each class, rate and seconds."""
    columns = list(dict.fromkeys(key for row in history for key in row))
    temporary = output / f".{HISTORY}"
    with temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)
    temporary.replace(output / HISTORY)


def write_state(output: Path, settings: TrainingSettings, state: Mapping[str, Any]) -> None:
    """Write all that the next epoch needs."""
    save_whole(output / LAST, {KEY: 1, "settings": _comparable(settings), **state})


def read_state(output: Path, settings: TrainingSettings) -> dict[str, Any] | None:
    """Read the state of an unfinished run.

    Returns
    -------
    state : dict or None
        What `write_state` wrote; None where no epoch was finished.

    Raises
    ------
    ResumeError
        If the run was begun with other settings, or its state is not readable.
    """
    path = output / LAST
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        begun = json.loads(state["settings"])
    except Exception as error:  # torch raises many kinds for a damaged file
        msg = (
            f"{path} is not the state of a training run: {type(error).__name__}. "
            "Begin anew with overwrite (--overwrite)."
        )
        raise ResumeError(msg) from error
    wanted = json.loads(_comparable(settings))
    changed = sorted(k for k in {*begun, *wanted} if begun.get(k) != wanted.get(k))
    if changed:
        what = ", ".join(f"{k} {begun.get(k)} → {wanted.get(k)}" for k in changed[:3])
        msg = (
            f"the run in {output} was begun with other settings: {what}. Resume with the same "
            "settings, or begin anew with overwrite (--overwrite)."
        )
        raise ResumeError(msg)
    return dict(state)


def _comparable(settings: TrainingSettings) -> str:
    """Settings that the result depends on, as text."""
    values = settings.to_json()
    for name in ("device", "memory_bytes"):
        values.pop(name)
    return json.dumps(values, sort_keys=True)


def _replace_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text)
    temporary.replace(path)
