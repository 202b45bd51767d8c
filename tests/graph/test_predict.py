"""Predictions: the same bits for every cut, every patch once, nothing before it is asked for."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from math import prod
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from volproc.core.errors import (
    ConfigError,
    DtypeError,
    MissingFileError,
    ModelError,
    NonFiniteError,
    ShapeError,
)
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.predict import Settings, predict
from volproc.io.open import open_
from volproc.models.loading import load_model
from volproc.models.networks import ARCHITECTURES, build, register
from volproc.models.views import find_views
from volproc.plan.patches import PatchGrid

with_fixtures = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=12,
    deadline=None,
)


def in_memory(voxels: np.ndarray, chunks: Any = -1) -> Volume:
    return Volume(da.from_array(voxels, chunks=chunks), (10.0, 10.0, 10.0), name="noise")


def whole(voxels: np.ndarray, spec: ModelSpec, output: str, **options: Any) -> np.ndarray:
    """Prediction in one block: what every cut has to equal."""
    return np.asarray(_whole(voxels.tobytes(), voxels.shape, spec.weights, output, **options))


@lru_cache
def _whole(content: bytes, shape: tuple, model: str, output: str, **options: Any) -> np.ndarray:
    voxels = np.frombuffer(content, np.float32).reshape(shape)
    result = predict(in_memory(voxels), model, output=output, chunks=shape, **options)
    return result.data.compute(scheduler="sync")


@contextmanager
def passes(spec: ModelSpec) -> Iterator[list[torch.Tensor]]:
    """Batches that go through a network."""
    seen: list[torch.Tensor] = []
    network = load_model(spec, "cpu").network
    hook = network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    try:
        yield seen
    finally:
        hook.remove()


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = (9, 13, 11)) -> tuple[int, ...]:
    """Chunks of any size, one voxel thick too, but not hundreds of blocks."""
    chunks = tuple(draw(st.integers(1, n)) for n in shape)
    assume(prod(-(-n // c) for n, c in zip(shape, chunks, strict=True)) <= 40)
    return chunks


@with_fixtures
@given(
    chunks=cuts(),
    tta=st.sampled_from(["none", "rot4", "octopi4"]),
    blend=st.sampled_from(["logits", "probabilities"]),
    batch_size=st.sampled_from([1, 3]),
    overlap=st.sampled_from([0.0, 0.25, 0.6]),
    window=st.sampled_from(["gaussian", "constant"]),
    output=st.sampled_from(["classes", "probabilities"]),
)
def test_every_cut_gives_the_same_bits(
    volume_path, voxels, spec, chunks, output, **options
) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    result = predict(volume, spec, output=output, chunks=chunks, **options)
    assert result.data.chunksize == (*(3,) * (output == "probabilities"), *chunks)
    found = result.data.compute(scheduler="sync")
    np.testing.assert_array_equal(found, whole(voxels, spec, output, **options))


@pytest.mark.parametrize("chunks", [(1, 13, 11), (9, 1, 11), (9, 13, 1), (2, 3, 5), (3, 2, 2)])
def test_chunks_thinner_than_a_patch_give_the_same_bits(volume_path, voxels, spec, chunks) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    result = predict(volume, spec, output="probabilities", dtype="float32", chunks=chunks)
    expected = whole(voxels, spec, "probabilities", dtype="float32")
    found = result.data.compute(scheduler="threads")
    assert found.tobytes() == expected.tobytes()


def patch_of(voxels: np.ndarray, grid: PatchGrid, start: tuple[int, ...]) -> np.ndarray:
    scaled = (voxels - np.float32(voxels.astype(float).mean())) / np.float32(
        voxels.std(dtype=float)
    )
    return scaled[tuple(slice(a, a + p) for a, p in zip(start, grid.patch, strict=True))]


@pytest.mark.parametrize("chunks", [(9, 13, 11), (4, 5, 6), (2, 13, 3)])
@pytest.mark.parametrize("tta", ["none", "rot4"])
def test_every_patch_passes_exactly_once_per_view(volume_path, voxels, spec, chunks, tta) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    result = predict(volume, spec, chunks=chunks, tta=tta, overlap=0.5)
    with passes(spec) as seen:
        result.data.compute(scheduler="sync")
    grid = PatchGrid(voxels.shape, spec.patch, 0.5)
    expected = {
        view.forward(torch.from_numpy(patch_of(voxels, grid, start).copy())).numpy().tobytes()
        for start in grid
        for view in find_views(tta)
    }
    found = [batch[0, 0].numpy().tobytes() for batch in seen]
    assert len(found) == len(grid) * len(find_views(tta)) == len(set(found))
    assert set(found) == expected


def test_batches_are_all_of_one_shape(volume_path, spec) -> None:
    result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=(5, 7, 6), batch_size=4)
    with passes(spec) as seen:
        result.data.compute(scheduler="sync")
    assert {tuple(batch.shape) for batch in seen} == {(4, 1, *spec.patch)}


@pytest.mark.parametrize("blend", ["logits", "probabilities"])
def test_classes_are_the_largest_probabilities(volume_path, spec, blend) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    options = {"chunks": (5, 7, 11), "blend": blend, "tta": "octopi8"}
    classes = predict(volume, spec, **options).data.compute(scheduler="sync")
    found = predict(volume, spec, output="probabilities", dtype="float32", **options)
    probabilities = found.data.compute(scheduler="sync")
    assert classes.dtype == np.uint8
    assert found.channels == spec.classes
    np.testing.assert_array_equal(classes, probabilities.argmax(0))
    assert (np.bincount(classes.ravel()) > 10).all()
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-6)


def monai_logits(voxels: np.ndarray, spec: ModelSpec, overlap: float, mode: str) -> np.ndarray:
    """What MONAI makes of a volume with the same network."""
    from monai.inferers import sliding_window_inference

    model = load_model(spec, "cpu")
    mean, std = voxels.astype(float).mean(), voxels.astype(float).std()
    scaled = ((voxels - np.float32(mean)) / np.float32(std)).astype(np.float32)
    output = sliding_window_inference(
        torch.from_numpy(scaled)[None, None],
        roi_size=spec.patch,
        sw_batch_size=1,
        predictor=model,
        overlap=overlap,
        mode=mode,
        sigma_scale=0.125,
        padding_mode="constant",
        cval=0.0,
    )
    return output[0].numpy()


@pytest.mark.parametrize("mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
@pytest.mark.parametrize("shape", [(9, 13, 11), (3, 13, 11), (3, 5, 20)])
def test_probabilities_are_those_of_monais_sliding_window(spec, shape, overlap, mode) -> None:
    voxels = np.random.default_rng(1).normal(3, 2, shape).astype(np.float32)
    expected = torch.softmax(torch.from_numpy(monai_logits(voxels, spec, overlap, mode)), 0)
    result = predict(
        in_memory(voxels),
        spec,
        output="probabilities",
        dtype="float32",
        chunks=(4, 6, 7),
        overlap=overlap,
        window=mode,
        pad=True,
    )
    found = result.data.compute(scheduler="sync")
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5, rtol=0)


@with_fixtures
@given(chunks=cuts(), output_chunks=cuts())
def test_a_computed_input_gives_what_the_opened_one_gives(
    voxels, spec, chunks, output_chunks
) -> None:
    volume = in_memory(voxels, chunks)
    computed = replace(volume, data=volume.data + 0)
    found = predict(computed, spec, output="probabilities", chunks=output_chunks)
    expected = whole(voxels, spec, "probabilities")
    np.testing.assert_array_equal(found.data.compute(scheduler="sync"), expected)


def test_an_input_with_uneven_chunks_is_taken(voxels, spec) -> None:
    volume = in_memory(voxels, ((2, 6, 1), (13,), (1, 7, 3)))
    found = predict(volume, spec, chunks=(5, 5, 5)).data.compute(scheduler="sync")
    np.testing.assert_array_equal(found, whole(voxels, spec, "classes"))


@pytest.mark.parametrize(
    ("dtype", "scale"), [("float16", None), ("uint8", 255), ("float32", None), (None, None)]
)
def test_probabilities_are_stored_as_asked(voxels, spec, dtype, scale) -> None:
    exact = whole(voxels, spec, "probabilities", dtype="float32")
    found = predict(in_memory(voxels), spec, output="probabilities", dtype=dtype, chunks=(4, 9, 9))
    computed = found.data.compute(scheduler="sync")
    assert computed.dtype == np.dtype(dtype or "float16") == found.dtype
    if scale:
        np.testing.assert_array_equal(computed, np.rint(exact * np.float32(scale)))
    else:
        np.testing.assert_array_equal(computed, exact.astype(computed.dtype))


def test_a_part_of_the_result_is_the_part_of_the_whole(volume_path, voxels, spec) -> None:
    result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=(4, 5, 6))
    found = result.data[5:, 2:9, 7:].compute(scheduler="sync")
    np.testing.assert_array_equal(found, whole(voxels, spec, "classes")[5:, 2:9, 7:])


def test_a_second_computation_reads_what_the_first_left(volume_path, spec) -> None:
    result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=(4, 13, 6))
    with passes(spec) as seen:
        first = result.data.compute(scheduler="sync")
        count = len(seen)
        second = result.data.compute(scheduler="sync")
    assert 0 < count == len(seen)
    np.testing.assert_array_equal(first, second)


def test_scratch_is_in_the_folder_asked_for_and_goes_with_the_result(
    volume_path, spec, tmp_path
) -> None:
    result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=(4, 13, 6), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    result.data.compute(scheduler="sync")
    assert len(list(tmp_path.iterdir())) == 1
    del result
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("output", ["classes", "probabilities"])
def test_strips_between_blocks_are_gone_once_all_blocks_are_done(
    volume_path, spec, tmp_path, output
) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    result = predict(volume, spec, output=output, chunks=(4, 5, 6), scratch=tmp_path)
    result.data[..., :1].compute(scheduler="synchronous")
    assert list(tmp_path.glob("*/spill/*/*.npy"))
    first = result.data.compute(scheduler="synchronous")
    assert not list(tmp_path.glob("*/spill/*/*.npy"))
    np.testing.assert_array_equal(result.data.compute(scheduler="synchronous"), first)


def test_scratch_lives_as_long_as_anything_made_of_the_result(volume_path, spec, tmp_path) -> None:
    result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=(4, 13, 6), scratch=tmp_path)
    total = (result.data == 1).sum()
    del result
    gc.collect()
    assert total.compute(scheduler="sync") == total.compute(scheduler="sync")
    assert len(list(tmp_path.iterdir())) == 1


def test_no_voxel_is_read_while_the_graph_is_built(voxels, spec) -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    array = da.map_blocks(never, da.from_array(voxels, chunks=5), dtype="f4", meta=voxels[:0])
    with dask.config.set(scheduler=explode), passes(spec) as seen:
        for output in ("classes", "probabilities"):
            predict(Volume(array, (10.0,) * 3), spec, output=output, chunks=(4, 5, 6))
    assert seen == []


def test_a_graph_has_two_tasks_a_block_beside_the_statistics(volume_path, spec) -> None:
    counts = []
    for chunks in ((9, 13, 11), (3, 13, 11), (1, 13, 11)):
        result = predict(open_(volume_path, voxel_size=10.0), spec, chunks=chunks)
        counts.append(len(dict(result.data.__dask_graph__())) - 2 * result.data.npartitions)
    assert len(set(counts)) == 1


@pytest.mark.parametrize(
    ("bad", "text"), [(np.nan, "2 NaN and 0 inf"), (np.inf, "0 NaN and 2 inf")]
)
def test_voxels_that_are_no_numbers_are_counted_and_refused(voxels, spec, bad, text) -> None:
    spoiled = voxels.copy()
    spoiled[0, 0, 0] = spoiled[8, 12, 10] = bad
    result = predict(in_memory(spoiled, 6), spec, chunks=(4, 9, 9))
    with pytest.raises(NonFiniteError, match=rf"noise has {text}.*of 1287.*replace_nonfinite"):
        result.data.compute(scheduler="sync")


def test_voxels_that_are_no_numbers_are_replaced_where_asked(voxels, spec) -> None:
    spoiled = voxels.copy()
    spoiled[0, 0, 0], spoiled[8, 12, 10] = np.nan, -np.inf
    found = {
        chunks: predict(
            in_memory(spoiled, 6), spec, output="probabilities", chunks=chunks,
            replace_nonfinite=40.0,
        ).data.compute(scheduler="sync")
        for chunks in ((9, 13, 11), (4, 5, 6))
    }  # fmt: skip
    np.testing.assert_array_equal(*found.values())
    assert np.isfinite(found[9, 13, 11]).all()


@pytest.mark.parametrize("normalization", ["percentile", "none"])
def test_other_normalizations_do_not_depend_on_the_cut(voxels, spec, normalization) -> None:
    other = replace(spec, normalization=normalization)
    results = [
        predict(in_memory(voxels, cut), other, output="probabilities", chunks=cut)
        for cut in ((9, 13, 11), (4, 5, 6))
    ]
    first, second = (r.data.compute(scheduler="sync") for r in results)
    np.testing.assert_array_equal(first, second)


def test_a_constant_volume_is_segmented(spec) -> None:
    volume = in_memory(np.full((9, 13, 11), 7, np.uint8))
    found = predict(volume, spec, output="probabilities", chunks=(5, 5, 5)).data.compute()
    assert np.isfinite(found).all()


def test_a_volume_smaller_than_a_patch_is_refused_or_padded(spec) -> None:
    voxels = np.random.default_rng(0).normal(0, 1, (3, 7, 20)).astype(np.float32)
    with pytest.raises(ShapeError, match=r"3 × 7 × 20 voxels, is smaller .* along z, y.*pad"):
        predict(in_memory(voxels), spec)
    whole_result = whole(voxels, spec, "probabilities", pad=True)
    cut = predict(in_memory(voxels), spec, output="probabilities", pad=True, chunks=(2, 3, 5))
    np.testing.assert_array_equal(cut.data.compute(scheduler="sync"), whole_result)


def test_the_frame_of_the_volume_is_kept(volume_path, spec) -> None:
    volume = replace(open_(volume_path, voxel_size=(8.0, 9.0, 10.0)), origin=(1.0, 2.0, 3.0))
    result = predict(volume, spec)
    assert (result.voxel_size, result.origin, result.name) == ((8, 9, 10), (1, 2, 3), "noise")
    assert (result.address, result.source, result.channels) == ("", None, ())


def test_settings_may_be_given_together_or_one_by_one(volume_path, spec) -> None:
    volume = open_(volume_path, voxel_size=10.0)
    together = predict(volume, spec, settings=Settings(tta="rot4", overlap=0.5), overlap=0.25)
    alone = predict(volume, spec, tta="rot4", overlap=0.25)
    np.testing.assert_array_equal(together.data.compute(), alone.data.compute())


@pytest.mark.parametrize(
    ("array", "error", "text"),
    [
        (np.zeros((9, 13), "f4"), ShapeError, r"got shape \(9, 13\). Micrographs"),
        (np.zeros((0, 13, 11), "f4"), ShapeError, r"empty volume, got shape \(0, 13, 11\)"),
        (np.zeros((9, 13, 11), "c8"), DtypeError, "real voxels, got complex64"),
    ],
)
def test_volumes_that_a_network_cannot_take_are_refused(spec, array, error, text) -> None:
    volume = Volume(da.from_array(array), (10.0,) * array.ndim)
    with pytest.raises(error, match=text):
        predict(volume, spec)


def test_a_model_for_more_channels_is_refused_with_both_numbers(volume_path, spec) -> None:
    with pytest.raises(ModelError, match="takes 2 input channels, the volume has 1"):
        predict(open_(volume_path, voxel_size=10.0), replace(spec, channels=2))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"tta": "octopi"}, ModelError, "octopi4|octopi8"),
        ({"overlap": 1.0}, ShapeError, "overlap 1.0 is outside"),
        ({"blend": "votes"}, ConfigError, 'blend is "votes". Choose one of logits'),
        ({"window": "hann"}, ConfigError, 'window is "hann"'),
        ({"sigma_scale": 0.0}, ConfigError, "positive width, got sigma_scale 0.0"),
        ({"batch_size": 0}, ConfigError, "at least one patch, got batch_size 0"),
        ({"output": "labels"}, ConfigError, "Choose classes or probabilities"),
        ({"dtype": "uint8"}, ConfigError, "class map has the type that holds its classes"),
        ({"output": "probabilities", "dtype": "int16"}, ConfigError, "float16, float32 or uint8"),
        ({"chunks": (4, 4)}, ShapeError, "differ in their number of axes"),
        ({"chunks": (4, 0, 4)}, ShapeError, "must be positive"),
        ({"device": "tpu"}, ModelError, "not a device"),
        ({"batchsize": 2}, ConfigError, 'batchsize.*did you mean "batch_size"'),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_runs(
    volume_path, spec, options, error, text
) -> None:
    with pytest.raises(error, match=text):
        predict(open_(volume_path, voxel_size=10.0), spec, **options)


def test_a_model_that_is_not_there_is_named(volume_path, tmp_path) -> None:
    with pytest.raises(MissingFileError, match="no model file"):
        predict(open_(volume_path, voxel_size=10.0), tmp_path / "nothing.pt")


def test_a_network_that_gives_nan_ends_in_one_error(volume_path, spec, tmp_path) -> None:
    from volproc.models.loading import read_spec, save_model

    state = build("unet3d", num_classes=3, **spec.params).state_dict()
    state["head.bias"][1] = float("nan")
    save_model(tmp_path / "nan.pt", spec, state)
    result = predict(open_(volume_path, voxel_size=10.0), read_spec(tmp_path / "nan.pt"))
    with pytest.raises(ModelError, match="cannot be blended"):
        result.data.compute(scheduler="sync")


def test_an_architecture_of_ones_own_is_taken(volume_path, spec, tmp_path) -> None:
    from volproc.models.loading import read_spec, save_model

    calls = []

    class Threshold(torch.nn.Module):
        def __init__(self, *, in_channels: int = 1, num_classes: int = 2) -> None:
            super().__init__()
            self.level = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            calls.append(tuple(x.shape))
            return torch.cat([self.level - x, x - self.level], 1)

    register("threshold-of-a-test", multiple=lambda params: (1, 1, 1))(Threshold)
    try:
        mine = replace(
            spec, architecture="threshold-of-a-test", params={}, classes=("background", "bright")
        )
        save_model(tmp_path / "mine.pt", mine, Threshold().state_dict())
        volume = open_(volume_path, voxel_size=10.0)
        result = predict(volume, read_spec(tmp_path / "mine.pt"), chunks=(4, 5, 6))
        found = result.data.compute(scheduler="sync")
    finally:
        del ARCHITECTURES["threshold-of-a-test"]
    voxels = np.load(volume_path)
    np.testing.assert_array_equal(found, voxels > voxels.astype(float).mean())
    # Beside the patches one pass without voxels, for the estimate of memory.
    assert len(calls) == len(PatchGrid(voxels.shape, spec.patch)) + 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("output", ["classes", "probabilities"])
def test_every_cut_gives_the_same_bits_on_a_gpu(voxels, spec, output) -> None:
    results = [
        predict(
            in_memory(voxels), spec, output=output, chunks=cut, tta="octopi8", batch_size=3,
            device="cuda",
        ).data.compute(scheduler="sync")
        for cut in ((9, 13, 11), (4, 5, 6), (1, 13, 5))
    ]  # fmt: skip
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])
