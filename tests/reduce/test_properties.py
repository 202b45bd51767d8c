"""Names of properties, and the columns that they give."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from skimage.measure import regionprops

from volproc.core.errors import ConfigError
from volproc.reduce.measuring import Wanted
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import (
    ALIASES,
    PROPERTIES,
    choose_properties,
    finish,
    wanted_for,
)


def test_other_names_are_scikit_images() -> None:
    assert set(ALIASES.values()) <= set(PROPERTIES)
    (square,) = regionprops(np.ones((2, 2), int), np.ones((2, 2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of the older names
        assert [name for name in ALIASES if not hasattr(square, name)] == []


def test_only_what_is_wanted_is_measured_in_blocks() -> None:
    assert wanted_for(["centroid", "bbox", "area"]) == Wanted()
    assert wanted_for(["major_axis_length"]) == Wanted(products=True)
    assert wanted_for(["num_surface_voxels", "intensity_std"]) == Wanted(surface=True, squares=True)


def test_all_is_all_that_can_be() -> None:
    everything = choose_properties("all", 3, ["intensity", "voxel_size", "classes"])
    assert set(PROPERTIES) - set(everything) == {"area_nm2"}
    assert set(PROPERTIES) - set(choose_properties("all", 2, ["intensity", "voxel_size"])) == {
        "volume_nm3",
        "class_value",
    }


def test_a_table_that_lacks_what_a_property_needs_is_refused() -> None:
    table = measure_block(np.ones((2, 2), int), offset=(0, 0), shape=(2, 2))
    for name, column in (("num_surface_voxels", "num_surface"), ("mean_intensity", "intensity")):
        with pytest.raises(ConfigError, match=f"the table has no {column}"):
            finish(table, [name])
