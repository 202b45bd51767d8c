"""Picks that are found again under another chunking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import zarr

from volproc.core.errors import VerifyError
from volproc.core.executor import SerialExecutor
from volproc.io.create import create, write_whole
from volproc.plan.blocks import ChunkGrid
from volproc.workflows.particle_task import LocalizeTask
from volproc.workflows.picking import pick
from volproc.workflows.verify import verify
from volproc.workflows.verify_picks import other_blocks

SHAPE = (30, 60, 50)


def classes() -> np.ndarray:
    """Balls of two classes."""
    out = np.zeros(SHAPE, np.uint8)
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    for value, centre in ((1, (9, 10, 11)), (1, (9, 20, 11)), (2, (20, 41, 30)), (1, (17, 44, 12))):
        out[((places - centre) ** 2).sum(axis=-1) <= 5.2**2] = value
    return out


@pytest.fixture
def address(tmp_path) -> str:
    path = tmp_path / "a_classes.zarr"
    sink = create(
        path,
        shape=SHAPE,
        dtype=np.uint8,
        voxel_size=(10.0,) * 3,
        kind="labels",
        chunks=(16, 16, 16),
    )
    write_whole(sink, classes())
    return str(path)


def task(address: str, output: Path, **options: object) -> LocalizeTask:
    return LocalizeTask(
        address,
        str(output),
        radii={"ball": 50.0, "other": 50.0},
        class_values={"ball": 1, "other": 2},
        radius_max_scale=1.5,
        **options,
    )


@pytest.mark.parametrize(("method", "num_particles"), [("watershed", 4), ("centre-of-mass", 3)])
@pytest.mark.parametrize("name", ["picks.csv", "picks.star"])
def test_picks_are_found_again(address, tmp_path, name, method, num_particles) -> None:
    pick(task(address, tmp_path / name, method=method))
    report = verify(tmp_path / name)
    assert report.is_equal
    assert report.facts["particles"] == num_particles
    assert report.facts["chunks"] != report.facts["chunks_of_run"]
    assert json.loads(report.certificate.read_text())["verdict"] == "equal"
    assert report.certificate.name == f"{name}.certificate.json"
    by_record = verify(tmp_path / f"{name}.json", executor=SerialExecutor())
    assert by_record.is_equal


def test_a_point_that_was_moved_is_found(address, tmp_path) -> None:
    path = tmp_path / "picks.csv"
    pick(task(address, path))
    table = pd.read_csv(path)
    column = next(c for c in table.columns if c.lower().startswith("x"))
    table.loc[1, column] += 0.01
    table.to_csv(path, index=False)
    report = verify(path)
    assert not report.is_equal
    assert "was written at" in report.facts["summary"]


def test_a_point_that_is_missing_is_found(address, tmp_path) -> None:
    path = tmp_path / "picks.csv"
    pick(task(address, path))
    pd.read_csv(path).iloc[1:].to_csv(path, index=False)
    report = verify(path)
    assert not report.is_equal
    assert "2 points of ball were written, 3 are found now" in report.facts["summary"]


def test_a_changed_class_map_is_refused(address, tmp_path) -> None:
    pick(task(address, tmp_path / "picks.csv"))
    zarr.open(str(Path(address) / "0"))[:5] = 0
    with pytest.raises(VerifyError, match="has changed since the run"):
        verify(tmp_path / "picks.csv")


def test_a_record_that_says_too_little_is_refused(address, tmp_path) -> None:
    pick(task(address, tmp_path / "picks.csv"))
    path = tmp_path / "picks.csv.json"
    record = json.loads(path.read_text())
    del record["rule"]
    path.write_text(json.dumps(record))
    with pytest.raises(VerifyError, match="says too little"):
        verify(tmp_path / "picks.csv")


@pytest.mark.parametrize(
    ("shape", "chunks"), [((30, 60, 50), (64, 64, 64)), ((300, 5, 1), (128, 128, 128))]
)
def test_other_blocks_have_other_seams(shape, chunks) -> None:
    grid = ChunkGrid(shape, chunks)
    other = ChunkGrid(shape, other_blocks(grid))
    for one, two in zip(grid.dask_chunks, other.dask_chunks, strict=True):
        assert one != two or one == (1,)
