"""Coarser levels made part by part, by the workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from volproc.core.arrays import PyramidSink
from volproc.core.events import Event
from volproc.core.executor import SerialExecutor
from volproc.core.types import whole
from volproc.io.create import create
from volproc.io.omezarr_write import create_channels
from volproc.workflows.pyramids import LevelWork, bounds_of, build_pyramid

SHAPE = (66, 40, 270)
FRAME = {"shape": SHAPE, "voxel_size": (10.0,) * 3, "chunks": (32, 32, 32)}


def class_map(path: Path) -> PyramidSink:
    sink = create(str(path), dtype="u1", kind="labels", **FRAME)
    voxels = np.random.default_rng(0).integers(0, 9, SHAPE, np.uint8)
    sink.write(whole(SHAPE), voxels)
    assert isinstance(sink, PyramidSink)
    return sink


def probabilities(path: Path) -> PyramidSink:
    sink = create_channels(str(path), names=("a", "b"), dtype="f2", **FRAME)
    sink.write(whole(SHAPE), np.random.default_rng(0).random((2, *SHAPE)).astype("f2"))
    return sink


def levels(folder: Path) -> list[np.ndarray]:
    """All levels; the bytes of chunk files depend on which thread of Blosc was faster."""
    return [zarr.open(str(level), mode="r")[...] for level in sorted(folder.glob("[0-9]"))]


class Backwards(SerialExecutor):
    """Runs what is under way in another order, several calls at a time."""

    num_workers = 3

    def completed(self):
        while self._waiting:
            self._waiting.reverse()
            key, function, args = self._waiting.pop(0)
            yield key, function(*args), None


@pytest.mark.parametrize("make", [class_map, probabilities])
def test_levels_are_those_that_finish_makes(tmp_path, make) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    make(tmp_path / "a" / "x.zarr").finish()
    sink = make(tmp_path / "b" / "x.zarr")
    build_pyramid(sink, "classes", executor=Backwards())
    sink.seal()
    expected = levels(tmp_path / "a" / "x.zarr")
    assert len(expected) == 3
    assert expected[2].any()
    for level, one in zip(levels(tmp_path / "b" / "x.zarr"), expected, strict=True):
        np.testing.assert_array_equal(level, one)


def test_parts_are_counted_a_level_a_stage(tmp_path) -> None:
    seen: list[Event] = []
    sink = class_map(tmp_path / "x.zarr")
    build_pyramid(sink, "classes", executor=SerialExecutor(), observe=seen.append)
    begun = [(e.stage, e.total) for e in seen if e.kind == "stage"]
    parts_of = sink.pyramid()
    assert begun == [
        (f"pyramid of classes, level {n}", len(parts)) for n, parts in enumerate(parts_of, start=1)
    ]
    assert sum(e.kind == "block" for e in seen) == sum(map(len, parts_of)) > len(parts_of)


def test_an_error_names_the_level_and_the_part(tmp_path) -> None:
    sink = class_map(tmp_path / "x.zarr")
    part = sink.pyramid()[0][1]
    assert LevelWork(sink, 1).place(bounds_of(part)).startswith("level 1, voxels ")
    chunk = next(p for p in (sink.partial / "0").rglob("*") if p.is_file() and p.name != ".zarray")
    chunk.write_bytes(b"damaged")
    with pytest.raises(RuntimeError) as caught:
        build_pyramid(sink, "classes", executor=SerialExecutor())
    assert any("of pyramid of classes, level 1" in note for note in caught.value.__notes__)
