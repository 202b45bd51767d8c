"""Events as lines of JSON."""

import json
from pathlib import Path

import numpy as np
import pytest

from volproc.cli.event_log import log_events
from volproc.cli.main import run
from volproc.core.errors import AddressError, ClusterError
from volproc.core.events import Event


def read_lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_event_is_one_line_with_its_time(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with log_events(str(path)) as observe:
        observe(Event("stage", "predict", total=2))
        facts = {"time_s": 1.5, "bytes_read": np.int64(7), "loss": float("nan")}
        observe(Event("block", "predict", facts=facts, block=(0, 1, 2), volume="TS_1"))
        observe(Event("note", "predict", text='a "quoted"\nnote'))
    begun, stage, block, note, end = read_lines(path)
    assert begun["kind"] == "run"
    assert begun["version"]
    assert str(begun["command"]).startswith("volproc")
    assert (stage["kind"], stage["stage"], stage["total"]) == ("stage", "predict", 2)
    assert block["block"] == [0, 1, 2]
    assert block["seconds"] == 1.5
    assert block["volume"] == "TS_1"
    assert block["facts"] == {"bytes_read": 7, "loss": None}
    assert note["text"] == 'a "quoted"\nnote'
    assert (end["kind"], end["status"]) == ("end", "done")
    times = [str(line["time"]) for line in (begun, stage, block, note, end)]
    assert times == sorted(times)
    assert times[0].endswith("+00:00")


def test_a_second_run_adds_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for _ in range(2):
        with log_events(str(path)):
            pass
    assert [line["kind"] for line in read_lines(path)] == ["run", "end", "run", "end"]


def test_what_failed_is_the_last_line(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    error = ClusterError("no workers, got none. Start some.")
    error.add_note("in block (0, 0, 1) of predict")
    with pytest.raises(ClusterError), log_events(str(path)):
        raise error
    with pytest.raises(KeyboardInterrupt), log_events(str(path)):
        raise KeyboardInterrupt
    _, failed, _, interrupted = read_lines(path)
    assert failed["status"] == "failed"
    assert failed["error"] == "ClusterError"
    assert failed["text"] == str(error)
    assert failed["notes"] == ["in block (0, 0, 1) of predict"]
    assert interrupted["status"] == "interrupted"


def test_a_run_of_which_a_volume_failed_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    with log_events(str(path)) as observe:
        for name, status in (("TS_1", "done"), ("TS_2", "failed")):
            observe(Event("tomogram", "segment", volume=name, facts={"status": status}, text="x"))
    end = read_lines(path)[-1]
    assert (end["status"], end["text"]) == ("failed", "1 volume failed")


def test_a_log_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    for path in (tmp_path / "missing" / "log.jsonl", tmp_path):
        log = log_events(str(path))
        with pytest.raises(AddressError, match="--log-json a file in a folder"), log:
            pytest.fail("the work began")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_ends_the_log_and_not_the_run(caplog: pytest.LogCaptureFixture) -> None:
    with log_events("/dev/full") as observe:
        observe(Event("stage", "predict"))
        observe(Event("done", "predict"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "/dev/full cannot be written any more: " in caplog.text


def test_on_stdout_the_log_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("noise.npy", np.zeros((4, 5, 6), np.float32))
    assert run(["convert", "noise.npy", "copy.zarr", "-vs", "10", "--log-json", "-", "-q"]) == 0
    captured = capsys.readouterr()
    kinds = [json.loads(line)["kind"] for line in captured.out.splitlines()]
    assert kinds == ["run", "stage", "block", "done", "end"]
    assert "copy.zarr" in captured.err


def test_without_a_log_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with log_events(None) as observe:
        observe(Event("stage", "predict"))
    assert capsys.readouterr().out == ""
