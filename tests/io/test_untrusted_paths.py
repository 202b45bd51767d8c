"""Files that name others: nothing outside of a store, a folder or a project is reached."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from volproc.core.errors import AddressError, FormatError
from volproc.io.copick_address import parse_copick
from volproc.io.open import inspect

OUTWARDS = ["../secret.zarr", "/etc", "a/../../secret.zarr", "..", "", "c:x", "..\\secret"]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.zarr"
    zarr.save_array(str(path), np.full((4, 5, 6), 7, np.uint8))
    return path


def write_group(path: Path, attributes: dict[str, Any]) -> Path:
    path.mkdir()
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps(attributes))
    return path


@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("outwards", OUTWARDS)
@pytest.mark.parametrize(
    "make",
    [
        lambda p: {"multiscales": [{"version": "0.1", "datasets": [{"path": p}]}]},
        lambda p: {"plate": {"wells": [{"path": p}]}},
        lambda p: {"well": {"images": [{"path": p}]}},
        lambda p: {"labels": [p]},
    ],
    ids=["multiscales", "plate", "well", "labels"],
)
def test_metadata_lead_nowhere_but_inside_their_group(
    tmp_path: Path, make: Any, outwards: object
) -> None:
    path = write_group(tmp_path / "a.zarr", make(outwards))
    with pytest.raises(FormatError, match="which is no path inside of it"):
        inspect(str(path))


def test_series_of_a_collection_lead_nowhere_else(tmp_path: Path, secret: Path) -> None:
    path = write_group(tmp_path / "a.zarr", {"bioformats2raw.layout": 3})
    write_group(path / "OME", {"series": [f"../{secret.name}"]})
    with pytest.raises(FormatError, match="which is no path inside of it"):
        inspect(str(path))


@pytest.mark.usefixtures("secret")
def test_an_address_in_a_store_does_not_leave_it(tmp_path: Path) -> None:
    zarr.save_array(str(tmp_path / "a.zarr"), np.zeros((4, 5, 6), np.uint8))
    with pytest.raises(AddressError, match="leads out of the store"):
        inspect(f"{tmp_path}/a.zarr:/../secret.zarr")
    with pytest.raises(AddressError, match="leads out of the store"):
        inspect(tmp_path / "a.zarr", dataset="../secret.zarr")


@pytest.mark.parametrize("run", ["..", ".", "..\\x"])
def test_the_run_of_an_address_does_not_leave_the_project(run: str) -> None:
    with pytest.raises(AddressError, match="lead out of the project"):
        parse_copick(f"config.json:{run}/wbp@10")


def test_hdf5_files_reach_for_no_voxels_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(bytes(4 * 5 * 6))
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["data"] = np.full((4, 5, 6), 7, np.uint8)
    with h5py.File(tmp_path / "in" / "beside.h5", "w") as file:
        file["data"] = np.full((4, 5, 6), 8, np.uint8)
    layout = h5py.VirtualLayout((4, 5, 6), np.uint8)
    layout[:] = h5py.VirtualSource("../secret.h5", "data", (4, 5, 6))
    near = h5py.VirtualLayout((4, 5, 6), np.uint8)
    near[:] = h5py.VirtualSource("beside.h5", "data", (4, 5, 6))
    path = tmp_path / "in" / "a.h5"
    with h5py.File(path, "w") as file:
        raw = [(str(tmp_path / "secret.raw"), 0, 120)]
        file.create_dataset("raw", (4, 5, 6), np.uint8, external=raw)
        file["link"] = h5py.ExternalLink("../secret.h5", "data")
        file["near-link"] = h5py.ExternalLink("beside.h5", "data")
        file.create_virtual_dataset("virtual", layout)
        file.create_virtual_dataset("near-virtual", near)
    for name in ("raw", "link", "virtual"):
        with pytest.raises(FormatError, match="outside of the file's folder"):
            inspect(f"{path}:/{name}")
    for name in ("near-link", "near-virtual"):
        source = inspect(f"{path}:/{name}").source
        assert (source.read((slice(0, 4), slice(0, 5), slice(0, 6))) == 8).all()


def test_an_ome_file_names_no_other_outside_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    voxels = np.zeros((2, 16, 16), np.uint8)
    tifffile.imwrite(tmp_path / "secret.ome.tif", voxels + 7, metadata={"axes": "ZYX"})
    path = tmp_path / "in" / "a.ome.tif"
    tifffile.imwrite(path, voxels, metadata={"axes": "ZYX"})
    whole = tifffile.tiffcomment(path)
    begin, end = whole.index("<TiffData"), whole.rindex("/>", 0, whole.index("</Pixels>")) + 2
    plane = (
        '<TiffData IFD="{z}" FirstZ="{z}" PlaneCount="1">'
        '<UUID FileName="{name}">{name}</UUID></TiffData>'
    )
    planes = plane.format(z=0, name="a.ome.tif") + plane.format(z=1, name="../secret.ome.tif")
    tifffile.tiffcomment(path, (whole[:begin] + planes + whole[end:]).encode())
    with pytest.raises(FormatError, match="is not in its folder"):
        inspect(str(path))
