"""The lazy table of shared voxels: the same for every chunking."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest

import volproc
from volproc.core.errors import DtypeError, ShapeError
from volproc.metrics import contingency_table, match_instances


@pytest.mark.parametrize("chunks", [(3, 4, 5), (1, 13, 2), (7, 13, 11), ((2, 5), (6, 7), (11,))])
def test_the_table_is_that_of_the_whole_volume(chunks: tuple) -> None:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 30, (7, 13, 11))
    predicted = np.roll(truth, 1, 2)
    table = volproc.contingency(
        da.from_array(truth, chunks=chunks), da.from_array(predicted, chunks=(4, 4, 4))
    ).compute(scheduler="sync")
    assert table.equals(contingency_table(truth, predicted))
    assert match_instances(table)["iou"].max() < 0.5


def test_volumes_and_masks_are_taken() -> None:
    labels = np.zeros((4, 6), np.uint16)
    labels[1:3, 1:5] = 3
    volume = volproc.Volume(da.from_array(labels, chunks=3), (5.0, 5.0))
    table = volproc.contingency(volume, volume.data > 0).compute(scheduler="sync")
    assert table.to_numpy().tolist() == [[0, 0, 16], [3, 1, 8]]


def test_what_cannot_be_compared_is_refused_at_once() -> None:
    labels = da.ones((4, 4), dtype=np.int32)
    with pytest.raises(ShapeError, match="same volume"):
        volproc.contingency(labels, labels[:3])
    with pytest.raises(DtypeError, match="float64"):
        volproc.contingency(labels, labels.astype(float))
    with pytest.raises(DtypeError, match=r"block at \(0, 0\)"):
        volproc.contingency(labels, -labels).compute(scheduler="sync")
