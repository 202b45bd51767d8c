"""Tomograms in turn: one that fails is noted, a cluster that goes away ends the run."""

from __future__ import annotations

import pytest

from volproc.core.errors import ClusterLostError
from volproc.core.events import Event, Observer
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram


def entries() -> list[Entry]:
    return [Entry(name, f"{name}.mrc", f"{name}.h5") for name in "abc"]


def test_a_failure_is_noted_and_what_is_done_stays() -> None:
    seen: list[Event] = []
    done: list[str] = []

    def work(entry: Entry, watch: Observer) -> None:
        watch(Event("note", "work", text="begins"))
        if entry.name == "b":
            raise ValueError("no")
        done.append(entry.name)

    tomograms = entries()
    tomograms[0].status = "skipped"
    do_each_tomogram(tomograms, work, stage="work", observe=seen.append)
    assert [one.status for one in tomograms] == ["skipped", "failed", "done"]
    assert tomograms[1].error == "ValueError: no"
    assert done == ["c"]
    kinds = [(event.kind, event.volume) for event in seen]
    assert kinds == [
        ("dataset", ""), ("tomogram", "a"), ("note", "b"), ("tomogram", "b"), ("note", "c"),
        ("tomogram", "c"), ("done", ""),
    ]  # fmt: skip


def test_a_lost_cluster_ends_the_run() -> None:
    def work(entry: Entry, watch: Observer) -> None:
        raise ClusterLostError("gone")

    tomograms = entries()
    with pytest.raises(ClusterLostError, match="gone"):
        do_each_tomogram(tomograms, work, stage="work", observe=lambda event: None)
    assert [one.status for one in tomograms] == ["pending"] * 3
