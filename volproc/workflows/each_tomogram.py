"""Tomograms one after another, none stopped by another's failure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import perf_counter

from volproc.core.errors import ClusterLostError
from volproc.core.events import Event, Observer, of_volume
from volproc.workflows.dataset import explain
from volproc.workflows.dataset_record import Entry


def do_each_tomogram(
    entries: Iterable[Entry],
    work: Callable[[Entry, Observer], None],
    *,
    stage: str,
    observe: Observer,
) -> None:
    """Do tomograms in turn, and note in their entries what became of them.

    Parameters
    ----------
    entries : iterable of Entry
        The tomograms; those that are ``skipped`` already stay so.
    work : callable
        Does one; it takes its entry and the observer of its events.
    stage : str
        Name of the work, for people.
    observe : callable
        Takes ``dataset``, a ``tomogram`` for each, and ``done``.

    Raises
    ------
    ClusterLostError
        If the cluster goes away: no tomogram is to blame, and none would fare better.
    """
    tomograms = list(entries)
    observe(Event("dataset", stage, total=len(tomograms)))
    for entry in tomograms:
        begin_s = perf_counter()
        if entry.status != "skipped":
            try:
                work(entry, of_volume(observe, entry.name))
                entry.status = "done"
            except ClusterLostError:
                raise
            except Exception as error:  # one of many: it is noted, and the others go on
                entry.status, entry.error = "failed", explain(error)
        entry.seconds = round(perf_counter() - begin_s, 3)
        facts = {"status": entry.status, "time_s": entry.seconds}
        observe(Event("tomogram", stage, text=entry.error, volume=entry.name, facts=facts))
    observe(Event("done", stage))
