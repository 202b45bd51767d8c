"""Cells of a stack: the same for every chunking, slices by themselves, linked along z."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import numpy.typing as npt
import pytest

import volproc
from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, ShapeError
from volproc.graph.cells import cellpose_slices, segment_cells
from volproc.metrics import contingency_table, score_matches
from volproc.models.cellpose_slices import CellposeSettings, load_once, segment_slice
from volproc.phantoms.cells import CellSpec, make_cells

SPEC = CellSpec((10, 64, 72), seed=12, z_step=2.0, radius=(7.0, 9.0), closeness=0.95, noise=0.05)


@pytest.fixture(scope="module")
def stack() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint32]]:
    return make_cells(SPEC)


@pytest.fixture(scope="module")
def by_slice(stack: tuple[npt.NDArray, npt.NDArray]) -> npt.NDArray[np.uint32]:
    network = load_once("phantom-nuclei", "cpu")
    return np.stack([segment_slice(network, z, CellposeSettings()).labels for z in stack[0]])


@pytest.mark.parametrize("chunks", [(3, 64, 20), (10, 31, 72), (1, 64, 72)])
def test_slices_are_those_of_cellpose_for_every_chunking(
    stack: tuple[npt.NDArray, npt.NDArray],
    by_slice: npt.NDArray[np.uint32],
    chunks: tuple[int, ...],
) -> None:
    array = da.from_array(stack[0], chunks=chunks)
    labels, number = segment_cells(array, backend="slices", device="cpu")
    assert number is None
    assert (labels.compute(scheduler="sync") == by_slice).all()


def test_linked_cells_are_those_of_the_phantom(
    stack: tuple[npt.NDArray, npt.NDArray], by_slice: npt.NDArray[np.uint32]
) -> None:
    image, truth = stack
    volume = volproc.Volume(da.from_array(image, chunks=(4, 64, 72)), SPEC.voxel_size)
    labels, number = segment_cells(volume, device="cpu")
    found, count = dask.compute(labels.data, number, scheduler="sync")
    expected, _ = volproc.link(da.from_array(by_slice, chunks=(10, 64, 72)))
    assert (found == expected.compute(scheduler="sync")).all()
    assert labels.voxel_size == SPEC.voxel_size
    assert count == found.max() == len(np.unique(found)) - 1
    scores = score_matches(contingency_table(truth, found), thresholds=[0.5]).iloc[0]
    assert scores["f1"] > 0.75


def test_flows_and_probability_cost_no_second_pass(
    stack: tuple[npt.NDArray, npt.NDArray], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = load_once("phantom-nuclei", "cpu")
    passes = []
    run = network.net.forward
    monkeypatch.setattr(network.net, "forward", lambda x: (passes.append(len(x)), run(x))[1])
    slices = cellpose_slices(da.from_array(stack[0][:2], chunks=1), network)
    labels, flows, probability = dask.compute(*slices, scheduler="sync")
    assert len(passes) == 2
    alone = segment_slice(network, stack[0][1], CellposeSettings())
    assert (flows[:, 1] == alone.flows).all()
    assert (probability[1] == alone.probability).all()
    assert labels.shape == probability.shape == flows.shape[1:]


def test_bad_input_is_refused() -> None:
    stack = da.zeros((2, 8, 8), dtype=np.float32)
    with pytest.raises(ConfigError, match='did you mean "hybrid2d3d"'):
        segment_cells(stack, backend="hybrid")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="one slice"):
        segment_cells(stack[0])
    with pytest.raises(ShapeError, match="4 pixels"):
        segment_cells(stack[:, :3])
    with pytest.raises(DtypeError, match="complex64"):
        segment_cells(stack.astype(np.complex64))
    broken = da.from_array(np.full((2, 8, 8), np.nan), chunks=(2, 8, 8))
    with pytest.raises(NonFiniteError, match="slice 0: 64 of 64"):
        segment_cells(broken, backend="slices", device="cpu")[0].compute(scheduler="sync")
