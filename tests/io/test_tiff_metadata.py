from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import tifffile

from volproc.core.errors import FormatError
from volproc.io.formats import Header, Selection
from volproc.io.tiff import Tiff
from volproc.io.tiff_metadata import micromanager_sizes

VOXELS = np.zeros((5, 7, 11), np.uint16)


def header_of(path: Path, voxels: Any = VOXELS, **options: Any) -> Header:
    tifffile.imwrite(path, voxels, **options)
    return Tiff().read_header(str(path), Selection())


@pytest.mark.parametrize(
    ("unit", "angstrom"),
    [
        ("nm", 10.0),
        ("micron", 1e4),
        ("um", 1e4),
        ("\\u00B5m", 1e4),
        ("A", 1.0),
        ("Å", 1.0),
        ("angstrom", 1.0),
        ("mm", 1e7),
        ("inch", 2.54e8),
        ("cm", 1e8),
        ("pm", 0.01),
    ],
)
def test_units_of_imagej_become_angstrom(tmp_path: Path, unit: str, angstrom: float) -> None:
    path = tmp_path / "a.tif"
    text = f"ImageJ=1.53t\nimages=5\nslices=5\nunit={unit}\nspacing=2.5\n"
    header = header_of(
        path,
        description=text.encode("latin-1"),
        metadata=None,
        resolution=(4.0, 2.0),
        resolutionunit="NONE",
    )
    expected = (2.5 * angstrom, 0.5 * angstrom, 0.25 * angstrom)
    assert header.voxel_size == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("unit=pixel\nspacing=1.0\n", "no length"),
        ("spacing=1.0\n", "no usable"),
        ("unit=nm\n", "ImageJ would assume 1 nm"),
        ("unit=nm\nspacing=0.0\n", "impossible voxel size along z"),
        ("unit=nm\nspacing=-3.0\n", "impossible voxel size along z"),
        ("unit=nm\nspacing=nan\n", "impossible voxel size along z"),
    ],
)
def test_a_wrong_calibration_of_imagej_is_noted_and_not_used(
    tmp_path: Path, text: str, note: str
) -> None:
    header = header_of(
        tmp_path / "a.tif",
        description=f"ImageJ=1.53t\nimages=5\nslices=5\n{text}",
        metadata=None,
        resolution=(4.0, 4.0),
        resolutionunit="NONE",
    )
    assert header.voxel_size is None
    assert any(note in n for n in header.notes)


@pytest.mark.parametrize(("unit", "angstrom"), [("µm", 1e4), ("nm", 10.0), ("Å", 1.0), ("m", 1e10)])
def test_units_of_ome_become_angstrom(tmp_path: Path, unit: str, angstrom: float) -> None:
    metadata: dict[str, Any] = {"axes": "ZYX"}
    for letter, size in (("Z", 3.0), ("Y", 2.0), ("X", 1.5)):
        metadata[f"PhysicalSize{letter}"] = size
        metadata[f"PhysicalSize{letter}Unit"] = unit
    header = header_of(tmp_path / "a.ome.tif", ome=True, metadata=metadata)
    expected = (3.0 * angstrom, 2.0 * angstrom, 1.5 * angstrom)
    assert header.voxel_size == pytest.approx(expected, rel=1e-8)
    assert header.format == "TIFF, OME"


def test_micrometres_are_the_unit_of_ome_where_none_is_given(tmp_path: Path) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 3, "PhysicalSizeY": 2, "PhysicalSizeX": 1}
    header = header_of(tmp_path / "a.ome.tif", ome=True, metadata=metadata)
    assert header.voxel_size == (3e4, 2e4, 1e4)


@pytest.mark.parametrize(
    "metadata",
    [
        {"PhysicalSizeX": 1, "PhysicalSizeY": 1},
        {"PhysicalSizeX": 1, "PhysicalSizeY": 1, "PhysicalSizeZ": 0},
        {f"PhysicalSize{a}{u}": v for a in "XYZ" for u, v in (("", 1), ("Unit", "pixel"))},
    ],
)
def test_a_missing_or_impossible_size_of_ome_is_none(
    tmp_path: Path, metadata: dict[str, Any]
) -> None:
    header = header_of(tmp_path / "a.ome.tif", ome=True, metadata={"axes": "ZYX", **metadata})
    assert header.voxel_size is None


def test_the_second_image_has_its_own_voxel_size(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        for size in (1.0, 2.0):
            names = {f"PhysicalSize{letter}": size for letter in "XYZ"}
            writer.write(VOXELS, metadata={"axes": "ZYX", **names})
    header = Tiff().read_header(str(path), Selection(dataset="1"))
    assert header.voxel_size == (2e4, 2e4, 2e4)


@pytest.mark.parametrize(
    ("unit", "per_unit", "expected"),
    [
        ("CENTIMETER", 1e5, 1000.0),
        ("INCH", 254000.0, 1000.0),
        ("CENTIMETER", 28.346, None),  # 72 dpi
        ("INCH", 300.0, None),
        ("NONE", 1e5, None),
        ("INCH", 0.0, None),
    ],
)
def test_resolution_tags_count_unless_they_are_of_printing(
    tmp_path: Path, unit: str, per_unit: float, expected: float | None
) -> None:
    header = header_of(
        tmp_path / "a.tif",
        VOXELS[0],
        metadata=None,
        resolution=(per_unit, per_unit),
        resolutionunit=unit,
    )
    if expected is None:
        assert header.voxel_size is None
    else:
        assert header.voxel_size == pytest.approx((expected, expected), rel=1e-6)


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ({"PixelSize_um": 0.108, "z-step_um": -0.25}, {"z": 2500.0, "y": 1080.0, "x": 1080.0}),
        ({"PixelSize_um": 0.108, "z-step_um": 0}, {"y": 1080.0, "x": 1080.0}),
        ({}, {}),
    ],
)
def test_micro_manager_tells_pixel_and_step_in_micrometres(
    summary: dict[str, float], expected: dict[str, float]
) -> None:
    class File:
        micromanager_metadata: ClassVar = {"Summary": summary}

    assert micromanager_sizes(File()) == pytest.approx(expected)


def test_text_is_no_tiff_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_text("this is no image, whatever its name")
    with pytest.raises(FormatError, match="no TIFF file"):
        Tiff().read_header(str(path), Selection())
