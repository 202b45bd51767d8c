"""One block of a prediction."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from volproc.graph.block_finish import quantize
from volproc.graph.block_predict import predict_block
from volproc.graph.predict import Settings, make_job
from volproc.graph.predict_job import Product
from volproc.graph.predict_work import PredictWork
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.io.open import open_
from volproc.models.normalization import Scaling
from volproc.plan.inference import make_plan


@pytest.fixture
def job(volume_path, spec, tmp_path):
    source = open_(volume_path, voxel_size=10.0).source
    settings = Settings(overlap=0.5, tta="octopi4")
    sizes = settings.job(spec, shape=source.shape, dtype=source.dtype, storage_chunks=source.chunks)
    plan = make_plan(sizes, chunks=(5, 7, 6))
    files = ChunkFiles(str(tmp_path / "classes"), plan.grid.dask_chunks, np.dtype("u1"))
    spill = Spill(str(tmp_path / "spill"))
    return make_job(source, spec, settings, plan, spill, (Product("classes", files),))


def test_facts_add_up_to_the_plan(job) -> None:
    scaling = Scaling(40.0, 9.0)
    facts = [predict_block(job, scaling, index) for index in job.grid.indices()]
    assert sum(f["patches"] for f in facts) == len(job.sweeps[0].patches)
    assert sum(f["passes"] for f in facts) == 4 * len(job.sweeps[0].patches)
    assert all((f["bytes_read"] > 0) == (f["patches"] > 0) for f in facts)
    assert all(f["time_s"] > 0 for f in facts)


def test_work_is_small_to_send_and_does_the_same_there(job) -> None:
    work = PredictWork(job, Scaling(40.0, 9.0))
    pickled = pickle.dumps(work)
    assert len(pickled) < 10_000
    again = pickle.loads(pickled)
    for index in job.grid.indices():
        work(index)
    store = job.products[0].store
    before = [store.read_chunk(i) for i in job.grid.indices()]
    for index in job.grid.indices():
        again(index)  # a block that runs again gives the same
    for index, chunk in zip(job.grid.indices(), before, strict=True):
        np.testing.assert_array_equal(store.read_chunk(index), chunk)


def test_a_block_leaves_strips_for_its_takers_only(job) -> None:
    scaling = Scaling(40.0, 9.0)
    for index in job.grid.indices():
        predict_block(job, scaling, index)
        for taker in job.takers(index):
            strip = job.spill.take(index, taker)
            assert strip.dtype == np.int64
            assert strip.shape[0] == 3
            assert strip.any()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_are_rounded_to_their_type(dtype) -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    np.testing.assert_array_equal(quantize(values, np.dtype(dtype)), values.astype(dtype))


def test_bytes_are_the_nearest_of_255_steps() -> None:
    values = np.linspace(0, 1, 1001, dtype=np.float32)
    found = quantize(values, np.dtype("u1"))
    assert np.abs(found / 255 - values).max() <= 0.5 / 255 + 1e-6
    np.testing.assert_array_equal(quantize(np.arange(256, dtype="f4") / 255, np.dtype("u1")),
                                  np.arange(256))  # fmt: skip
