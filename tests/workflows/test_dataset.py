"""Many volumes: none stops the others, nothing is done twice, the record is true."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volproc.core.errors import ConfigError, ExistsError, ModelError, ResumeError
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.io.open import open_
from volproc.models.loading import read_spec, read_weights, save_model
from volproc.workflows import segment as segment_module
from volproc.workflows.dataset import DatasetReport, run_dataset
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.picking import pick
from volproc.workflows.record import record_path, work_path
from volproc.workflows.segment import SegmentTask, segment

SHAPE = (9, 13, 11)


class Breaks:
    """Makes the work stop, as a kill would, before one volume; counts those that were begun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: str = "") -> None:
        self.begun: list[str] = []
        self.before = before

        def watched(task: SegmentTask, **how: Any) -> Any:
            if self.before and self.before in task.address:
                raise KeyboardInterrupt
            report = segment(task, **how)
            if not report.was_finished:
                self.begun.append(Path(task.address).stem)
            return report

        monkeypatch.setattr(segment_module, "segment", watched)


@pytest.fixture
def tasks(tmp_path: Path, model: str) -> list[SegmentTask]:
    """Five volumes of distinct voxels."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    found = []
    for number in range(5):
        path = tmp_path / "in" / f"TS_{number}.npy"
        np.save(path, np.random.default_rng(number).normal(40, 9, SHAPE).astype(np.float32))
        output = str(tmp_path / "out" / f"TS_{number}.zarr")
        settings = Settings(overlap=0.5)
        found.append(SegmentTask(str(path), output, model, settings, 10.0, chunks=SHAPE))
    return found


@pytest.fixture
def expected(tasks: list[SegmentTask], tmp_path: Path) -> list[np.ndarray]:
    """Class maps of undisturbed runs, one by one."""
    (tmp_path / "alone").mkdir()
    maps = []
    for task in tasks:
        report = segment(replace(task, output=str(tmp_path / "alone" / Path(task.output).name)))
        maps.append(open_(report.output).data.compute())
    return maps


def read_json(report: DatasetReport) -> dict[str, Any]:
    return json.loads(report.record.read_text())


def statuses(report: DatasetReport) -> list[str]:
    assert [e["status"] for e in read_json(report)["tomograms"]] == [
        e.status for e in report.entries
    ]
    return [entry.status for entry in report.entries]


def test_all_volumes_are_done_and_the_record_says_so(tasks, expected, tmp_path) -> None:
    events: list[Event] = []
    report = run_dataset(tasks, observe=events.append)
    assert statuses(report) == ["done"] * 5
    assert report.record == tmp_path / "out" / "run.json"
    for task, voxels in zip(tasks, expected, strict=True):
        np.testing.assert_array_equal(open_(task.output).data.compute(), voxels)
    found = read_json(report)
    assert found["made_by"] == "volproc segment semantic"
    assert found["status"] == "done"
    assert found["counts"] == {"total": 5, "done": 5, "skipped": 0, "failed": 0, "pending": 0}
    assert found["settings"]["model_sha256"] == read_spec(tasks[0].model).sha256
    assert found["settings"]["settings"]["overlap"] == 0.5
    assert found["versions"]["numpy"] == np.__version__
    assert found["tomograms"][1]["name"] == "TS_1"
    assert found["tomograms"][1]["seconds"] > 0
    assert [(e.kind, e.total) for e in events if e.kind == "dataset"] == [("dataset", 5)]
    ended = [e for e in events if e.kind == "tomogram"]
    assert [(e.volume, e.facts["status"]) for e in ended] == [(f"TS_{n}", "done") for n in range(5)]
    assert {e.volume for e in events if e.kind == "block"} == {f"TS_{n}" for n in range(5)}


def break_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def break_nan(path: Path) -> None:
    voxels = np.load(path)
    voxels[3, 4, 5] = np.nan
    np.save(path, voxels)


def break_shape(path: Path) -> None:
    np.save(path, np.zeros((3, 4, 5, 6, 7), np.float32))


def break_small(path: Path) -> None:
    np.save(path, np.zeros((2, 3, 3), np.float32))


def break_missing(path: Path) -> None:
    path.unlink()


def break_garbage(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY\x01\x00garbage")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_truncated, "TS_2"),
        (break_nan, "1 NaN"),
        (break_shape, "TS_2"),
        (break_small, "patch"),
        (break_missing, "does not exist"),
        (break_garbage, "TS_2"),
    ],
)
def test_a_broken_volume_fails_alone_and_is_named(
    tasks, tmp_path, damage: Callable[[Path], None], said: str
) -> None:
    damage(Path(tasks[2].address))
    events: list[Event] = []
    report = run_dataset(tasks, observe=events.append)
    assert statuses(report) == ["done", "done", "failed", "done", "done"]
    assert said in report.entries[2].error
    assert report.counts["failed"] == 1
    assert read_json(report)["status"] == "failed"
    assert read_json(report)["tomograms"][2]["error"] == report.entries[2].error
    assert not Path(tasks[2].output).exists()
    (failed,) = [e for e in events if e.facts.get("status") == "failed"]
    assert (failed.volume, failed.text) == ("TS_2", report.entries[2].error)


def test_a_missing_voxel_size_fails_one_volume(tasks, model, tmp_path) -> None:
    report = run_dataset([tasks[0], replace(tasks[1], voxel_size=None), tasks[2]])
    assert statuses(report) == ["done", "failed", "done"]
    assert "--voxel-size" in report.entries[1].error
    assert read_json(report)["settings"]["voxel_size"] == "varies"


def test_an_error_nobody_foresaw_fails_one_volume(tasks, monkeypatch) -> None:
    def odd(task: SegmentTask, **how: Any) -> Any:
        if "TS_1" in task.address:
            raise ZeroDivisionError("odd")
        return segment(task, **how)

    monkeypatch.setattr(segment_module, "segment", odd)
    report = run_dataset(tasks[:3])
    assert statuses(report) == ["done", "failed", "done"]
    assert report.entries[1].error == "ZeroDivisionError: odd"


def test_a_mended_volume_is_done_by_the_same_call_and_nothing_else_is(
    tasks, monkeypatch, expected
) -> None:
    path = Path(tasks[2].address)
    whole = path.read_bytes()
    break_truncated(path)
    run_dataset(tasks)
    path.write_bytes(whole)
    breaks = Breaks(monkeypatch)
    report = run_dataset(tasks)
    assert statuses(report) == ["skipped", "skipped", "done", "skipped", "skipped"]
    assert breaks.begun == ["TS_2"]
    assert read_json(report)["status"] == "done"
    np.testing.assert_array_equal(open_(tasks[2].output).data.compute(), expected[2])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_was_broken_off_goes_on_by_itself(
    tasks, monkeypatch, expected, overwrite: bool
) -> None:
    if overwrite:  # what an older run left is no result of this one
        run_dataset([replace(task, settings=Settings(overlap=0.25)) for task in tasks])
        tasks = [replace(task, overwrite=True) for task in tasks]
    breaks = Breaks(monkeypatch, before="TS_3")
    with pytest.raises(KeyboardInterrupt):
        run_dataset(tasks)
    found = json.loads((Path(tasks[0].output).parent / "run.json").read_text())
    assert found["status"] == "interrupted"
    assert [e["status"] for e in found["tomograms"]] == ["done"] * 3 + ["pending"] * 2
    breaks.before = ""
    report = run_dataset(tasks)
    assert statuses(report) == ["skipped"] * 3 + ["done"] * 2
    assert breaks.begun == [f"TS_{n}" for n in range(5)], "each once"
    for task, voxels in zip(tasks, expected, strict=True):
        np.testing.assert_array_equal(open_(task.output).data.compute(), voxels)


def test_overwriting_does_finished_volumes_again(tasks, monkeypatch) -> None:
    run_dataset(tasks)
    breaks = Breaks(monkeypatch)
    report = run_dataset([replace(task, overwrite=True) for task in tasks])
    assert statuses(report) == ["done"] * 5
    assert len(breaks.begun) == 5


def test_outputs_that_exist_are_refused_before_any_work_and_counted(
    tasks, listing, monkeypatch
) -> None:
    run_dataset(tasks[:3])
    before = listing()
    breaks = Breaks(monkeypatch)
    with pytest.raises(ExistsError, match=r"3 outputs exist: .*TS_0.*TS_2.*--resume.*--overwrite"):
        run_dataset(tasks)
    assert listing() == before
    assert not breaks.begun


def test_with_resume_finished_volumes_are_skipped_and_new_ones_done(tasks, monkeypatch) -> None:
    run_dataset(tasks[:3])
    breaks = Breaks(monkeypatch)
    report = run_dataset(tasks, resume=True)
    assert statuses(report) == ["skipped"] * 3 + ["done"] * 2
    assert breaks.begun == ["TS_3", "TS_4"]
    assert statuses(run_dataset(tasks, resume=True)) == ["skipped"] * 5


@pytest.mark.parametrize("is_finished", [True, False])
def test_other_settings_are_refused_and_named(
    tasks, listing, monkeypatch, is_finished: bool
) -> None:
    with monkeypatch.context() as patch:
        Breaks(patch, before="" if is_finished else "TS_3")
        try:
            run_dataset(tasks)
        except KeyboardInterrupt:
            assert not is_finished
    before = listing()
    others = [replace(task, settings=Settings(overlap=0.25)) for task in tasks]
    with pytest.raises(ResumeError, match=r"settings\.overlap was 0\.5, is 0\.25\. .*--overwrite"):
        run_dataset(others, resume=True)
    with pytest.raises(ResumeError, match=r"voxel_size"):
        run_dataset([replace(task, voxel_size=12.0) for task in tasks], resume=True)
    assert listing() == before


def test_another_model_is_refused(tasks, model, tmp_path, listing) -> None:
    run_dataset(tasks)
    spec, weights = read_spec(model), read_weights(model)
    weights["head.bias"] += 1
    save_model(tmp_path / "other.pt", spec, weights)
    before = listing()
    with pytest.raises(ResumeError, match="model_sha256 was"):
        run_dataset([replace(t, model=str(tmp_path / "other.pt")) for t in tasks], resume=True)
    assert listing() == before


def test_a_model_that_changes_during_the_run_makes_no_mixture(tasks, model, tmp_path) -> None:
    spec, weights = read_spec(model), read_weights(model)
    path = tmp_path / "mine.pt"
    save_model(path, spec, weights)

    def change(event: Event) -> None:
        if event.kind == "tomogram" and event.volume == "TS_1":
            weights["head.bias"] += 1
            save_model(path, spec, weights)

    report = run_dataset([replace(t, model=str(path)) for t in tasks], observe=change)
    assert statuses(report) == ["done", "done", "failed", "failed", "failed"]
    assert "has changed since the run began" in report.entries[2].error


def test_an_input_that_has_changed_is_not_taken_for_done(tasks) -> None:
    run_dataset(tasks)
    np.save(tasks[1].address, np.random.default_rng(9).normal(size=SHAPE).astype(np.float32))
    report = run_dataset(tasks, resume=True)
    assert statuses(report) == ["skipped", "failed", "skipped", "skipped", "skipped"]
    assert "input was" in report.entries[1].error


def test_a_foreign_output_is_no_result(tasks, monkeypatch) -> None:
    Path(tasks[1].output).mkdir()
    with pytest.raises(ExistsError, match=r"TS_1\.zarr exists"):
        run_dataset(tasks, resume=True)


def test_another_dataset_in_the_same_folder_keeps_the_record_of_the_first(tasks, tmp_path) -> None:
    run_dataset(tasks[:2])
    report = run_dataset(tasks[2:])
    assert statuses(report) == ["done"] * 3
    kept = list((tmp_path / "out").glob("run-*.json"))
    assert len(kept) == 1
    assert len(json.loads(kept[0].read_text())["tomograms"]) == 2


def test_a_run_json_of_somebody_else_is_left_alone(tasks, tmp_path) -> None:
    path = tmp_path / "out" / "run.json"
    path.write_text('{"mine": 1}')
    with pytest.raises(ExistsError, match="none of volproc's"):
        run_dataset(tasks)
    assert path.read_text() == '{"mine": 1}'


def test_outputs_among_the_inputs_are_left_out(tasks, model) -> None:
    made = replace(tasks[1], address=tasks[0].output, output=tasks[0].output + "2.zarr")
    events: list[Event] = []
    report = run_dataset([tasks[0], made], observe=events.append)
    assert [entry.name for entry in report.entries] == ["TS_0"]
    (note,) = [e.text for e in events if e.stage == "segment semantic" and e.kind == "note"]
    assert note.startswith("left out, since they are outputs")


def test_two_outputs_of_one_name_are_refused(tasks, listing) -> None:
    before = listing()
    with pytest.raises(ConfigError, match=r"TS_0\.npy and .*TS_1\.npy would both be written"):
        run_dataset([tasks[0], replace(tasks[1], output=tasks[0].output)])
    with pytest.raises(ConfigError, match="at least one volume"):
        run_dataset([])
    with pytest.raises(ConfigError, match="one kind of work"):
        run_dataset([tasks[0], LocalizeTask(tasks[1].address, "a.csv")])
    with pytest.raises(ConfigError, match="have no output"):
        run_dataset([replace(tasks[0], output="")])
    assert listing() == before


def test_a_model_that_is_none_ends_the_run_at_once(tasks, tmp_path, listing) -> None:
    (tmp_path / "bad.pt").write_bytes(b"bad")
    before = listing()
    with pytest.raises(ModelError, match="not a model file"):
        run_dataset([replace(task, model=str(tmp_path / "bad.pt")) for task in tasks])
    assert listing() == before


def test_a_record_that_cannot_be_written_stops_no_volume(tasks, monkeypatch) -> None:
    from volproc.workflows import dataset_record

    write, num_calls = dataset_record.write_bytes, 0

    def full(path: Path, data: bytes) -> int:
        nonlocal num_calls
        num_calls += 1
        if num_calls > 2:
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(dataset_record, "write_bytes", full)
    monkeypatch.setattr(dataset_record, "PAUSE_S", 0.0)
    monkeypatch.setattr(dataset_record, "PAUSE_TIMES", 0)
    report = run_dataset(tasks[:2])
    assert [entry.status for entry in report.entries] == ["done", "done"]
    assert "No space left on device. Make room" in report.problem


@pytest.fixture
def maps(tmp_path: Path) -> list[LocalizeTask]:
    """Three class maps with a ball each."""
    z, y, x = np.ogrid[:20, :24, :28]
    found = []
    for number in range(3):
        ball = (z - 9) ** 2 + (y - 11) ** 2 + (x - 10 - number) ** 2 <= 16
        path = tmp_path / f"TS_{number}_classes.npy"
        np.save(path, ball.astype(np.uint8))
        output = str(tmp_path / "picks" / f"TS_{number}.csv")
        found.append(LocalizeTask(str(path), output, {"ball": 40.0}, {"ball": 1}, voxel_size=10.0))
    return found


def test_picks_of_many_maps_are_made_and_recognised(maps, listing) -> None:
    Path(maps[1].address).write_bytes(b"broken")
    report = run_dataset(maps)
    assert statuses(report) == ["done", "failed", "done"]
    assert json.loads(record_path(maps[0].output).read_text())["counts"] == {"ball": 1}
    before = Path(maps[0].output).stat().st_mtime_ns
    report = run_dataset(maps)
    assert statuses(report) == ["skipped", "failed", "skipped"]
    assert Path(maps[0].output).stat().st_mtime_ns == before
    with pytest.raises(ResumeError, match=r"rule\.\w+ was"):
        run_dataset([replace(task, border=0.1) for task in maps], resume=True)


def test_finished_picks_are_known_by_their_record(maps) -> None:
    task = maps[0]
    Path(task.output).parent.mkdir()
    first = pick(task)
    again = pick(replace(task, resume=True))
    assert (first.was_finished, again.was_finished) == (False, True)
    assert (again.counts, again.paths) == ({"ball": 1}, (task.output,))
    with pytest.raises(ExistsError):
        pick(task)
    with pytest.raises(ResumeError, match=r"radii_angstrom\.ball was 40\.0, is 50\.0"):
        pick(replace(task, resume=True, radii={"ball": 50.0}))
    record_path(task.output).unlink()
    with pytest.raises(ExistsError):
        pick(replace(task, resume=True))
    with pytest.raises(ConfigError, match="needs an output"):
        pick(replace(task, output=""))


def test_a_volume_that_was_begun_goes_on_after_its_blocks(tasks, monkeypatch) -> None:
    from volproc.graph import block_predict

    original, done = block_predict.predict_block, []

    def work(job: Any, scaling: Any, index: tuple[int, ...]) -> Any:
        if len(done) == 17:  # in the middle of the second volume
            raise KeyboardInterrupt
        result = original(job, scaling, index)
        done.append(index)
        return result

    monkeypatch.setattr(block_predict, "predict_block", work)
    cut = [replace(task, chunks=(4, 7, 6)) for task in tasks[:2]]
    with pytest.raises(KeyboardInterrupt):
        run_dataset(cut)
    assert work_path(tasks[1].output).exists()
    done.append((-1,))
    report = run_dataset(cut)
    assert statuses(report) == ["skipped", "done"]
    assert len(done) == 2 * 12 + 1, "each block once"
