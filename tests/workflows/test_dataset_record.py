"""``run.json``: whole at any time, and not in the way of a large dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from volproc.core.errors import ExistsError, ResumeError
from volproc.workflows import dataset_record
from volproc.workflows.dataset_record import (
    Entry,
    RunRecord,
    goes_on,
    keep_aside,
    read_run,
    shares_outputs,
)

FACTS = {"made_by": "volproc segment semantic", "settings": {"overlap": 0.5, "chunks": None}}


def make_record(path: Path, number: int = 3) -> RunRecord:
    entries = [Entry(f"TS_{n}", f"{n}.mrc", f"{n}.zarr") for n in range(number)]
    return RunRecord(path, FACTS, entries)


def test_a_record_follows_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_record, "PAUSE_S", 0.0)
    monkeypatch.setattr(dataset_record, "PAUSE_TIMES", 0)
    path = tmp_path / "run.json"
    record = make_record(path)
    record.begin()
    assert read_run(path)["counts"] == {
        "total": 3, "done": 0, "skipped": 0, "failed": 0, "pending": 3
    }  # fmt: skip
    assert 0 < read_run(path)["begun_ns"] <= path.stat().st_mtime_ns
    record.end(1, "failed", seconds=1.23456, error="no")
    found = read_run(path)
    assert found["status"] == "running"
    assert found["tomograms"][1] == {
        "name": "TS_1", "input": str(Path("1.mrc").absolute()),
        "output": str(Path("1.zarr").absolute()), "status": "failed", "seconds": 1.235,
        "error": "no",
    }  # fmt: skip
    record.finish("failed")
    assert read_run(path)["status"] == "failed"
    assert [p.name for p in tmp_path.iterdir()] == ["run.json"]


def test_a_large_dataset_does_not_spend_its_time_on_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr(dataset_record, "PAUSE_S", 3600.0)
    original = dataset_record.write_bytes
    monkeypatch.setattr(
        dataset_record, "write_bytes", lambda p, data: written.append(data) or original(p, data)
    )
    record = make_record(tmp_path / "run.json", 500)
    record.begin()
    for number in range(500):
        record.end(number, "done")
    assert len(written) == 2
    record.finish("done")
    assert json.loads(written[-1])["counts"]["done"] == 500


def test_the_beginning_is_kept_when_a_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    record = make_record(path)
    record.begin(123)
    assert (record.begun_ns, read_run(path)["begun_ns"]) == (123, 123)


@pytest.mark.parametrize("content", ["", "[]", '{"status": "done"}', "\x00"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ExistsError, match="none of volproc's"):
        read_run(tmp_path / "run.json")
    assert read_run(tmp_path / "none.json") == {}


@pytest.mark.parametrize("status", ["running", "interrupted", "failed"])
def test_only_an_unfinished_run_of_the_same_work_goes_on(status: str) -> None:
    before = {**FACTS, "status": status, "begun_ns": 1, "tomograms": []}
    other = {**FACTS, "settings": {"overlap": 0.25, "chunks": None}}
    assert goes_on(before, FACTS, overwrite=False)
    assert not goes_on({**before, "status": "done"}, other, overwrite=False)
    assert not goes_on({**before, "made_by": "volproc localize"}, other, overwrite=False)
    assert not goes_on({}, FACTS, overwrite=False)
    assert not goes_on(before, other, overwrite=True)
    with pytest.raises(ResumeError, match=r"settings: overlap was 0\.5, is 0\.25\. Use"):
        goes_on(before, other, overwrite=False)


def test_records_of_other_volumes_are_kept_under_their_time(tmp_path: Path) -> None:
    names = []
    for _ in range(2):
        path = tmp_path / "run.json"
        path.write_text("{}")
        names.append(keep_aside(path, {"begun_ns": 10**18}).name)
    assert names[0].startswith("run-2001")
    assert names[1] == names[0].replace(".json", "-2.json")
    assert not (tmp_path / "run.json").exists()


def test_shared_outputs_are_found_by_their_place() -> None:
    entries = [Entry("a", "a.mrc", "out/a.zarr"), Entry("b", "b.mrc", "out/b.zarr")]
    before = {"tomograms": [{"output": "./out/a.zarr"}]}
    assert shares_outputs(before, entries) == (True, True)
    assert shares_outputs(before, entries[1:]) == (False, False)
    assert shares_outputs({"tomograms": []}, entries) == (False, True)
