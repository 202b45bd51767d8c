"""Bars and lines from events, with a clock that the test turns."""

import io
from collections.abc import Iterator
from dataclasses import replace

import pytest
from rich.console import Console

from volproc.cli.progress import Lines, bars, show_progress
from volproc.cli.stages import Stages
from volproc.core.events import Event


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def work(clock: Clock, *, total: int, skipped: int, seconds: float) -> Iterator[Event]:
    yield Event("stage", "predict", total=total)
    for _ in range(skipped):
        yield Event("skip", "predict")
    for _ in range(total - skipped):
        clock.now += seconds
        yield Event("block", "predict")
    yield Event("done", "predict")


def test_lines_come_at_tenths_with_rate_and_time_left() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    for event in work(clock, total=40, skipped=0, seconds=0.5):
        observe(event)
    assert len(lines) == 10
    assert lines[0] == "predict: 4/40, 2.0/s, 18 s left"
    assert lines[-1] == "predict: 40/40, 2.0/s, 20 s in all"


def test_blocks_done_before_count_but_not_into_the_rate() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    for event in work(clock, total=20, skipped=10, seconds=4.0):
        observe(event)
    assert lines[0] == "predict: 11/20, 4.0 s each, 36 s left, 10 done before"


def test_a_stage_that_was_done_before_says_so_once() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    for event in work(clock, total=3, skipped=3, seconds=1.0):
        observe(event)
    assert lines == ["predict: 3/3, 3 done before"]


def test_a_quick_stage_is_one_line() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    for event in work(clock, total=10, skipped=0, seconds=0.1):
        observe(event)
    assert lines == ["predict: 10/10, 10.0/s, 1 s in all"]


def test_notes_and_figures_of_epochs_are_shown() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    observe(Event("stage", "train", total=2))
    clock.now = 30.0
    observe(Event("epoch", "train", facts={"loss": 0.51234, "by_class": {}}))
    observe(Event("note", "train", text="12 voxels were not finite"))
    assert lines == ["train: 1/2, 30.0 s each, 30 s left, loss 0.512", "12 voxels were not finite"]


def test_a_stage_of_unknown_length_ends_with_its_count() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    observe(Event("stage", "write"))
    clock.now = 2.0
    for _ in range(8):
        observe(Event("block", "write"))
    observe(Event("done", "write"))
    assert lines == ["write: 8, 4.0/s, 2 s in all"]


def test_bars_show_each_stage_and_text_as_it_is() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with bars(console, clock) as observe:
        for event in work(clock, total=4, skipped=1, seconds=2.0):
            observe(event)
        observe(Event("note", "predict", text="voxels [z] are odd"))
    text = out.getvalue()
    assert "predict" in text
    assert "4/4" in text
    assert "1 done before" in text
    assert "voxels [z] are odd" in text


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress(quiet=True) as observe:
        for event in work(Clock(), total=4, skipped=0, seconds=1.0):
            observe(event)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_without_a_terminal_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with show_progress() as observe:
        for event in work(Clock(), total=1, skipped=0, seconds=1.0):
            observe(event)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("predict: 1/1")


def dataset(clock: Clock, *, num_volumes: int, seconds: float) -> Iterator[Event]:
    """A run over many volumes: the first was done before, the last one fails."""
    yield Event("dataset", "segment", total=num_volumes)
    for number in range(num_volumes):
        name = f"TS_{number}"
        facts = {"status": "done"}
        text = ""
        if number == 0:
            facts = {"status": "skipped"}
        else:
            for event in work(clock, total=4, skipped=0, seconds=seconds / 4):
                yield replace(event, volume=name)
        if number == num_volumes - 1:
            facts, text = {"status": "failed"}, "the file is truncated."
        yield Event("tomogram", "segment", volume=name, facts=facts, text=text)
    yield Event("done", "segment")


def test_a_dataset_is_counted_in_volumes_and_failures_are_named() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    for event in dataset(clock, num_volumes=5, seconds=1.0):
        observe(event)
    failure = lines.index("TS_4 failed: the file is truncated.")
    assert "segment: 3/5, 1.0/s, 2 s left, 1 done before" in lines[:failure]
    assert lines[-1] == "segment: 5/5, 1.0/s, 4 s in all, 1 done before, 1 failed"
    assert [line for line in lines if "predict" in line] == [
        f"TS_{number} predict: 4/4, 4.0/s, 1 s in all" for number in range(1, 5)
    ]


def test_a_stage_that_lasts_long_says_so_between_its_tenths() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    observe(Event("stage", "predict", total=1000))
    for _ in range(20):
        clock.now += 100
        observe(Event("block", "predict"))
    assert len(lines) == 3
    assert lines[0] == "predict: 6/1000, 100.0 s each, 27:36:40 left"


def test_blocks_that_are_tried_again_or_given_up_are_named_and_counted() -> None:
    clock, lines = Clock(), []
    observe = Lines(lines.append, clock)
    observe(Event("stage", "predict", total=2))
    observe(Event("retry", "predict", block=(0, 0, 0), text="its worker died."))
    clock.now = 1.0
    observe(Event("block", "predict", block=(0, 0, 0)))
    observe(Event("failed", "predict", block=(0, 0, 1), text="NaN", volume=""))
    observe(Event("done", "predict"))
    assert lines == [
        "predict block (0, 0, 0): its worker died: it is tried again",
        "predict block (0, 0, 1): NaN: it is given up",
        "predict: 2/2, 2.0/s, 1 s in all, 1 tried again, 1 failed",
    ]


def test_bars_of_ended_volumes_go_and_that_of_the_dataset_stays() -> None:
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with bars(console, clock) as observe:
        for event in dataset(clock, num_volumes=3, seconds=1.0):
            observe(event)
    last = out.getvalue().rpartition("TS_2 failed: the file is truncated.")[2]
    frame = last.split("\x1b[2K")[-1]
    assert "3/3" in frame
    assert "1 failed" in frame
    assert "predict" not in frame


def test_memory_does_not_grow_with_the_dataset() -> None:
    stages = Stages(Clock())
    for number in range(100):
        stages.take(Event("stage", "predict", total=1, volume=f"TS_{number}"))
        status = {"status": "done"}
        stages.take(Event("tomogram", "segment", volume=f"TS_{number}", facts=status))
    assert len(stages._stages) == 1
