"""A lamella cleaned from file to file: formats, masks of predictions, resume, killed runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import ConfigError, ExistsError, MissingFileError, ResumeError
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.graph.clean_lamella import clean_lamella
from volproc.graph.physical_mask import PhysicalMask
from volproc.io.copick_project import create_project
from volproc.io.create import create, write_whole
from volproc.io.open import inspect, open_
from volproc.workflows.lamella import LamellaTask, clean_map

SHAPE = (21, 30, 27)


def slab() -> np.ndarray:
    z, y, x = np.ogrid[tuple(map(slice, SHAPE))]
    found = np.where(np.abs(z - (7 + 0.2 * y)) < 5, 0.9, 0.1) + 0 * x
    found[20, 0, 0] = 1.0
    return found.astype(np.float32)


@pytest.fixture
def task(tmp_path: Path) -> LamellaTask:
    sink = create(tmp_path / "map.mrc", shape=SHAPE, dtype="f4", voxel_size=(13.6,) * 3)
    write_whole(sink, slab())
    return LamellaTask(str(tmp_path / "map.mrc"), str(tmp_path / "mask.zarr"))


def test_a_mask_of_any_format_is_one_of_a_finer_volume(task: LamellaTask, tmp_path: Path) -> None:
    due = np.asarray(clean_lamella(open_(task.address)).data)
    assert 0.3 < due.mean() < 0.6
    assert not due[20, 0, 0]
    project = create_project(tmp_path / "copick.json", objects=(), runs=("TS_1",))
    outputs = [
        f"{tmp_path}/mask.h5", f"{tmp_path}/mask.mrc", f"{tmp_path}/mask.ome.zarr",
        f"{project}:TS_1/lamella:volproc/1@13.6",
    ]  # fmt: skip
    fine = (42, 60, 54)
    for output in outputs:
        report = clean_map(replace(task, output=output))
        assert report.num_voxels == due.sum()
        assert report.record.exists()
        header = inspect(report.output)
        assert header.voxel_size is not None
        np.testing.assert_allclose(header.voxel_size, 13.6, rtol=1e-6)
        np.testing.assert_array_equal(open_(report.output).data, due)
        laid = PhysicalMask(header.source, fine, output, (6.8,) * 3, header.voxel_size)
        region = (slice(0, 42), slice(5, 60), slice(0, 54))
        whole = due.repeat(2, 0).repeat(2, 1).repeat(2, 2)
        np.testing.assert_array_equal(laid.read(region), whole[region] > 0)
    assert not list(tmp_path.glob(".*"))


def test_what_workers_cannot_write_is_written_here(task: LamellaTask) -> None:
    class Processes(SerialExecutor):
        has_processes = True

    task = replace(task, output=task.output.replace(".zarr", ".h5"))
    events: list[Event] = []
    clean_map(task, executor=Processes(), observe=events.append)
    due = clean_lamella(open_(task.address)).data
    np.testing.assert_array_equal(open_(task.output).data, due)
    assert {e.stage for e in events} >= {"smooth", "outline", "paint"}
    assert not any("mask" in e.facts for e in events)
    assert not any(e.kind == "note" for e in events)
    clean_map(replace(task, threshold=0.05, overwrite=True), observe=events.append)
    assert events[-1].text.startswith("the lamella is the whole volume")


def test_finished_masks_are_kept_refused_or_replaced(task: LamellaTask) -> None:
    clean_map(task)
    with pytest.raises(ExistsError, match="exists"):
        clean_map(task)
    again = clean_map(replace(task, resume=True))
    assert again.num_voxels is None
    with pytest.raises(ResumeError, match=r"settings\.hull was 'slice', is 'plane'"):
        clean_map(replace(task, resume=True, hull="plane"))
    assert clean_map(replace(task, overwrite=True, hull="none")).num_voxels


def test_a_run_that_fails_leaves_nothing_and_keeps_what_was_there(task: LamellaTask) -> None:
    folder = Path(task.output).parent
    with pytest.raises(ConfigError, match=r"map.mrc has no lamella"):
        clean_map(replace(task, threshold=0.95))
    assert [p.name for p in folder.iterdir()] == ["map.mrc"]
    clean_map(task)
    before = np.asarray(open_(task.output).data)
    with pytest.raises(ConfigError, match="has no lamella"):
        clean_map(replace(task, threshold=0.95, overwrite=True))
    np.testing.assert_array_equal(open_(task.output).data, before)
    empty = clean_map(replace(task, threshold=0.95, overwrite=True, empty="keep-empty"))
    assert empty.num_voxels == 0
    assert not np.asarray(open_(task.output).data).any()
    with pytest.raises(MissingFileError, match="does not exist"):
        clean_map(replace(task, address=f"{folder}/other.mrc"))


KILLED = """
import os, signal, sys
from volproc.workflows.lamella import LamellaTask, clean_map
def kill(event):
    if (event.kind, event.stage) == ("block", sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
clean_map(LamellaTask(sys.argv[1], sys.argv[2]), observe=kill)
"""


def test_a_killed_run_begins_anew(task: LamellaTask) -> None:
    words = [sys.executable, "-c", KILLED, task.address, task.output, "paint"]
    assert subprocess.run(words, check=False).returncode == -9
    folder = Path(task.output).parent
    assert list(folder.glob(".*"))
    assert not Path(task.output).exists()
    clean_map(task)
    np.testing.assert_array_equal(open_(task.output).data, clean_lamella(open_(task.address)).data)
    names = sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock"))
    assert names == ["map.mrc", "mask.zarr", "mask.zarr.json"]
