"""Verification: whole runs pass, one wrong voxel is found, changed inputs are refused."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import volproc
from volproc.core.errors import ConfigError, VerifyError
from volproc.core.events import Event
from volproc.core.model import ModelSpec
from volproc.graph.predict import Settings
from volproc.io.open import open_
from volproc.models.loading import read_spec, save_model
from volproc.models.networks import build
from volproc.workflows.certificate import certificate_path
from volproc.workflows.record import record_path
from volproc.workflows.regions import compare, covered, random_regions, shifted_regions
from volproc.workflows.segment import SegmentReport, SegmentTask, segment
from volproc.workflows.verify import verify

SHAPE, CHUNKS = (9, 13, 11), (4, 7, 6)

Run = Callable[..., SegmentReport]


@pytest.fixture
def run(make_task: Callable[..., SegmentTask]) -> Run:
    return lambda **changes: segment(make_task(**changes))


@pytest.fixture(scope="module")
def finished(
    tmp_path_factory: pytest.TempPathFactory, address: str, model: str
) -> Callable[[Path], str]:
    """Copy of one finished run with views and probabilities; the address of its class map."""
    home = tmp_path_factory.mktemp("finished")
    task = SegmentTask(
        address,
        str(home / "classes.zarr"),
        model=model,
        voxel_size=10.0,
        chunks=CHUNKS,
        settings=Settings(overlap=0.5, tta="rot4", batch_size=2),
        probabilities="float16",
    )
    segment(task)

    def copy(folder: Path) -> str:
        shutil.copytree(home, folder, dirs_exist_ok=True)
        output = folder / "classes.zarr"
        path = record_path(str(output))
        text = path.read_text().replace(str(home), str(folder))
        path.write_text(text)
        return str(output)

    return copy


def level_0(address: str) -> zarr.Array:
    group = zarr.open(address, mode="r+")
    return group["0"]


def test_the_whole_run_is_verified(finished, tmp_path) -> None:
    output = finished(tmp_path)
    events: list[Event] = []
    report = verify(output, regions="all", observe=events.append)
    assert report.is_equal
    assert report.facts["verdict"] == "equal"
    assert report.facts["covered"] == 1.0
    assert (
        sum(r["products"]["classes"]["num_voxels"] for r in report.facts["regions"]) == 9 * 13 * 11
    )
    for region in report.facts["regions"]:
        assert set(region["products"]) == {"classes", "probabilities"}
        for product in region["products"].values():
            assert product["sha256"] == product["sha256_written"]
    assert report.certificate == tmp_path / "classes.zarr.certificate.json"
    certificate = json.loads(report.certificate.read_text())
    assert certificate == report.facts
    assert certificate["seams"]["verdict"] in ("pass", "cannot judge")
    assert certificate["versions"]["numpy"] == np.__version__
    assert {"input", "model_sha256", "model", "record_sha256"} == set(certificate["fingerprints"])
    stages = {e.stage: e.total for e in events if e.kind == "stage"}
    assert stages["verify"] == len(report.facts["regions"])
    assert {"statistics", "verify", "seams"} == set(stages)
    assert any("every bit is the same" in e.text for e in events if e.kind == "note")
    assert not [p for p in tmp_path.rglob("*") if p.name.endswith((".tmp", ".work"))]


def test_one_wrong_voxel_is_found_where_it_is(finished, tmp_path) -> None:
    output = finished(tmp_path)
    array = level_0(output)
    written = int(array[6, 3, 10])
    array[6, 3, 10] = (written + 1) % 3
    report = volproc.verify(output, regions="all")
    assert not report.is_equal
    first = report.facts["first_difference"]
    assert first == {
        "product": "classes",
        "voxel": [6, 3, 10],
        "written": (written + 1) % 3,
        "computed": written,
    }
    assert sum(r["products"]["classes"]["num_different"] for r in report.facts["regions"]) == 1
    assert json.loads(report.certificate.read_text())["verdict"] == "differs"


def test_one_wrong_bit_of_a_probability_is_found(finished, tmp_path) -> None:
    output = finished(tmp_path)
    array = level_0(str(tmp_path / "classes_probabilities.zarr"))
    bits = array[1:2, 2:3, 3:4, 4:5].view(np.uint16) ^ 1
    array[1:2, 2:3, 3:4, 4:5] = bits.view(np.float16)
    first = verify(output, regions="all").facts["first_difference"]
    assert (first["product"], first["voxel"], first["channel"]) == ("probabilities", [2, 3, 4], 1)


def test_random_regions_follow_the_seed(finished, tmp_path) -> None:
    output = finished(tmp_path)
    one, again = (verify(output, regions=3, seed=4).facts for _ in range(2))
    assert one["regions"] == again["regions"]
    assert len(one["regions"]) == 3
    assert 0 < one["covered"] < 1
    assert verify(output, regions=3, seed=5).facts["regions"] != one["regions"]


@pytest.mark.parametrize("name", ["a.mrc", "a.h5:/classes", "a.tif"])
def test_every_format_is_verified(run, tmp_path, name) -> None:
    report = run(output=str(tmp_path / name))
    assert verify(report.output, regions=1).is_equal


def test_a_run_is_known_by_its_record_and_by_its_folder(finished, tmp_path) -> None:
    output = finished(tmp_path)
    for name in (Path(output), record_path(output), tmp_path):
        assert verify(name, regions=1).certificate == certificate_path(output)


def test_a_run_with_percentiles_and_padding_is_verified(make_task, tmp_path, model) -> None:
    spec = read_spec(model)
    values = spec.to_json() | {"normalization": "percentile", "weights": "", "patch": (16, 8, 6)}
    network = build("unet3d", num_classes=3, **spec.params)
    save_model(
        tmp_path / "p.pt", ModelSpec.from_json(values | {"sha256": ""}), network.state_dict()
    )
    task = make_task(model=str(tmp_path / "p.pt"), settings=Settings(pad=True))
    assert verify(segment(task).output, regions=2).is_equal


def test_a_changed_input_is_refused(run, tmp_path, voxels, model) -> None:
    np.save(tmp_path / "own.npy", voxels)
    report = run(address=str(tmp_path / "own.npy"))
    os.utime(tmp_path / "own.npy", ns=(1, 1))
    with pytest.raises(VerifyError, match="the input has changed since the run"):
        verify(report.output)
    # Its voxels are the same, though: the same bits come out where it is named.
    assert verify(report.output, regions=1, input_address=str(tmp_path / "own.npy")).is_equal
    np.save(tmp_path / "own.npy", voxels + 1)
    found = verify(report.output, regions=1, input_address=str(tmp_path / "own.npy"))
    assert not found.is_equal
    assert not found.facts["scaling"]["equal"]


def test_changed_weights_are_refused(run, tmp_path, model) -> None:
    shutil.copy(model, tmp_path / "own.pt")
    report = run(model=str(tmp_path / "own.pt"))
    shutil.move(tmp_path / "own.pt", tmp_path / "moved.pt")
    assert verify(report.output, regions=1, model=str(tmp_path / "moved.pt")).is_equal
    spec = read_spec(model)
    state = build("unet3d", num_classes=3, **spec.params).state_dict()
    save_model(tmp_path / "own.pt", spec, state)
    with pytest.raises(VerifyError, match="SHA-256 of the model has changed"):
        verify(report.output)


def test_what_is_no_run_is_refused(finished, tmp_path, address) -> None:
    with pytest.raises(VerifyError, match="has no record"):
        verify(address)
    with pytest.raises(VerifyError, match="found none"):
        verify(tmp_path)
    output = finished(tmp_path)
    work = tmp_path / ".b.zarr.work"
    work.mkdir()
    with pytest.raises(VerifyError, match="is unfinished"):
        verify(tmp_path / "b.zarr")
    for path in tmp_path.glob("classes*"):
        other = tmp_path / path.name.replace("classes", "other")
        (shutil.copytree if path.is_dir() else shutil.copy)(path, other)
    with pytest.raises(VerifyError, match="Name the class map"):
        verify(tmp_path)
    record = json.loads(record_path(output).read_text())
    del record["chunks"]
    record_path(output).write_text(json.dumps(record))
    with pytest.raises(VerifyError, match="says too little"):
        verify(output)


def test_an_output_of_another_shape_is_refused(finished, tmp_path) -> None:
    output = finished(tmp_path)
    shutil.rmtree(output)
    volume = open_(tmp_path / "classes_probabilities.zarr", c=0)
    volproc.save(volume.with_data(volume.data[:5].astype("u1")), output)
    with pytest.raises(VerifyError, match="they are not of this run"):
        verify(output)


@pytest.mark.parametrize("regions", [0, -1, "most"])
def test_a_number_of_regions_that_cannot_be_is_refused(finished, tmp_path, regions) -> None:
    with pytest.raises(ConfigError, match="positive number"):
        verify(finished(tmp_path), regions=regions)


sizes = st.tuples(*[st.integers(1, 30)] * 3)


@given(sizes, sizes, st.integers(0, 9))
def test_regions_lie_in_the_volume_and_are_no_larger_than_blocks(shape, chunks, seed) -> None:
    for region in random_regions(shape, chunks, 5, seed=seed):
        for s, n, c in zip(region, shape, chunks, strict=True):
            assert 0 <= s.start < s.stop <= n
            assert s.stop - s.start <= c


@given(sizes, sizes)
def test_shifted_regions_tile_the_volume_with_other_seams(shape, chunks) -> None:
    count = np.zeros(shape, int)
    for region in shifted_regions(shape, chunks):
        count[region] += 1
        for s, n, c in zip(region, shape, chunks, strict=True):
            assert s.stop - s.start <= c
            assert s.start == 0 or s.start % c or c == 1 or s.start >= n
    assert (count == 1).all()


@given(sizes, st.integers(0, 9))
def test_what_is_covered_is_counted_once(shape, seed) -> None:
    regions = random_regions(shape, (4, 4, 4), 4, seed=seed)
    inside = np.zeros(shape, bool)
    for region in regions:
        inside[region] = True
    assert covered(regions, shape) == pytest.approx(inside.mean())


def test_bits_are_compared_and_not_values() -> None:
    region = (slice(2, 3), slice(0, 1), slice(5, 7))
    one = np.array([[[0.0, np.nan]]], np.float16)
    assert compare(one, one.copy(), region)["equal"]
    facts = compare(one, -one, region)
    assert facts["num_different"] == 2
    assert facts["first_difference"]["voxel"] == [2, 0, 5]
    other = compare(one, np.array([[[0.0, 1.0]]], np.float16), region)["first_difference"]
    assert (other["voxel"], other["computed"], other["written"]) == ([2, 0, 6], "nan", 1.0)
    assert compare(np.array([1], np.uint8), np.array([1], np.int16), (slice(0, 1),))["equal"]
    assert not compare(np.array([1], np.uint8), np.array([257], np.int16), (slice(0, 1),))["equal"]
