"""Disks, inputs and chunk files that go wrong under a run: nothing half is taken for whole."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from volproc.core.errors import (
    ConfigError,
    FormatError,
    InputChangedError,
    OutOfMemoryError,
    ResumeError,
    VerifyError,
)
from volproc.core.events import Event
from volproc.graph import block_predict
from volproc.graph.predict import Settings
from volproc.io.create import create
from volproc.models.sliding import Inference
from volproc.workflows.checksums import checksums_path
from volproc.workflows.record import read_record, work_path
from volproc.workflows.segment import SegmentTask, segment
from volproc.workflows.verify import verify

NUM_BLOCKS = 3 * 2 * 2


@pytest.fixture
def broken_off(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Break a run off after some blocks, and count those that were computed."""

    class Blocks:
        def __init__(self) -> None:
            self.done: list[tuple[int, ...]] = []
            self.after = -1
            original = block_predict.predict_block

            def work(job: Any, scaling: Any, index: tuple[int, ...]) -> Any:
                if len(self.done) == self.after:
                    raise OSError("broken off")
                self.done.append(index)
                return original(job, scaling, index)

            monkeypatch.setattr(block_predict, "predict_block", work)

        def run(self, task: SegmentTask, after: int) -> None:
            self.after = after
            with pytest.raises(OSError, match="broken off"):
                segment(task)
            self.after = -1
            assert not Path(task.output).exists()

    return Blocks()


def chunk_of(task: SegmentTask, index: tuple[int, ...], name: str = "classes.zarr") -> Path:
    """First chunk file of a block that is not empty, of an unfinished output."""
    folder = Path(task.output).with_name(f".{name}.partial") / "0"
    sizes = json.loads((folder / ".zarray").read_text())["chunks"][-3:]
    first = [i * n // c for i, n, c in zip(index, (4, 7, 6), sizes, strict=True)]
    spans = [range(f, f + -(-n // c)) for f, n, c in zip(first, (4, 7, 6), sizes, strict=True)]
    found = (folder.joinpath(*map(str, place)) for place in product(*spans))
    return next(path for path in found if path.exists())


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "flipped":
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["truncated", "flipped", "removed"])
@pytest.mark.parametrize("after", [5, 12])
def test_a_block_whose_chunk_was_damaged_is_computed_again_and_no_other(
    make_task, broken_off, check_outputs, how, after
) -> None:
    task = make_task(probabilities="float16", checksums=True)
    broken_off.run(replace(task, checksums=True), min(after, NUM_BLOCKS - 1))
    damage(chunk_of(task, (0, 0, 0)), how)
    before = list(broken_off.done)
    events: list[Event] = []
    report = segment(task, observe=events.append)
    assert report.num_skipped == len(before) - 1
    assert sorted(broken_off.done) == sorted([*product(range(3), range(2), range(2)), (0, 0, 0)])
    assert any("block (0, 0, 0) is damaged" in e.text for e in events)
    check_outputs(report, task.settings)


def test_without_checksums_the_sizes_of_chunks_are_looked_at(
    make_task, broken_off, check_outputs
) -> None:
    task = make_task(probabilities="float16")
    broken_off.run(task, 9)
    damage(chunk_of(task, (1, 0, 1)), "truncated")
    report = segment(task)
    assert report.num_skipped == 8
    check_outputs(report, task.settings)


def test_strips_that_are_lost_or_damaged_are_done_without(
    make_task, broken_off, check_outputs
) -> None:
    task = make_task(probabilities="float16")
    broken_off.run(task, 6)
    strips = sorted((work_path(task.output) / "spill").rglob("*.npy"))
    for number, strip in enumerate(strips):
        data = bytearray(strip.read_bytes())
        data[len(data) - 12] ^= 4
        strip.write_bytes(data[:-5] if number % 3 == 0 else data)
        if number % 3 == 2:
            strip.unlink()
    facts: list[dict[str, Any]] = []
    report = segment(task, observe=lambda event: facts.append(event.facts))
    assert report.num_skipped == 6
    assert any(f.get("repaired") for f in facts)
    check_outputs(report, task.settings)


def test_checksums_are_refused_where_there_are_no_chunk_files(make_task, tmp_path, listing) -> None:
    with pytest.raises(ConfigError, match=r"checksums .* OME-Zarr, and .*a\.mrc has none"):
        segment(make_task(output=str(tmp_path / "a.mrc"), checksums=True))
    assert listing() == {}


@pytest.mark.parametrize("how", ["truncated", "flipped", "removed"])
@pytest.mark.parametrize("name", ["classes.zarr", "classes_probabilities.zarr"])
def test_verify_names_the_block_whose_chunk_was_damaged(
    make_task, broken_off, tmp_path, how, name
) -> None:
    task = make_task(probabilities="float16")
    broken_off.run(task, 5)  # without checksums: theirs are found at the end
    segment(replace(task, checksums=True))
    assert verify(task.output, regions=1).is_equal
    chunk = max(p for p in (tmp_path / name / "0").rglob("*") if p.is_file() and p.name[0] != ".")
    damage(chunk, how)
    kind = "probabilities" if "prob" in name else "classes"
    with pytest.raises(VerifyError, match=rf"block 2\.1\.1 of the {kind}, by their checksums"):
        verify(task.output, regions=1)


def test_checksums_of_an_older_output_go_with_it(make_task) -> None:
    task = make_task(checksums=True)
    segment(task)
    assert checksums_path(task.output).exists()
    segment(replace(task, checksums=False, overwrite=True))
    assert not checksums_path(task.output).exists()
    assert verify(task.output, regions=1).is_equal


def test_damaged_checksums_are_an_error(make_task) -> None:
    task = make_task(checksums=True)
    segment(task)
    checksums_path(task.output).write_text("{")
    with pytest.raises(VerifyError, match=r"checksums\.json is damaged"):
        verify(task.output, regions=1)


def own_input(task: SegmentTask, address: str, tmp_path: Path) -> SegmentTask:
    path = tmp_path / "input.npy"
    path.write_bytes(Path(address).read_bytes())
    return replace(task, address=str(path))


def test_an_input_that_changes_during_the_last_block_leaves_nothing(
    make_task, address, tmp_path
) -> None:
    task = own_input(make_task(), address, tmp_path)

    def touch(event: Event) -> None:
        if event.kind == "done" and event.stage == "predict":
            os.utime(task.address, ns=(1, 1))

    with pytest.raises(InputChangedError, match=r"changed while it was read: it was .* is "):
        segment(task, observe=touch)
    assert [p.name for p in tmp_path.iterdir()] == ["input.npy"]
    assert segment(task).num_skipped == 0


@pytest.mark.parametrize("change", ["longer", "shorter", "removed"])
def test_an_input_that_changes_between_blocks_is_not_read_on(
    make_task, address, tmp_path, change
) -> None:
    task = own_input(make_task(), address, tmp_path)
    path = Path(task.address)

    def write(event: Event) -> None:
        if event.kind != "block" or event.stage != "predict":
            return
        data = path.read_bytes() if path.exists() else b""
        if change == "removed":
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(data + b"x" if change == "longer" else data[:200])

    with pytest.raises(FormatError, match="changed after it was opened"):
        segment(task, observe=write)
    assert not Path(task.output).exists()
    path.write_bytes(Path(address).read_bytes())
    with pytest.raises(ResumeError, match=r"input was .*--overwrite"):
        segment(task)
    assert segment(replace(task, overwrite=True)).num_skipped == 0


def test_a_batch_that_finds_no_memory_is_halved_and_that_is_recorded(
    make_task, monkeypatch, lazy, address, model
) -> None:
    pass_batch = Inference.pass_batch
    sizes: list[int] = []

    def greedy(self: Inference, *arguments: Any, **options: Any) -> Any:
        sizes.append(self.batch_size)
        if self.batch_size > 2:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return pass_batch(self, *arguments, **options)

    task = make_task(settings=Settings(overlap=0.5, batch_size=8))
    with monkeypatch.context() as patch:
        patch.setattr(Inference, "pass_batch", greedy)
        segment(task)
    assert sizes[:3] == [8, 4, 2]
    assert set(sizes[3:]) <= {8, 4, 2}
    assert sizes[-6:] == [2] * 6
    record = read_record(task.output)
    assert record["smaller_batches"] == [2, 4]
    assert record["settings"]["batch_size"] == 8


def test_a_block_that_never_fits_is_named_with_a_cure(make_task, monkeypatch) -> None:
    def greedy(self: Inference, *arguments: Any, **options: Any) -> Any:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    task = make_task(settings=Settings(batch_size=4))
    with monkeypatch.context() as patch:
        patch.setattr(Inference, "pass_batch", greedy)
        with pytest.raises(OutOfMemoryError, match=r"voxels z 0:4, y 0:7, x 0:6 with a batch of 1"
                           ) as caught:  # fmt: skip
            segment(task)
    assert any("smaller chunks (--chunks)" in note for note in caught.value.__notes__)


def mount(folder: Path, options: str) -> None:
    """Mount a file system in memory, or change that."""
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB; skipped where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        mount(folder, "size=64k")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=False, capture_output=True)


def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(
    make_task, small_disk, check_outputs
) -> None:
    task = make_task(output=str(small_disk / "classes.zarr"), probabilities="float16")
    with pytest.raises(OSError, match="No space left on device"):
        segment(task)
    assert not Path(task.output).exists()
    mount(small_disk, "remount,size=4m")
    report = segment(task)
    check_outputs(report, task.settings)
    assert sorted(p.name for p in small_disk.iterdir()) == [
        "classes.zarr", "classes.zarr.json", "classes_probabilities.zarr"
    ]  # fmt: skip


def test_a_disk_that_turns_read_only_loses_no_block(
    make_task, small_disk, broken_off, check_outputs
) -> None:
    mount(small_disk, "remount,size=4m")
    task = make_task(output=str(small_disk / "classes.zarr"), probabilities="float16")
    broken_off.run(task, 5)
    mount(small_disk, "remount,ro")
    with pytest.raises(OSError, match="Read-only file system"):
        segment(task)
    mount(small_disk, "remount,rw")
    report = segment(task)
    assert report.num_skipped == 5
    check_outputs(report, task.settings)


@pytest.mark.parametrize("name", ["a.mrc", "a.tif", "a.npy"])
def test_a_file_that_is_mapped_has_its_room_before_work_begins(small_disk, name) -> None:
    """On a disk that fills up later, the system would end the process without a word."""
    with pytest.raises(OSError, match="No space left on device"):
        create(small_disk / name, shape=(30, 40, 50), dtype=np.float32, voxel_size=(10.0,) * 3)
    assert list(small_disk.iterdir()) == []
