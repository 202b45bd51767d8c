"""Views: each has its exact inverse, all are distinct, the order is stated."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from volproc.core.errors import ModelError
from volproc.models.views import VIEW_SETS, View, find_views
from volproc.plan.patches import PatchGrid

ALL_VIEWS = [view for views in VIEW_SETS.values() for view in views]


def patch(*lead: int) -> torch.Tensor:
    shape = (*lead, 3, 4, 5)
    return torch.arange(int(np.prod(shape))).reshape(shape)


@pytest.mark.parametrize("view", ALL_VIEWS, ids=lambda v: v.name)
def test_every_view_is_undone_exactly(view: View) -> None:
    for lead in ((), (2,), (2, 3)):
        assert torch.equal(view.inverse(view.forward(patch(*lead))), patch(*lead))
        assert torch.equal(view.forward(view.inverse(patch(*lead))), patch(*lead))


@pytest.mark.parametrize("name", sorted(VIEW_SETS))
def test_views_of_a_set_are_distinct(name: str) -> None:
    seen = {tuple(view.forward(patch()).flatten().tolist()) for view in find_views(name)}
    turned = {tuple(view.forward(patch()).shape) for view in find_views(name)}
    assert len(seen) == len(find_views(name)) == len({view.name for view in find_views(name)})
    assert turned <= {(3, 4, 5), (3, 5, 4)}


def test_the_sixteen_views_are_all_symmetries_that_keep_z_in_place() -> None:
    # z alone is flipped or not; y and x go through the eight symmetries of a square.
    square = patch().numpy()
    expected = {
        tuple(np.rot90(square[::flip_z, ::flip_y], k, (1, 2)).flatten().tolist())
        for flip_z in (1, -1)
        for flip_y in (1, -1)
        for k in range(4)
    }
    found = {tuple(view.forward(patch()).flatten().tolist()) for view in find_views("all16")}
    assert len(expected) == 16
    assert found == expected


@pytest.mark.parametrize("shape", [(9, 14, 11), (3, 12, 5)])
@pytest.mark.parametrize("view", find_views("octopi8") + find_views("all16"), ids=lambda v: v.name)
def test_the_grid_of_a_view_is_that_of_the_volume_seen_so(view: View, shape: tuple) -> None:
    patch = (4, 6, 7)
    # Each voxel is its own number, and those outside are 0; then a patch is known by its voxels.
    volume = torch.arange(1, int(np.prod(shape)) + 1).reshape(shape)
    grid = view.grid(shape, patch, 0.5)
    margin = torch.nn.functional.pad(volume, (8, 8) * 3)
    found = []
    for start in grid:
        part = tuple(slice(a + 8, a + 8 + p) for a, p in zip(start, grid.patch, strict=True))
        found.append(view.forward(margin[part]))
    seen = view.forward(volume)
    margin = torch.nn.functional.pad(seen, (8, 8) * 3)
    expected = [
        margin[tuple(slice(a + 8, a + 8 + p) for a, p in zip(start, patch, strict=True))]
        for start in PatchGrid(tuple(seen.shape), patch, 0.5)
    ]
    assert {tuple(f.flatten().tolist()) for f in found} == {
        tuple(e.flatten().tolist()) for e in expected
    }
    assert all(f.shape == patch for f in found)


def test_sets_come_in_their_stated_order() -> None:
    octopis = [f"octopi{number}" for number in range(1, 9)]
    assert list(VIEW_SETS) == ["none", "rot4", *octopis, "all16"]
    volume = patch()
    turns = [torch.rot90(volume, k, (1, 2)) for k in range(4)]
    for view, expected in zip(find_views("rot4"), turns, strict=True):
        assert torch.equal(view.forward(volume), expected)
    octopi = [
        volume,
        turns[2],
        volume.flip(0),
        volume.flip(2),
        volume.flip(1),
        turns[1],
        turns[3],
        volume.flip(0, 1, 2),
    ]
    for view, expected in zip(find_views("octopi8"), octopi, strict=True):
        assert torch.equal(view.forward(volume), expected)
    assert find_views("octopi4") == find_views("octopi8")[:4]


def test_every_set_begins_with_the_patch_as_it_is() -> None:
    for views in VIEW_SETS.values():
        assert torch.equal(views[0].forward(patch()), patch())


def test_a_view_leaves_its_input_alone() -> None:
    volume = patch()
    View("all", flips="zyx", rotation=1).forward(volume).zero_()
    assert torch.equal(volume, patch())


def test_an_unknown_set_names_the_nearest() -> None:
    with pytest.raises(ModelError, match='no set of views "octopi": did you mean "octopi'):
        find_views("octopi")


@pytest.mark.parametrize("view", VIEW_SETS["all16"], ids=lambda view: view.name)
def test_regions_are_turned_as_voxels_are(view: View) -> None:
    shape = (4, 5, 7)
    volume = torch.arange(140).reshape(shape)
    region = (slice(1, 3), slice(0, 2), slice(3, 7))
    turned = view.forward_region(region, shape)
    assert view.forward_shape(shape) == tuple(view.forward(volume).shape)
    assert torch.equal(view.forward(volume)[turned], view.forward(volume[region]))
    assert view.inverse_region(turned, shape) == region
