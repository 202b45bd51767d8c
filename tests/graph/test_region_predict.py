"""Any region of a prediction has the bits of the whole."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volproc.graph.predict import Settings, make_job
from volproc.graph.region_predict import predict_region, touching
from volproc.graph.spill import Spill
from volproc.io.open import open_
from volproc.models.normalization import Scaling
from volproc.plan.inference import Plan
from volproc.plan.patches import PatchGrid


@st.composite
def regions(draw: st.DrawFn, shape: tuple[int, ...] = (9, 13, 11)) -> tuple[slice, ...]:
    spans = [draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True)) for n in shape]
    return tuple(slice(min(span), max(span)) for span in spans)


@given(regions())
def test_patches_that_touch_are_those_that_share_a_voxel(region) -> None:
    grid = PatchGrid((9, 13, 11), (4, 8, 6), 0.5)
    expected = []
    inside = np.zeros(grid.shape, bool)
    inside[region] = True
    for start in grid:
        part = tuple(slice(a, a + p) for a, p in zip(start, grid.patch, strict=True))
        if inside[part].any():
            expected.append(start)
    assert touching(grid, region) == expected


def test_regions_have_the_bits_of_the_whole(spec, volume_path, voxels) -> None:
    chosen = Settings(overlap=0.5, tta="rot4", batch_size=3)
    volume = open_(volume_path, voxel_size=10.0)
    scaling = Scaling(float(voxels.mean()), 9.0)
    sizes = {"shape": volume.shape, "dtype": volume.dtype, "storage_chunks": volume.shape}
    plan = Plan(chosen.job(spec, **sizes), (4, 7, 6))
    job = make_job(volume.source, spec, chosen, plan, Spill(""), ())
    dtypes = {"classes": np.dtype("u1"), "probabilities": np.dtype("f4")}
    everything = predict_region(job, scaling, tuple(slice(0, n) for n in volume.shape), dtypes)
    for region in (
        (slice(2, 5), slice(3, 9), slice(5, 11)),
        (slice(8, 9), slice(0, 1), slice(3, 4)),
    ):
        part = predict_region(job, scaling, region, dtypes)
        for kind, values in part.items():
            assert values.tobytes() == everything[kind][(..., *region)].tobytes()
