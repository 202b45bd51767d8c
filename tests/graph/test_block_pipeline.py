"""Reading ahead of a network and writing behind it: the same bits, no memory more, no hanging."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.arrays import Sink
from volproc.core.errors import FormatError, ModelError, SpillError
from volproc.core.types import whole
from volproc.graph.block_finish import JointSums, finish_region
from volproc.graph.block_pipeline import PieceWriter, SlabReader, cut_pieces
from volproc.graph.block_predict import predict_block
from volproc.graph.predict import Settings, make_job
from volproc.graph.predict_job import PredictJob, Product
from volproc.graph.region_predict import predict_region
from volproc.graph.spill import Spill
from volproc.io.chunk_files import ChunkFiles
from volproc.io.create import create
from volproc.io.omezarr_write import create_channels
from volproc.models.loading import load_model
from volproc.models.normalization import Scaling
from volproc.models.sliding import Accumulator
from volproc.plan.inference import make_plan

SHAPE = (40, 13, 11)
SCALING = Scaling(40.0, 9.0)
LIMIT_S = 60.0


class Voxels:
    """A source in memory that remembers what was read, and asks before it reads."""

    def __init__(self, voxels: np.ndarray, chunks: tuple[int, ...] = (1, 1, 1)) -> None:
        self.voxels, self.chunks = voxels, chunks
        self.shape, self.dtype = voxels.shape, voxels.dtype
        self.read_planes: list[tuple[int, int]] = []
        self.ask: Callable[[slice], None] = lambda planes: None

    def read(self, region):
        self.ask(region[0])
        self.read_planes.append((region[0].start, region[0].stop))
        return self.voxels[region].copy()

    def identity(self) -> str:
        return "in memory"


class Pieces:
    """A sink in memory that remembers its pieces, and asks before it writes."""

    address = "memory"
    is_parallel = True

    def __init__(self, shape, dtype, chunks) -> None:
        self.voxels = np.zeros(shape, dtype)
        self.shape, self.dtype, self.chunks = shape[-3:], np.dtype(dtype), chunks
        self.pieces: list[tuple[slice, ...]] = []
        self.ask: Callable[[tuple[slice, ...]], None] = lambda region: None

    def write(self, region, block) -> None:
        self.ask(region)
        self.pieces.append(region)
        self.voxels[(..., *region)] = block

    def finish(self) -> None: ...

    def discard(self) -> None: ...


def within_limit(function: Callable[[], Any]) -> Any:
    """What a function returns or raises; fails if it hangs."""
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append((function(), None))
        except Exception as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    assert outcome, f"nothing came back within {LIMIT_S} s"
    ((result, error),) = outcome
    if error is not None:
        raise error
    return result


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert not [t.name for t in threading.enumerate() if t.name.startswith("volproc-")]


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(3).normal(40, 9, SHAPE).astype(np.float32)


def make(spec, tmp_path, source, *, chunks, stores, **settings) -> PredictJob:
    chosen = Settings(**({"overlap": 0.5} | settings))
    sizes = chosen.job(spec, shape=source.shape, dtype=source.dtype, storage_chunks=source.chunks)
    plan = make_plan(sizes, chunks=chunks)
    kinds = ("classes", "probabilities")
    products = tuple(Product(k, store) for k, store in zip(kinds, stores, strict=False))
    return make_job(source, spec, chosen, plan, Spill(str(tmp_path / "spill")), products)


def predict_all(job: PredictJob) -> list[dict[str, Any]]:
    return [within_limit(lambda i=i: predict_block(job, SCALING, i)) for i in job.grid.indices()]


def sequential(job: PredictJob) -> dict[str, np.ndarray]:
    """All of a volume at once, one thing after the other."""
    (sweep,) = job.sweeps
    model = load_model(sweep.spec, job.device)
    voxels, starts = job.source.read(whole(job.source.shape)), list(sweep.patches)
    sums = Accumulator(whole(job.source.shape), sweep.inference, model.device)
    patches = []
    for start in starts:
        patch = np.zeros(sweep.inference.patch, np.float32)
        before = [max(0, -a) for a in start]
        bounds = zip(start, patch.shape, strict=True)
        part = SCALING(voxels[tuple(slice(max(a, 0), a + p) for a, p in bounds)])
        where = zip(before, part.shape, strict=True)
        patch[tuple(slice(b, b + n) for b, n in where)] = part
        patches.append(patch)
    outputs = sweep.inference.run(model, patches, model.device)
    for start, output in zip(starts, outputs, strict=True):
        sums.add(start, output)
    return finish_region(
        job,
        whole(job.source.shape),
        JointSums(job, sums),
        {p.kind: p.dtype for p in job.products},
    )


@pytest.mark.parametrize(
    ("shape", "chunks", "storage", "stored", "settings"),
    [
        (SHAPE, (40, 13, 11), (8, 5, 4), (7, 5, 4), {}),
        (SHAPE, (16, 6, 11), (8, 3, 11), (40, 13, 11), {"tta": "octopi4", "batch_size": 3}),
        (SHAPE, (24, 13, 5), (1, 1, 1), (1, 13, 11), {"blend": "probabilities", "overlap": 0.25}),
        (SHAPE, (9, 7, 6), (9, 7, 6), (16, 16, 16), {"batch_size": 5}),
        ((40, 5, 3), (20, 5, 3), (10, 5, 3), (1, 1, 1), {"pad": True, "batch_size": 2}),
        ((3, 5, 11), (3, 5, 11), (3, 5, 11), (1, 1, 1), {"pad": True}),
    ],
)
def test_bits_are_those_of_one_thing_after_the_other(
    spec, noise, tmp_path, shape, chunks, storage, stored, settings
) -> None:
    source = Voxels(noise[tuple(slice(0, n) for n in shape)].copy(), stored)
    stores = (Pieces(shape, "u1", storage), Pieces((3, *shape), "f4", storage))
    job = make(spec, tmp_path, source, chunks=chunks, stores=stores, **settings)
    facts = predict_all(job)
    source.read_planes.clear()
    expected = sequential(job)
    np.testing.assert_array_equal(stores[0].voxels, expected["classes"])
    np.testing.assert_array_equal(stores[1].voxels, expected["probabilities"])
    assert sum(f["patches"] for f in facts) == len(job.sweeps[0].patches)
    written = np.zeros(shape, int)
    for piece in stores[0].pieces:
        written[piece] += 1
        assert all(s.start % c == 0 for s, c in zip(piece, storage, strict=True))
    assert (written == 1).all()


def test_files_hold_what_a_region_predicted_for_itself_has(spec, noise, tmp_path) -> None:
    frame = {"shape": SHAPE, "voxel_size": (10.0,) * 3, "chunks": (8, 5, 11)}
    stores: tuple[Sink, ...] = (
        create(str(tmp_path / "c.zarr"), dtype="u1", kind="labels", **frame),
        create_channels(str(tmp_path / "p.zarr"), names=spec.classes, dtype="f2", **frame),
    )
    job = make(spec, tmp_path, Voxels(noise), chunks=(16, 10, 11), stores=stores, tta="rot4")
    predict_all(job)
    dtypes = {p.kind: p.dtype for p in job.products}
    expected = predict_region(job, SCALING, whole(SHAPE), dtypes)
    for store, kind in zip(stores, dtypes, strict=True):
        found = store._array(0)[...]
        np.testing.assert_array_equal(found, expected[kind])


def test_planes_are_written_while_others_are_not_even_read(spec, noise, tmp_path) -> None:
    source, store = Voxels(noise), Pieces(SHAPE, "u1", (8, 13, 11))
    written = threading.Event()
    store.ask = lambda region: written.set()

    def wait_for_the_first_piece(planes: slice) -> None:
        if planes.start >= 32:
            assert written.wait(LIMIT_S / 2), "nothing is written before all is read"

    source.ask = wait_for_the_first_piece
    job = make(spec, tmp_path, source, chunks=SHAPE, stores=(store,))
    predict_all(job)
    assert source.read_planes == [(0, 16), (16, 32), (32, 40)]
    assert [p[0].stop for p in store.pieces] == [8, 16, 24, 32, 40]


def test_the_reader_is_ahead_of_who_waits_for_it() -> None:
    source, ahead = Voxels(np.zeros((64, 2, 3), "f4")), threading.Event()
    source.ask = lambda planes: ahead.set() if planes.start == 48 else None
    with SlabReader(source, Scaling(), whole(source.shape)) as reader:
        reader.up_to(1)
        assert ahead.wait(LIMIT_S)


@pytest.mark.parametrize(("stored", "first"), [(1, 16), (12, 24), (20, 20), (100, 100)])
def test_slabs_are_whole_storage_chunks_from_the_first_plane_on(stored: int, first: int) -> None:
    voxels = np.arange(100 * 6, dtype="i2").reshape(100, 2, 3)
    source = Voxels(voxels, (stored, 2, 3))
    extent = (slice(5, 97), slice(1, 2), slice(0, 3))
    with SlabReader(source, Scaling(1.0, 2.0), extent) as reader:
        found = reader.up_to(97)
        np.testing.assert_array_equal(found, (voxels[extent].astype("f4") - 1) / 2)
        assert reader.num_bytes == 92 * 3 * 2
    starts = [5, *range(first, 97, first)]
    assert source.read_planes == list(zip(starts, [*starts[1:], 97], strict=True))


def test_a_reader_that_is_left_reads_no_further_slab() -> None:
    source, may_read = Voxels(np.zeros((640, 2, 3), "f4")), threading.Semaphore(2)
    source.ask = lambda planes: None if may_read.acquire(timeout=LIMIT_S) else pytest.fail("late")
    reader = SlabReader(source, Scaling(), whole(source.shape))
    reader.up_to(32)
    later = [slab for _, slab in reader._slabs]
    leaving = threading.Thread(target=reader.close)
    leaving.start()
    deadline = time.monotonic() + LIMIT_S
    while not later[-1].cancelled() and time.monotonic() < deadline:
        time.sleep(0.001)
    may_read.release()  # of the slab that was under way
    leaving.join(LIMIT_S)
    assert not leaving.is_alive()
    assert len(source.read_planes) == 3


def test_reading_takes_less_than_the_raw_extent_beside_the_scaled_one() -> None:
    source = Voxels(np.ones((256, 40, 50), "f4"))
    extent = whole(source.shape)
    tracemalloc.start()
    try:
        with SlabReader(source, Scaling(), extent) as reader:
            reader.up_to(256)
            _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    scaled = source.voxels.size * 4
    assert scaled < peak < scaled + 3 * 16 * 40 * 50 * 4


def test_an_error_of_the_source_comes_out_and_ends_the_block(spec, noise, tmp_path) -> None:
    source, store = Voxels(noise), Pieces(SHAPE, "u1", (8, 13, 11))
    error = FormatError("chunk 2 is damaged. Copy it again.")

    def refuse(planes: slice) -> None:
        if planes.start >= 32:
            raise error

    source.ask = refuse
    job = make(spec, tmp_path, source, chunks=SHAPE, stores=(store,))
    with pytest.raises(FormatError) as caught:
        predict_all(job)
    assert caught.value is error
    assert all(piece[0].stop <= 32 for piece in store.pieces)
    assert source.read_planes == [(0, 16), (16, 32)]


@pytest.mark.parametrize("plane", [0, 39])
def test_what_cannot_be_blended_is_not_written_nor_given(spec, noise, tmp_path, plane) -> None:
    voxels = noise.copy()
    voxels[plane] = np.nan
    store = Pieces(SHAPE, "u1", (8, 5, 11))
    job = make(spec, tmp_path, Voxels(voxels), chunks=(40, 5, 11), stores=(store,))
    with pytest.raises(ModelError, match="which cannot be blended"):
        predict_all(job)
    assert all(piece[0].stop <= plane for piece in store.pieces)
    assert bool(store.pieces) == (plane > 0)
    assert not (tmp_path / "spill").exists()


@pytest.mark.parametrize("number", [0, 2, 4])
def test_an_error_of_the_output_comes_out_and_ends_the_block(spec, noise, tmp_path, number) -> None:
    source, store = Voxels(noise), Pieces(SHAPE, "u1", (8, 13, 11))
    full = OSError(28, "No space left on device")

    def refuse(region) -> None:
        if region[0].start >= 8 * number:
            raise full

    store.ask = refuse
    job = make(spec, tmp_path, source, chunks=SHAPE, stores=(store,))
    with pytest.raises(OSError, match="No space") as caught:
        predict_all(job)
    assert caught.value is full
    assert len(store.pieces) == number


def test_without_a_neighbours_strips_nothing_is_written_but_the_own_ones_are_given(
    spec, noise, tmp_path
) -> None:
    store = Pieces(SHAPE, "u1", (8, 13, 11))
    job = make(spec, tmp_path, Voxels(noise), chunks=(14, 13, 11), stores=(store,))
    predict_block(job, SCALING, (0, 0, 0))
    job.spill.drop((0, 0, 0))
    store.pieces.clear()
    with pytest.raises(SpillError, match="missing or damaged"):
        within_limit(lambda: predict_block(job, SCALING, (1, 0, 0)))
    assert not store.pieces
    assert job.spill.take((1, 0, 0), (2, 0, 0)).any()


def test_a_writer_holds_one_piece_and_lets_one_wait() -> None:
    may_write, begun, handed = threading.Semaphore(0), [], []

    def write(item: int) -> None:
        begun.append(item)
        assert may_write.acquire(timeout=LIMIT_S)

    def hand_over(writer: PieceWriter[int]) -> None:
        for item in range(4):
            writer.put(item)
            handed.append(item)

    with PieceWriter(write) as writer:
        thread = threading.Thread(target=hand_over, args=(writer,))
        thread.start()
        deadline = time.monotonic() + LIMIT_S
        for done in range(3):
            while len(begun) <= done and time.monotonic() < deadline:
                time.sleep(0.001)
            assert begun == list(range(done + 1))
            assert len(handed) <= done + 2
            may_write.release()
        may_write.release()
        thread.join(LIMIT_S)
        writer.finish()
    assert begun == handed == [0, 1, 2, 3]


sides = st.tuples(st.integers(1, 40), st.integers(1, 20), st.integers(1, 9))


@given(sides, sides, sides, st.integers(0, 5))
def test_pieces_tile_a_region_and_are_cut_between_storage_chunks(size, chunks, more, first) -> None:
    stores = [Pieces((1, 1, 1), "u1", chunks), Pieces((1, 1, 1), "u1", more)]
    region = tuple(slice(first * c, first * c + n) for c, n in zip(chunks, size, strict=True))
    count = np.zeros([s.stop for s in region], int)
    layers = cut_pieces(region, stores)
    for layer in layers:
        assert len({(piece[0].start, piece[0].stop) for piece in layer}) == 1
        for piece in layer:
            count[piece] += 1
            for s, r, a, b in zip(piece, region, chunks, more, strict=True):
                assert s.start == r.start or s.start % a == s.start % b == 0
                assert s.stop == r.stop or s.stop % a == s.stop % b == 0
    assert (count[region] == 1).all()
    assert count.sum() == count[region].size
    assert [layer[0][0].start for layer in layers] == sorted(layer[0][0].start for layer in layers)


def test_a_store_of_whole_blocks_gets_one_piece(tmp_path) -> None:
    files = ChunkFiles(str(tmp_path), ((20, 20), (4,), (5,)), np.dtype("u1"))
    region = (slice(20, 40), slice(0, 4), slice(0, 5))
    assert cut_pieces(region, [Pieces((1, 1, 1), "u1", (1, 1, 1)), files]) == [[region]]


def test_all_batch_sizes_see_the_same_patches(spec, noise, tmp_path) -> None:
    """Buffers are used again: what an earlier batch left must not show in the last one."""
    found = []
    for number in (1, 4, 7):
        store = Pieces(SHAPE, "u1", (8, 13, 11))
        job = make(spec, tmp_path, Voxels(noise), chunks=SHAPE, stores=(store,), batch_size=number)
        assert len(job.sweeps[0].patches) % 7
        predict_all(replace(job, spill=Spill(str(tmp_path / f"spill-{number}"))))
        found.append(store.voxels)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_what_the_cpu_gives_and_its_own_bits_for_every_cut(
    spec, noise, tmp_path
) -> None:
    found = {}
    for name, device, chunks in (
        ("cpu", "cpu", SHAPE),
        ("whole", "cuda", SHAPE),
        ("cut", "cuda", (16, 5, 11)),
    ):
        folder = tmp_path / name
        stores = (Pieces(SHAPE, "u1", (8, 5, 11)), Pieces((3, *SHAPE), "f4", (8, 5, 11)))
        settings = {"device": device, "batch_size": 3, "tta": "rot4"}
        predict_all(make(spec, folder, Voxels(noise), chunks=chunks, stores=stores, **settings))
        found[name] = stores[1].voxels
    np.testing.assert_array_equal(found["whole"], found["cut"])
    np.testing.assert_allclose(found["whole"], found["cpu"], atol=0.05)  # bfloat16
