"""Worker processes: the same bits, errors that name their block, nothing that cannot be."""

from __future__ import annotations

import dask
import numpy as np
import pytest

from volproc.core.errors import ClusterError, ModelError
from volproc.core.events import Event
from volproc.graph.label import label
from volproc.graph.predict import Settings, predict
from volproc.io.open import open_
from volproc.models.loading import read_spec, save_model
from volproc.models.networks import build
from volproc.workflows.segment import segment


def test_lazy_results_have_the_same_bits_in_processes(processes, address, model) -> None:
    volume = open_(address, voxel_size=10.0)
    options = {"chunks": (4, 7, 6), "overlap": 0.5, "tta": "rot4"}
    result = predict(volume, model, output="probabilities", dtype="float32", **options)
    expected = result.data.compute(scheduler="sync")
    again = predict(volume, model, output="probabilities", dtype="float32", **options)
    found = again.data.compute(scheduler=processes.client)
    assert found.tobytes() == expected.tobytes()
    labels, number = label(predict(volume, model, **options))
    one = dask.compute(labels.data, number, scheduler="sync")
    other = dask.compute(labels.data, number, scheduler=processes.client)
    np.testing.assert_array_equal(one[0], other[0])
    assert one[1] == other[1]


def test_files_have_the_same_bits_from_processes(processes, make_task, check_outputs) -> None:
    settings = Settings(overlap=0.5, tta="rot4", batch_size=2)
    task = make_task(settings=settings, probabilities="float16")
    events: list[Event] = []
    report = segment(task, executor=processes, observe=events.append)
    check_outputs(report, settings)
    blocks = [e for e in events if e.kind == "block" and e.stage == "predict"]
    assert sum(e.facts["passes"] for e in blocks) == report.plan.num_passes


def test_an_error_in_a_process_names_its_block(processes, make_task, model, tmp_path) -> None:
    spec = read_spec(model)
    state = build("unet3d", num_classes=3, **spec.params).state_dict()
    state["head.bias"][1] = float("nan")
    save_model(tmp_path / "nan.pt", spec, state)
    with pytest.raises(ModelError, match="cannot be blended") as caught:
        segment(make_task(model=str(tmp_path / "nan.pt")), executor=processes)
    assert any("in block (" in note for note in caught.value.__notes__)
    assert [p.name for p in tmp_path.iterdir()] == ["nan.pt"]


def test_what_one_process_must_write_is_refused(processes, make_task, tmp_path, listing) -> None:
    with pytest.raises(ClusterError, match=r"a\.h5:/classes can be written by one process only"):
        segment(make_task(output=str(tmp_path / "a.h5:/classes")), executor=processes)
    assert listing() == {}
