"""A block as a stage runs it: made smaller, repaired, and looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volproc.core.errors import SpillError
from volproc.graph.block_predict import predict_block
from volproc.graph.predict import Settings, make_job
from volproc.graph.predict_job import PredictJob, Product
from volproc.graph.predict_work import PredictWork, read_batches, repair_block
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.io.open import open_
from volproc.models.normalization import Scaling
from volproc.plan.inference import make_plan

SCALING = Scaling(40.0, 9.0)


@pytest.fixture
def job(volume_path, spec, tmp_path) -> PredictJob:
    source = open_(volume_path, voxel_size=10.0).source
    settings = Settings(overlap=0.5, batch_size=5)
    sizes = settings.job(spec, shape=source.shape, dtype=source.dtype, storage_chunks=source.chunks)
    plan = make_plan(sizes, chunks=(5, 7, 6))
    files = ChunkFiles(str(tmp_path / "classes"), plan.grid.dask_chunks, np.dtype("u1"))
    spill = Spill(str(tmp_path / "spill"))
    return make_job(source, spec, settings, plan, spill, (Product("classes", files),))


def test_a_batch_is_halved_down_to_one_and_each_half_is_noted(job: PredictJob, tmp_path) -> None:
    notes = tmp_path / "batches.json"
    assert read_batches(notes) == []
    work: PredictWork | None = PredictWork(job, SCALING, notes=str(notes))
    sizes = []
    while work is not None:
        sizes.append(work.job.batch_size)
        work = work.smaller()
    assert sizes == [5, 2, 1]
    assert read_batches(notes) == [1, 2]
    assert PredictWork(job, SCALING).smaller() is not None  # without notes too


def test_a_place_is_told_in_voxels(job: PredictJob) -> None:
    shape = job.grid.shape
    last = next(reversed(list(job.grid.indices())))
    text = PredictWork(job, SCALING).place(last)
    assert text.startswith("voxels z ")
    assert text.endswith(f":{shape[2]}")


def test_a_block_without_its_neighbours_strips_has_the_same_bits(job: PredictJob) -> None:
    work = PredictWork(job, SCALING)
    for index in job.grid.indices():
        assert "repaired" not in work(index)
    store = job.products[0].store
    assert isinstance(store, ChunkFiles)
    before = {index: store.read_chunk(index) for index in job.grid.indices()}
    for index, chunk in before.items():
        for giver in job.needs(index):
            job.spill.drop(giver)
        Path(store._path(index)).unlink()
        facts = work(index)
        assert bool(facts.get("repaired")) == bool(job.needs(index))
        np.testing.assert_array_equal(store.read_chunk(index), chunk)


def test_a_repair_leaves_the_strips_for_others_alone(job: PredictJob) -> None:
    first = next(iter(job.grid.indices()))
    facts = repair_block(job, SCALING, first)
    assert facts["patches"] >= 1
    taker = job.takers(first)[0]
    with pytest.raises(SpillError):
        job.spill.take(first, taker)
    predict_block(job, SCALING, first)
    assert job.spill.take(first, taker).any()
