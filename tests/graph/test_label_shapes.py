"""Components of shapes that are hard to cut."""

from __future__ import annotations

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import ndimage as ndi

from volproc.graph.label import label


def spiral(size: int = 11) -> np.ndarray:
    """One line that winds inwards, a voxel apart from itself."""
    mask = np.zeros((size, size), bool)
    y, x, (dy, dx) = 0, -1, (0, 1)
    for run in [size, *(n for n in range(size - 1, 0, -2) for _ in range(2))]:
        for _ in range(run):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
    return mask


def comb(shape: tuple[int, ...]) -> np.ndarray:
    """Teeth along z that are joined at the very end only."""
    mask = np.indices(shape)[1:].sum(0) % 2 == 0
    mask[-1] = True
    return mask


SHAPES: dict[str, np.ndarray] = {
    "a spiral crosses each face many times": np.stack([spiral(), np.zeros((11, 11), bool)]),
    "combs interlock": np.stack([comb((9, 11)), ~comb((9, 11))]),
    "teeth meet in the last plane": comb((4, 5, 6)),
    "corners only": np.indices((4, 5, 6)).sum(0) % 2 == 0,
    "diagonals through all blocks": np.eye(6, dtype=bool)[:, :, None] & np.eye(6, dtype=bool),
    "a component through all blocks": np.ones((5, 7, 3), bool),
    "one voxel": np.pad(np.ones((1, 1, 1), bool), ((3, 2), (1, 3), (4, 1))),
    "nothing": np.zeros((3, 4, 5), bool),
    "one plane": np.random.default_rng(0).random((1, 9, 11)) < 0.5,
    "one line": np.random.default_rng(0).random((1, 1, 30)) < 0.5,
    "one column": np.random.default_rng(0).random((30, 1, 1)) < 0.5,
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("connectivity", [1, 2, 3])
@pytest.mark.parametrize("chunks", [(1, 1, 1), (3, 2, 4)])
def test_shapes_that_are_hard_to_cut(name, connectivity, chunks) -> None:
    mask = SHAPES[name]
    if name.startswith("a spiral"):
        assert ndi.label(mask)[1] == 1
    labels, number = label(da.from_array(mask, chunks=chunks), connectivity=connectivity)
    expected, count = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    found = dask.compute(labels, number, scheduler="sync")
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == count
