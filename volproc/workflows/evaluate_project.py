"""Picks of a copick project against others of it, as Octopi's users ask for it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from volproc.core.errors import AddressError
from volproc.core.events import Event, Observer, ignore
from volproc.core.points import Points
from volproc.io.copick_address import picks_address
from volproc.io.copick_project import project_objects
from volproc.io.picks_owners import PicksOwners, check_runs, list_owners
from volproc.io.point_inputs import PointFormat, PointReader
from volproc.workflows.dataset_outputs import named
from volproc.workflows.evaluate import Evaluation, score_pairs
from volproc.workflows.evaluate_octopi import PicksQuery
from volproc.workflows.evaluate_pairs import STAGE, Pair, Side
from volproc.workflows.scorer import ScoreRule


@dataclass(frozen=True, slots=True)
class ProjectPicks:
    """Which picks of a project are scored against which.

    Parameters
    ----------
    config : str
        Configuration file of the project.
    truth_user : str
        Whose picks are true.
    truth_session : str
        Session of that user; by default, for each object of each run, the first there is.
    user, session : str
        Whose picks are scored.
    runs : tuple of str
        The only runs; all of the project where it is empty.
    """

    config: str
    truth_user: str
    truth_session: str | None = None
    user: str = "octopi"
    session: str = "1"
    runs: tuple[str, ...] = ()


def evaluate_project(
    picks: ProjectPicks,
    *,
    rule: ScoreRule | None = None,
    output: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    observe: Observer = ignore,
) -> Evaluation:
    """Score picks of a project against others of it, run by run.

    Parameters
    ----------
    picks : ProjectPicks
        Which ones.
    rule : ScoreRule
        What counts as found; by default one to one, within 0.8 of the radius.
    output, overwrite, observe
        As in `volproc.workflows.evaluate.evaluate`. Notes say which session was true where none
        was given, and in which runs a side is empty.

    Returns
    -------
    evaluation : Evaluation
        Every run that was asked for is in it. Where a run has no true picks, all that was
        predicted is false; where it has no predicted ones, all is missed.

    Raises
    ------
    MissingFileError, ConfigError
        If there is no such project, or an object that is scored has no radius or is unknown.
    AddressError
        If a run is not in the project, or no run has picks of the user and session.

    Notes
    -----
    Octopi's ``evaluate`` takes the same runs and counts the same points as empty. It ends with
    ``TypeError`` for an object without a radius, and with ``AttributeError`` for an unknown run.
    """
    check_runs(picks.config, picks.runs)
    owners = list_owners(picks.config)
    if not owners.runs:
        msg = f"{picks.config} has no runs. Give a project with picks."
        raise AddressError(msg)
    owners.check(picks.truth_user, picks.truth_session, picks.config)
    owners.check(picks.user, picks.session, picks.config)
    runs = dict.fromkeys(picks.runs) or tuple(owners.runs)
    objects = set(project_objects(picks.config))
    pairs = [_pair(run, picks, owners, objects) for run in runs]
    _tell(pairs, picks, owners, objects, observe)
    query = PicksQuery(
        picks.config, picks.truth_user, picks.truth_session, picks.user, picks.session, picks.runs
    )
    return score_pairs(
        pairs,
        (PointReader(PointFormat()), PointReader(PointFormat())),
        replace(rule or ScoreRule(), project=picks.config),
        settings={**query.values(), "runs": sorted(picks.runs)},
        query=query,
        output=output,
        overwrite=overwrite,
        observe=observe,
    )


def _pair(run: str, picks: ProjectPicks, owners: PicksOwners, objects: Collection[str]) -> Pair:
    """Truth and prediction of one run."""
    truth = owners.sessions(run, picks.truth_user, picks.truth_session)
    found = owners.sessions(run, picks.user, picks.session)
    return Pair(
        run,
        _side(run, picks.config, picks.user, found, objects),
        _side(run, picks.config, picks.truth_user, truth, objects),
    )


def _side(
    run: str, config: str, user: str, sessions: dict[str, str], objects: Collection[str]
) -> Side:
    """Picks of a user in a run: those of each object in its session."""
    known = {name: session for name, session in sessions.items() if name in objects}
    different = sorted(set(known.values()))
    if not different:
        nowhere = Points.from_zyx([], class_name="", voxel_size=(1.0,) * 3, shape=(), name=run)
        return Side(f"{config}:{run}/:{user}", points=nowhere)
    address = picks_address(Path(config), run, user=user, session=different[0])
    parts = tuple(
        picks_address(Path(config), run, user=user, session=session, object_name=name)
        for name, session in sorted(known.items())
    )
    return Side(address, parts=parts if len(different) > 1 else ())


def _tell(
    pairs: list[Pair],
    picks: ProjectPicks,
    owners: PicksOwners,
    objects: Collection[str],
    observe: Observer,
) -> None:
    """Say what was chosen, and where a side is empty."""
    if picks.truth_session is None:
        taken = Counter(
            session
            for pair in pairs
            for name, session in owners.sessions(pair.name, picks.truth_user).items()
            if name in objects
        )
        said = ", ".join(f"{session} ({n} sets of picks)" for session, n in sorted(taken.items()))
        if said:
            text = f"true are the first picks of {picks.truth_user}: of session {said}"
            observe(Event("note", STAGE, text=text))
    lacks = {
        pair.name: tuple(
            side is not None and side.points is not None for side in (pair.truth, pair.predicted)
        )
        for pair in pairs
    }
    for what, empty in (
        ("no truth, all that is predicted is false", (True, False)),
        ("nothing is predicted, all is missed", (False, True)),
        ("neither truth nor prediction", (True, True)),
    ):
        names = [name for name, one in lacks.items() if one == empty]
        if names:
            observe(Event("note", STAGE, text=f"{what}: {named(names)}"))
