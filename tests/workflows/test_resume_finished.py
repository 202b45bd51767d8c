"""Segmentations that are finished: recognised when asked, never taken for another's."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from volproc.core.errors import ExistsError, ResumeError
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.workflows.record import record_path
from volproc.workflows.segment import SegmentTask, segment


@pytest.fixture
def finished(make_task) -> SegmentTask:
    """A task that is done, with resume."""
    task = make_task(probabilities="uint8")
    segment(task)
    return replace(task, resume=True)


@pytest.mark.parametrize("name", ["classes.zarr", "classes.mrc", "classes.h5"])
def test_a_finished_output_is_recognised_however_it_was_cut(
    tmp_path, make_task, listing, name
) -> None:
    task = make_task(output=str(tmp_path / name), resume=True)
    assert not segment(task).was_finished
    before, events = listing(), list[Event]()
    report = segment(replace(task, chunks=(9, 13, 11)), observe=events.append)
    assert report.was_finished
    assert (report.output, report.record) == (task.output, record_path(task.output))
    assert not any(e.kind == "block" for e in events)
    assert listing() == before


def test_without_resume_a_finished_output_is_refused(finished, listing) -> None:
    before = listing()
    with pytest.raises(ExistsError, match=r"classes\.zarr exists"):
        segment(replace(finished, resume=False))
    assert listing() == before


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"settings": Settings(overlap=0.25)}, r"settings\.overlap was 0\.5, is 0\.25"),
        ({"probabilities": "none"}, "stored_probabilities was 'uint8', is 'none'"),
        ({"voxel_size": 12.0}, "voxel_size_angstrom was"),
    ],
)
def test_an_output_that_was_made_otherwise_is_no_result(finished, listing, change, said) -> None:
    before = listing()
    with pytest.raises(ResumeError, match=rf"{said}.*--overwrite"):
        segment(replace(finished, **change))
    assert listing() == before


def test_an_output_of_an_input_that_has_changed_is_no_result(finished, tmp_path) -> None:
    np.save(tmp_path / "noise.npy", np.zeros((9, 13, 11), np.float32))
    with pytest.raises(ResumeError, match="input was"):
        segment(replace(finished, address=str(tmp_path / "noise.npy")))


def test_an_output_without_its_record_is_foreign(finished) -> None:
    record_path(finished.output).unlink()
    with pytest.raises(ExistsError, match="exists"):
        segment(finished)


def test_a_record_without_its_output_proves_nothing(finished, check_outputs) -> None:
    shutil.rmtree(finished.output)
    shutil.rmtree(finished.probabilities_address)
    report = segment(finished)
    assert not report.was_finished
    assert report.num_skipped == 0


def test_probabilities_that_are_gone_are_not_taken_for_done(finished) -> None:
    shutil.rmtree(finished.probabilities_address)
    with pytest.raises(ExistsError, match=r"classes\.zarr exists"):
        segment(finished)
