import numpy as np
import pytest

from volproc.io.lengths import angstrom_per, size_from_attributes


@pytest.mark.parametrize(
    ("words", "angstrom"),
    [
        (("angstrom", "Angstroms", "Å", "\u212b", "A", "ångström"), 1.0),
        (("nm", "nanometer", "nanometres"), 10.0),
        (("um", "\u00b5m", "\u03bcm", "micron", "microns", "Micrometer"), 1e4),
        (("mm", "millimetre"), 1e7),
        (("m", "meter"), 1e10),
        (("inch", "inches"), 2.54e8),
    ],
)
def test_spellings_of_a_unit_agree(words, angstrom):
    for word in words:
        assert angstrom_per(word) == angstrom, word


@pytest.mark.parametrize("word", ["", "pixel", "second", "none", "voxel"])
def test_what_is_no_length_is_unknown(word):
    assert angstrom_per(word) is None


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"element_size_um": np.array([0.3, 0.2, 0.1])}, (3000.0, 2000.0, 1000.0)),
        ({"voxel_size_angstrom": (13.0, 12.0, 11.0)}, (13.0, 12.0, 11.0)),
        ({"pixel_size_nm": 1.5}, (15.0, 15.0, 15.0)),
        ({"voxel_size": [4.0, 3.0, 2.0], "voxel_size_unit": "nm"}, (40.0, 30.0, 20.0)),
        ({"resolution": [4.0, 3.0, 2.0], "units": b"nanometer"}, (40.0, 30.0, 20.0)),
        (
            {"resolution": [4.0, 3.0, 2.0], "units": np.array(["nm", "nm", "nm"], object)},
            (40.0, 30.0, 20.0),
        ),
        ({"EMAN.apix_x": 2.0, "EMAN.apix_y": 3.0, "EMAN.apix_z": 4.0}, (4.0, 3.0, 2.0)),
        ({"voxel_size": 5.0, "element_size_um": 1e-3}, (10.0, 10.0, 10.0)),
    ],
)
def test_a_voxel_size_is_found_among_attributes(attributes, expected):
    size, note = size_from_attributes(attributes, "zyx")
    assert size == pytest.approx(expected)
    assert "voxel size from" in note


@pytest.mark.parametrize(
    ("attributes", "note"),
    [
        ({}, ""),
        ({"voxel_size": [4.0, 3.0, 2.0]}, "4 × 3 × 2 without a unit"),
        ({"element_size_um": [0.0, 1.0, 1.0]}, "no voxel size"),
        ({"element_size_um": [1.0, np.nan, 1.0]}, "no voxel size"),
        ({"resolution": "high"}, ""),
    ],
)
def test_what_gives_no_voxel_size_is_noted(attributes, note):
    size, found = size_from_attributes(attributes, "zyx")
    assert size is None
    assert note in found
    assert bool(note) == bool(found)


def test_numbers_of_all_axes_and_of_the_spatial_ones_both_serve():
    for axes, numbers in [("czyx", [1, 4, 3, 2]), ("zyxc", [4, 3, 2, 1]), ("czyx", [4, 3, 2])]:
        assert size_from_attributes({"pixel_size_nm": numbers}, axes)[0] == (40.0, 30.0, 20.0)
    assert size_from_attributes({"pixel_size_nm": [4, 3, 2]}, "yx")[0] == (30.0, 20.0)
