"""Segmentation as a story: from a file to files, whole or not at all, killed or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

from volproc.cluster.start import connect
from volproc.core.errors import (
    ClusterError,
    ConfigError,
    ExistsError,
    FormatError,
    MissingFileError,
    ModelError,
    NonFiniteError,
    PlanError,
    ResumeError,
    ShapeError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.events import Event
from volproc.graph.predict import Settings
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.open import open_
from volproc.models.loading import read_spec, save_model
from volproc.models.networks import build
from volproc.workflows.record import work_path
from volproc.workflows.segment import plan_segment, segment

CHUNKS = (4, 7, 6)
NUM_BLOCKS = 3 * 2 * 2


@pytest.mark.parametrize("name", ["a.zarr", "a.mrc", "a.tif", "a.h5:/classes", "a.npy"])
def test_the_class_map_is_that_of_the_lazy_prediction_in_any_format(
    address, model, tmp_path, name, make_task, lazy
) -> None:
    task = make_task(output=str(tmp_path / name))
    report = segment(task)
    found = open_(report.output, voxel_size=10.0)
    expected = lazy(address, model, "classes", task.settings)
    np.testing.assert_array_equal(found.data.compute(), expected)
    file = name.split(":")[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == [file, f"{file}.json"]


def test_a_second_run_of_the_same_output_is_refused_while_the_first_is_at_it(
    make_task, monkeypatch
) -> None:
    monkeypatch.setattr("volproc.workflows.segment.WAIT_S", 0.3)
    task, refused = make_task(), []

    def observe(event: Event) -> None:
        if event.kind == "block" and not refused:
            with pytest.raises(ResumeError, match="belongs to a run that is under way"):
                segment(task)
            refused.append(event)

    report = segment(task, observe=observe)
    assert refused
    assert report.num_skipped == 0
    assert Path(report.output).exists()


@pytest.mark.parametrize("executor", ["serial", "threads"])
@pytest.mark.parametrize("dtype", ["float16", "uint8"])
def test_probabilities_are_stored_beside_the_classes(
    address, model, tmp_path, dtype, executor, make_task, lazy
) -> None:
    settings = Settings(overlap=0.25, tta="rot4", batch_size=3)
    task = make_task(probabilities=dtype, settings=settings)
    with connect(executor, **({"num_workers": 3} if executor == "threads" else {})) as runner:
        report = segment(task, executor=runner)
    assert Path(report.probabilities) == tmp_path / "classes_probabilities.zarr"
    expected = lazy(address, model, "probabilities", settings, dtype=dtype)
    for number, name in enumerate(("background", "ribosome", "membrane")):
        found = open_(report.probabilities, c=number).data.compute()
        assert found.dtype == np.dtype(dtype), name
        np.testing.assert_array_equal(found, expected[number])
    classes = open_(report.output).data.compute()
    np.testing.assert_array_equal(classes, lazy(address, model, "classes", settings))


def test_neither_blocks_nor_workers_change_a_bit(tmp_path, make_task) -> None:
    results = []
    for number, (chunks, workers) in enumerate([((9, 13, 11), 1), ((1, 13, 11), 2), (CHUNKS, 3)]):
        output = str(tmp_path / f"{number}.zarr")
        task = make_task(output=output, chunks=chunks)
        with connect("threads", num_workers=workers) as runner:
            segment(replace(task, probabilities="float16"), executor=runner)
        parts = [open_(output).data.compute()]
        parts += [
            open_(output.replace(".zarr", "_probabilities.zarr"), c=c).data.compute().view("u2")
            for c in range(3)
        ]
        results.append(np.stack(parts))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_the_frame_of_the_input_is_written(tmp_path, make_task) -> None:
    with mrcfile.new(tmp_path / "in.mrc") as mrc:
        mrc.set_data(np.random.default_rng(0).normal(0, 1, (9, 13, 11)).astype("f4"))
        mrc.voxel_size = (8.0, 9.0, 10.0)
    output = str(tmp_path / "out.mrc")
    segment(make_task(address=str(tmp_path / "in.mrc"), output=output, voxel_size=None))
    np.testing.assert_allclose(open_(output).voxel_size, (10, 9, 8), rtol=1e-5)


def test_the_record_says_how_it_was_made(address, model, voxels, tmp_path, make_task) -> None:
    report = segment(make_task(probabilities="uint8"))
    assert report.record == tmp_path / "classes.zarr.json"
    record = json.loads(report.record.read_text())
    assert record["made_by"] == "volproc segment semantic"
    assert record["address"] == address
    assert record["model_sha256"] == read_spec(model).sha256
    assert record["settings"]["overlap"] == 0.5
    assert record["settings"]["tta"] == ["identity"]
    assert record["chunks"] == list(CHUNKS)
    assert record["classes"] == {"background": 0, "ribosome": 1, "membrane": 2}
    assert record["radii_angstrom"] == {"ribosome": 15.0}
    assert record["statistics"]["mean"] == pytest.approx(float(voxels.mean(dtype=float)))
    assert record["scaling"]["scale"] == pytest.approx(float(voxels.std(dtype=float)))
    assert record["statistics"]["num_nan"] == 0
    assert {"volproc", "torch", "numpy", "python"} <= set(record["versions"])


def test_events_count_blocks_and_passes(make_task) -> None:
    events: list[Event] = []
    settings = Settings(tta="octopi4", overlap=0.5)
    report = segment(make_task(settings=settings), observe=events.append)
    blocks = [e for e in events if e.kind == "block" and e.stage == "predict"]
    assert len(blocks) == NUM_BLOCKS == len(report.plan.grid)
    assert sum(e.facts["passes"] for e in blocks) == report.plan.num_passes
    assert {e.stage for e in events if e.kind == "done"} == {"statistics", "predict"}


def test_a_model_of_another_voxel_size_is_noted(make_task) -> None:
    events: list[Event] = []
    segment(make_task(voxel_size=20.0), observe=events.append)
    assert any("trained at 10 Å per voxel, the volume has 20" in e.text for e in events)


def test_a_plan_costs_nothing_and_says_what_would_run(listing, make_task) -> None:
    plan = plan_segment(make_task(probabilities="float16"))
    assert len(plan.plan.grid) == NUM_BLOCKS
    assert "with probabilities" in plan.explain()
    assert listing() == {}


def test_blocks_are_chosen_if_none_are_given(make_task) -> None:
    report = segment(make_task(chunks=None))
    assert len(report.plan.grid) == 1


@pytest.fixture
def member(voxels, tmp_path) -> dict[str, Any]:
    """A tomogram of a copick project and a place for its segmentation."""
    objects = (ProjectObject("ribosome", 1, 15.0), ProjectObject("membrane", 2, is_particle=False))
    config = create_project(tmp_path / "copick.json", objects=objects, runs=["TS_1"])
    add_tomogram(config, "TS_1", "wbp", voxels, voxel_size=10.0)
    return {
        "address": f"{config}:TS_1/wbp@10",
        "output": f"{config}:TS_1/predict:volproc/1@10",
        "voxel_size": None,
    }


def test_a_copick_project_takes_the_segmentation(make_task, member, model, lazy) -> None:
    task = make_task(**member, probabilities="uint8")
    report = segment(task)
    expected = lazy(task.address, model, "classes", task.settings)
    np.testing.assert_array_equal(open_(task.output).data.compute(), expected)
    expected = lazy(task.address, model, "probabilities", task.settings, dtype="uint8")
    found = open_(report.probabilities, c=2).data.compute()
    np.testing.assert_array_equal(found, expected[2])
    assert json.loads(report.record.read_text())["address"] == task.address
    assert not work_path(task.output).exists()
    with pytest.raises(ExistsError, match="--overwrite"):
        segment(task)


@pytest.mark.parametrize("what", ["network", "output", "voxels"])
def test_a_failure_leaves_a_copick_project_as_it_was(
    make_task, member, model, nan_model, tmp_path, listing, what
) -> None:
    task = make_task(**member, probabilities="uint8")
    if what == "network":
        task = replace(task, model=nan_model)
    elif what == "output":
        task = replace(task, probabilities_output=str(tmp_path / "p.mrc"))
    else:
        bad = np.full((9, 13, 11), np.nan, np.float32)
        np.save(tmp_path / "bad.npy", bad)
        task = replace(task, address=str(tmp_path / "bad.npy"), voxel_size=10.0)
    before = listing()
    with pytest.raises((ModelError, FormatError, NonFiniteError)):
        segment(task)
    assert listing() == before


def spoil(tmp_path: Path, model: str, what: str) -> dict[str, Any]:
    """A bad input: what differs from a good task."""
    folder = tmp_path / "bad"
    folder.mkdir()
    path = folder / "in.mrc"
    data = np.random.default_rng(0).normal(0, 1, (9, 13, 11)).astype("f4")
    if what in ("nan", "inf"):
        data[0, 0, 0] = np.nan if what == "nan" else np.inf
        np.save(folder / "in.npy", data)  # mrcfile warns of them
        return {"address": str(folder / "in.npy")}
    if what == "small":
        data = data[:3]
    if what == "micrograph":
        data = data[0]
    if what == "complex":
        np.save(folder / "in.npy", data.astype("c8"))
        return {"address": str(folder / "in.npy")}
    if what == "empty":
        np.save(folder / "in.npy", data[:0])
        return {"address": str(folder / "in.npy")}
    with mrcfile.new(path) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = 10.0
    content = path.read_bytes()
    if what == "truncated":
        path.write_bytes(content[:-100])
    if what == "header only":
        path.write_bytes(content[:1024])
    if what == "no mrc":
        path.write_bytes(b"x" * len(content))
    changes: dict[str, Any] = {"address": str(path)}
    if what == "missing":
        changes["address"] = str(folder / "im.mrc")
    if what == "channels":
        spec = replace(read_spec(model), channels=2)
        network = build("unet3d", in_channels=2, num_classes=3, **spec.params)
        save_model(folder / "two.pt", spec, network.state_dict())
        changes["model"] = str(folder / "two.pt")
    if what == "no model":
        changes["model"] = str(path)
    if what == "model missing":
        changes["model"] = str(folder / "nothing.pt")
    return changes


@pytest.mark.parametrize(
    ("what", "changes", "error", "text"),
    [
        ("truncated", {}, FormatError, "truncated|shorter|bytes"),
        ("header only", {}, FormatError, "bytes"),
        ("no mrc", {}, FormatError, "MRC"),
        ("nan", {}, NonFiniteError, "1 NaN and 0 infinite voxels of 1287.*--replace-nonfinite"),
        ("inf", {}, NonFiniteError, "0 NaN and 1 infinite"),
        ("small", {}, ShapeError, "3 × 13 × 11 voxels, is smaller than one patch.* along z"),
        ("micrograph", {}, ShapeError, "Micrographs"),
        ("complex", {}, VolprocError, "complex"),
        ("empty", {}, VolprocError, "empty|no voxels"),
        ("missing", {}, MissingFileError, r"Did you mean .*in\.mrc"),
        ("channels", {}, ModelError, "takes 2 input channels, the volume has 1"),
        ("no model", {}, ModelError, "not a model file"),
        ("model missing", {}, MissingFileError, "no model file"),
        ("good", {"voxel_size": 12.0}, VoxelSizeError, "--voxel-size says 12"),
        ("good", {"settings": Settings(tta="octopi")}, ModelError, "octopi4|octopi8"),
        ("good", {"settings": Settings(overlap=1.0)}, ShapeError, "overlap 1.0"),
        ("good", {"settings": Settings(device="cuda:99")}, ModelError, "CUDA devices"),
        ("good", {"host_limit": 1000}, PlanError, "a worker has 1 kB"),
        ("good", {"chunks": (4, 4)}, ShapeError, "number of axes"),
        ("good", {"probabilities": "float64"}, ConfigError, 'probabilities is "float64"'),
        ("good", {"output": "{}/none/a.zarr"}, MissingFileError, "does not exist"),
        ("good", {"output": "{}/a.docx"}, VolprocError, "known"),
        (
            "good",
            {"probabilities": "uint8", "probabilities_output": "{}/p.mrc"},
            FormatError,
            r"channels are stored as OME-Zarr",
        ),
        (
            "good",
            {"probabilities": "uint8", "probabilities_output": "{}/none/p.zarr"},
            MissingFileError,
            "does not exist",
        ),
    ],
)
def test_bad_input_ends_in_one_message_and_nothing_half_written(
    model, tmp_path, listing, what, changes, error, text, make_task
) -> None:
    spoiled = spoil(tmp_path, model, what)
    changes = {k: v.format(tmp_path) if k.endswith("output") else v for k, v in changes.items()}
    before = listing()
    task = make_task(**(spoiled | {"voxel_size": 10.0} | changes))
    with pytest.raises(error, match=text):
        segment(task)
    assert listing() == before


def test_bad_voxels_are_replaced_where_asked(model, tmp_path, make_task) -> None:
    changes = spoil(tmp_path, model, "nan") | {"settings": Settings(replace_nonfinite=0.0)}
    report = segment(make_task(**changes))
    record = json.loads(report.record.read_text())
    assert record["statistics"]["num_nan"] == 1
    assert record["scaling"]["replacement"] == 0.0


def test_a_small_volume_is_padded_where_asked(model, tmp_path, make_task) -> None:
    changes = spoil(tmp_path, model, "small")
    report = segment(make_task(settings=Settings(pad=True), **changes))
    assert open_(report.output).shape == (3, 13, 11)


def test_a_wrong_voxel_size_is_overridden_where_asked(model, tmp_path, make_task) -> None:
    changes = spoil(tmp_path, model, "good") | {"override_voxel_size": True, "voxel_size": 12.0}
    report = segment(make_task(**changes))
    np.testing.assert_allclose(open_(report.output).voxel_size, 12.0)


@pytest.mark.parametrize("which", ["classes.zarr", "classes_probabilities.zarr"])
def test_an_output_that_exists_is_refused_before_anything_runs(
    tmp_path, listing, which, make_task
) -> None:
    (tmp_path / which).mkdir()
    (tmp_path / which / "precious").write_text("old")
    before = listing()
    events: list[Event] = []
    task = make_task(probabilities="float16")
    with pytest.raises(ExistsError, match=rf"{which} exists.*--overwrite"):
        segment(task, observe=events.append)
    assert listing() == before
    assert [e for e in events if e.kind == "block"] == []


def test_outputs_are_replaced_where_asked(address, model, tmp_path, make_task, lazy) -> None:
    task = make_task(probabilities="float16")
    segment(task)
    other = replace(task, settings=Settings(overlap=0.25), overwrite=True)
    segment(other)
    expected = lazy(address, model, "probabilities", other.settings)
    found = open_(other.probabilities_address, c=1).data.compute()
    np.testing.assert_array_equal(found, expected[1])
    assert json.loads((tmp_path / "classes.zarr.json").read_text())["settings"]["overlap"] == 0.25


@pytest.fixture
def nan_model(model, tmp_path_factory) -> str:
    """A network of which one weight is no number."""
    spec = read_spec(model)
    state = build("unet3d", num_classes=3, **spec.params).state_dict()
    state["head.bias"][1] = float("nan")
    path = tmp_path_factory.mktemp("nan") / "nan.pt"
    save_model(path, spec, state)
    return str(path)


def test_a_network_that_gives_nan_leaves_nothing(make_task, nan_model, listing) -> None:
    with pytest.raises(ModelError, match="cannot be blended") as caught:
        segment(make_task(model=nan_model, probabilities="uint8"))
    assert any("in block (0, 0, 0) of predict" in note for note in caught.value.__notes__)
    assert listing() == {}


def test_one_process_formats_are_refused_where_blocks_run_in_several(
    tmp_path, listing, make_task
) -> None:
    class Processes:
        num_workers = 2
        has_processes = True

    task = make_task(output=str(tmp_path / "a.h5"))
    with pytest.raises(ClusterError, match=r"a\.h5 can be written by one process only.*OME-Zarr"):
        segment(task, executor=Processes())
    assert listing() == {}


def test_names_of_probabilities_do_not_collide(make_task) -> None:
    names = {
        make_task(output=f"out/{name}", probabilities="uint8").probabilities_address
        for name in ("TS_1.1.zarr", "TS_1.2.zarr", "TS_1.mrc")
    }
    assert names == {f"out/{stem}_probabilities.zarr" for stem in ("TS_1.1", "TS_1.2", "TS_1")}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same_bits_for_any_blocks(tmp_path, make_task) -> None:
    settings = Settings(device="cuda", tta="rot4", batch_size=2)
    found = []
    for number, chunks in enumerate(((9, 13, 11), CHUNKS)):
        output = str(tmp_path / f"{number}.zarr")
        segment(make_task(output=output, chunks=chunks, settings=settings))
        found.append(open_(output).data.compute())
    np.testing.assert_array_equal(*found)
