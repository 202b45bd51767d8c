"""Seam QA of files."""

from __future__ import annotations

from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError
from volproc.core.events import Event
from volproc.core.volume import Volume
from volproc.graph.seams import seam_report
from volproc.io.open import open_
from volproc.workflows.record import write_record
from volproc.workflows.seams import check_seams

BLOCKS = (12, 30, 20)


@pytest.fixture
def labels() -> np.ndarray:
    """A dense packing: every voxel belongs to the nearest of many seeds."""
    shape = (30, 34, 38)
    seeds = np.random.default_rng(1).integers(0, shape, (150, 3))
    place = np.zeros(shape, np.uint32)
    place[tuple(seeds.T)] = np.arange(1, 151)
    nearest = ndi.distance_transform_edt(place == 0, return_indices=True)[1]
    found: np.ndarray = place[tuple(nearest)]
    return found


def saved(array: np.ndarray, folder: Path) -> Volume:
    volproc.save(Volume(da.from_array(array, chunks=16), (10.0,) * 3), folder / "a.zarr")
    return open_(folder / "a.zarr")


def test_a_file_is_judged_as_the_lazy_function_does(labels, tmp_path) -> None:
    labels[12:] += 1000
    events: list[Event] = []
    report = check_seams(saved(labels, tmp_path), chunks=BLOCKS, observe=events.append)
    expected = seam_report(da.from_array(labels, chunks=9), chunks=BLOCKS)
    assert report.to_json() == expected.compute(scheduler="sync").to_json()
    assert report.verdict == "fail"
    assert {e.stage for e in events} == {"seams"}


def test_the_blocks_come_from_the_record(labels, tmp_path) -> None:
    volume = saved(labels, tmp_path)
    with pytest.raises(ConfigError, match="--chunks Z,Y,X"):
        check_seams(volume)
    write_record(str(tmp_path / "a.zarr"), "segment semantic", {"chunks": BLOCKS})
    report = check_seams(volume)
    assert report.seams == {"z": (12, 24), "y": (30,), "x": (20,)}
    assert report.verdict == "pass"


def test_a_computed_volume_is_left_to_the_lazy_function(labels) -> None:
    with pytest.raises(ConfigError, match=r"volproc\.seam_report"):
        check_seams(Volume(da.from_array(labels), (10.0,) * 3), chunks=BLOCKS)
