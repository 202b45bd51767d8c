import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from volproc.core.errors import AddressError, FormatError, MissingFileError, VoxelSizeError
from volproc.core.types import whole
from volproc.io.omezarr import OmeZarr, read_channels
from volproc.io.open import inspect, open_
from volproc.testing.readers import ReaderTests

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
ANGSTROM = "angstrom"


def make_image(folder, voxels, axes="zyx", scale=None, unit=ANGSTROM, levels=1, **extra):
    """An OME-Zarr image by hand: its JSON is written here, not by a library."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    datasets = []
    for level in range(levels):
        steps = tuple(2**level if a in "zyx" else 1 for a in axes)
        part = voxels[tuple(slice(None, None, s) for s in steps)]
        directory = zarr.DirectoryStore(str(folder / str(level)), dimension_separator="/")
        chunks = tuple(max(1, n // 2) for n in part.shape)
        zarr.array(part, store=directory, chunks=chunks, dimension_separator="/")
        numbers = [float(v * s) for v, s in zip(scale or (10.0,) * len(axes), steps, strict=True)]
        datasets.append(
            {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": numbers}]}
        )
    kinds = {"t": "time", "c": "channel"}
    names = [
        {
            "name": a,
            "type": kinds.get(a, "space"),
            **({"unit": unit} if a in "zyx" and unit else {}),
        }
        for a in axes
    ]
    entry = {"version": "0.4", "axes": names, "datasets": datasets}
    edit = extra.pop("edit", None)
    if edit:
        edit(entry)
    write_attributes(folder, {"multiscales": [entry], **extra})
    return folder


def write_attributes(folder, attributes):
    (folder / ".zattrs").write_text(json.dumps(attributes))


def noise(shape):
    return np.random.default_rng(2).integers(0, 200, shape).astype(np.uint8)


def read(address, **selection):
    source = inspect(address, **selection).source
    return source.read(whole(source.shape))


class TestFiveAxes(ReaderTests):
    @pytest.fixture
    def open_source(self, tmp_path):
        path = make_image(tmp_path / "a.zarr", noise((2, 3, 5, 7, 11)), "tczyx")
        return lambda: inspect(path, t=1, c=2).source


@pytest.mark.parametrize("axes", ["yx", "zyx", "cyx", "tyx", "czyx", "tzyx", "tcyx", "tczyx"])
def test_any_axes_are_cut_to_the_selection(tmp_path, axes):
    sizes = {"t": 2, "c": 3, "z": 5, "y": 7, "x": 11}
    voxels = noise(tuple(sizes[a] for a in axes))
    path = make_image(tmp_path / "a.zarr", voxels, axes)
    expected = voxels[tuple({"t": 1, "c": 2}.get(a, slice(None)) for a in axes)]
    wanted = {a: i for a, i in (("t", 1), ("c", 2)) if a in axes}
    np.testing.assert_array_equal(read(path, **wanted), expected)


def test_axes_in_another_order_become_zyx(tmp_path):
    voxels = noise((11, 5, 7))
    path = make_image(tmp_path / "a.zarr", voxels, "xzy", scale=(1.0, 2.0, 3.0))
    np.testing.assert_array_equal(read(path), voxels.transpose(1, 2, 0))
    assert inspect(path).voxel_size == (2.0, 3.0, 1.0)


def test_a_plane_among_five_axes_is_a_micrograph(tmp_path):
    voxels = noise((1, 1, 1, 7, 11))
    path = make_image(tmp_path / "a.zarr", voxels, "tczyx")
    np.testing.assert_array_equal(read(path), voxels[0, 0, 0])
    assert inspect(path).voxel_size == (10.0, 10.0)
    one = make_image(tmp_path / "b.zarr", voxels[0, 0], "zyx")
    assert read(one).shape == (1, 7, 11)


@pytest.mark.parametrize(
    ("option", "count", "what"), [("t", 2, "time points"), ("c", 3, "channels")]
)
def test_several_need_a_selection(tmp_path, option, count, what):
    path = make_image(tmp_path / "a.zarr", noise((2, 3, 5, 7, 11)), "tczyx")
    other = {"t": "c", "c": "t"}[option]
    with pytest.raises(AddressError, match=rf"holds {count} {what}.*--{option} on"):
        inspect(path, **{other: 0})
    with pytest.raises(AddressError, match=f"no {option}={count}"):
        inspect(path, **{other: 0, option: count})


@pytest.mark.parametrize("level", [0, 1, 2])
def test_each_level_has_its_own_voxel_size(tmp_path, level):
    voxels = noise((9, 14, 12))
    path = make_image(tmp_path / "a.zarr", voxels, levels=3)
    step = 2**level
    np.testing.assert_array_equal(read(path, level=level), voxels[::step, ::step, ::step])
    np.testing.assert_array_equal(read(path / str(level)), voxels[::step, ::step, ::step])
    assert inspect(path, level=level).voxel_size == (10.0 * step,) * 3
    assert inspect(path / str(level)).voxel_size == (10.0 * step,) * 3


def test_a_level_that_is_not_there_is_refused(tmp_path):
    path = make_image(tmp_path / "a.zarr", noise((9, 14, 12)), levels=2)
    with pytest.raises(AddressError, match="no level 2: it holds levels 0 to 1"):
        inspect(path, level=2)
    with pytest.raises(AddressError, match="level 1 is named"):
        inspect(path / "1", level=1)
    with pytest.raises(AddressError, match="no level -1"):
        inspect(path, level=-1)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("angstrom", 1),
        ("nanometer", 10),
        ("micrometer", 1e4),
        ("millimeter", 1e7),
        ("µm", 1e4),
        ("Å", 1),
    ],
)
def test_units_become_angstrom(tmp_path, unit, factor):
    path = make_image(tmp_path / "a.zarr", noise((5, 7, 11)), scale=(0.3, 0.2, 0.1), unit=unit)
    assert inspect(path).voxel_size == pytest.approx((0.3 * factor, 0.2 * factor, 0.1 * factor))


def test_without_a_unit_there_is_no_voxel_size_but_a_note(tmp_path):
    path = make_image(tmp_path / "a.zarr", noise((5, 7, 11)), scale=(3.0, 2.0, 2.0), unit="")
    header = inspect(path)
    assert header.voxel_size is None
    assert "3 × 2 × 2 has no unit" in header.notes[0]
    with pytest.raises(VoxelSizeError, match="--voxel-size"):
        open_(path)
    assert open_(path, voxel_size=7.84).voxel_size == (7.84,) * 3


def test_axes_without_a_unit_take_that_of_the_others(tmp_path):
    def edit(entry):
        del entry["axes"][0]["unit"]

    path = make_image(tmp_path / "a.zarr", noise((5, 7, 11)), unit="nanometer", edit=edit)
    header = inspect(path)
    assert header.voxel_size == (100.0, 100.0, 100.0)
    assert "taken for all" in header.notes[0]


@pytest.mark.parametrize(
    "scale", [(0.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (float("nan"), 1.0, 1.0), (1.0, float("inf"), 1.0)]
)
def test_an_impossible_scale_is_noted(tmp_path, scale):
    header = inspect(make_image(tmp_path / "a.zarr", noise((5, 7, 11)), scale=scale))
    assert header.voxel_size is None
    assert "is no voxel size" in header.notes[0]


def test_transformations_of_level_and_image_combine(tmp_path):
    def edit(entry):
        entry["datasets"][0]["coordinateTransformations"] = [
            {"type": "scale", "scale": [1.0, 2.0, 3.0]},
            {"type": "translation", "translation": [4.0, 5.0, 6.0]},
        ]
        entry["coordinateTransformations"] = [
            {"type": "scale", "scale": [10.0, 10.0, 10.0]},
            {"type": "translation", "translation": [1.0, 1.0, 1.0]},
            {"type": "identity"},
        ]

    header = inspect(
        make_image(tmp_path / "a.zarr", noise((5, 7, 11)), unit="nanometer", edit=edit)
    )
    assert header.voxel_size == (100.0, 200.0, 300.0)
    assert header.origin == (410.0, 510.0, 610.0)


@pytest.mark.parametrize("axes", [["z", "y", "x"], None])
def test_older_versions_have_no_scale(tmp_path, axes):
    def edit(entry):
        del entry["datasets"][0]["coordinateTransformations"]
        entry["axes"] = axes
        entry["version"] = "0.3" if axes else "0.1"

    voxels = noise((5, 7, 11)) if axes else noise((1, 1, 5, 7, 11))
    letters = "zyx" if axes else "tczyx"
    path = make_image(tmp_path / "a.zarr", voxels, letters, edit=edit)
    np.testing.assert_array_equal(read(path), voxels.reshape(5, 7, 11))
    assert inspect(path).voxel_size is None
    assert inspect(path).format == ("OME-Zarr 0.3" if axes else "OME-Zarr 0.1")


def test_channel_names_are_read(tmp_path):
    omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    path = make_image(tmp_path / "a.zarr", noise((2, 5, 7, 11)), "czyx", omero=omero)
    assert read_channels(path) == ("DAPI", "GFP")
    with pytest.raises(AddressError, match=r"2 channels \(DAPI, GFP\)"):
        inspect(path)


def test_one_series_of_bioformats2raw_is_opened_and_several_are_named(tmp_path):
    root = tmp_path / "a.zarr"
    make_image(root / "0", noise((1, 1, 5, 7, 11)), "tczyx")
    write_attributes(root, {"bioformats2raw.layout": 3})
    assert read(root).shape == (5, 7, 11)
    make_image(root / "1", noise((1, 1, 4, 7, 11)), "tczyx")
    with pytest.raises(AddressError, match=r"a collection of 2: 0, 1\. Name one"):
        inspect(root)
    assert read(root, dataset="1").shape == (4, 7, 11)
    assert read(root / "1").shape == (4, 7, 11)
    assert read(f"{root}:/1").shape == (4, 7, 11)


def test_labels_are_reached_by_path_and_by_dataset(tmp_path):
    root = make_image(tmp_path / "a.zarr", noise((5, 7, 11)))
    labels = noise((5, 7, 11)) // 9
    make_image(root / "labels" / "cells", labels)
    write_attributes(root / "labels", {"labels": ["cells"]})
    for address, dataset in [
        (root / "labels" / "cells", ""),
        (root / "labels", ""),
        (root, "labels/cells"),
        (f"{root}:/labels/cells", ""),
    ]:
        np.testing.assert_array_equal(read(address, dataset=dataset), labels)
    assert inspect(root / "labels" / "cells").name == "a_cells"
    assert inspect(root).name == "a"
    with pytest.raises(MissingFileError, match='did you mean "labels/cells"'):
        inspect(root, dataset="labels/cell")


def test_a_plate_is_refused_with_its_images_named(tmp_path):
    root = tmp_path / "a.zarr"
    for well in ("A/1", "B/2"):
        make_image(root / well / "0", noise((1, 1, 1, 7, 11)), "tczyx")
        write_attributes(root / well, {"well": {"images": [{"path": "0"}]}})
    write_attributes(root, {"plate": {"wells": [{"path": "A/1"}, {"path": "B/2"}]}})
    with pytest.raises(AddressError, match=r"HCS plate of 2: A/1/0, B/2/0"):
        inspect(root)
    assert read(root / "B/2/0").shape == (7, 11)
    assert read(root / "B/2").shape == (7, 11)


def test_the_first_of_several_multiscales_is_read_unless_one_is_named(tmp_path):
    root = make_image(tmp_path / "a.zarr", noise((5, 7, 11)), levels=2)
    attributes = json.loads((root / ".zattrs").read_text())
    first = attributes["multiscales"][0]
    second = {**first, "name": "coarse", "datasets": first["datasets"][1:]}
    write_attributes(root, {"multiscales": [first, second]})
    assert read(root).shape == (5, 7, 11)
    assert "first of 2 multiscales" in inspect(root).notes[0]
    assert read(root, dataset="coarse").shape == (3, 4, 6)


def test_zarr_v3_is_refused_with_what_can_read_it(tmp_path):
    root = tmp_path / "a.zarr"
    (root / "0").mkdir(parents=True)
    (root / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    (root / "0" / "zarr.json").write_text('{"zarr_format": 3, "node_type": "array"}')
    for address in (root, root / "0", f"{root}:/0"):
        with pytest.raises(FormatError, match=r"is zarr v3.*zarr>=3.*v2"):
            inspect(address)


def test_a_group_without_multiscales_gives_its_only_array(tmp_path):
    root = tmp_path / "plain.zarr"
    group = zarr.open_group(zarr.DirectoryStore(str(root)), mode="w")
    group.create_dataset("deep/raw", data=noise((5, 7, 11)), chunks=(2, 3, 4))
    group["deep/raw"].attrs["element_size_um"] = [0.3, 0.1, 0.1]
    np.testing.assert_array_equal(read(root), noise((5, 7, 11)))
    assert inspect(root).voxel_size == pytest.approx((3000.0, 1000.0, 1000.0))
    group.create_dataset("mask", data=noise((4, 5)), chunks=(2, 2))
    with pytest.raises(AddressError, match=r"2: deep/raw \(5, 7, 11\), mask \(4, 5\)"):
        inspect(root)
    assert read(root / "mask").shape == read(root, dataset="mask").shape == (4, 5)


def test_a_plain_array_has_no_voxel_size(tmp_path):
    path = tmp_path / "plain.zarr"
    zarr.save_array(str(path), noise((5, 7, 11)))
    assert inspect(path).voxel_size is None
    assert open_(path, voxel_size=3.0).data.compute().sum() == noise((5, 7, 11)).sum()
    with pytest.raises(AddressError, match="plain array without levels"):
        inspect(path, level=1)


def test_a_relative_address_is_read_from_any_folder(tmp_path, monkeypatch):
    make_image(tmp_path / "a.zarr", noise((5, 7, 11)))
    monkeypatch.chdir(tmp_path)
    source = inspect("a.zarr").source
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(source.read(whole(source.shape)), noise((5, 7, 11)))


def test_a_folder_with_another_name_is_known_by_its_content(tmp_path):
    path = tmp_path / "tomogram"
    zarr.save_array(str(path), noise((5, 7, 11)))
    assert OmeZarr().matches(str(path))
    (tmp_path / "slices").mkdir()
    assert not OmeZarr().matches(str(tmp_path / "slices"))


@pytest.mark.parametrize(
    ("attributes", "match"),
    [
        ({"multiscales": [{}]}, "not OME-NGFF"),
        ({"multiscales": [{"datasets": []}]}, "name no datasets"),
        (
            {"multiscales": [{"datasets": [{"path": "gone"}], "axes": ["z", "y", "x"]}]},
            "no zarr array",
        ),
        (
            {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["y", "x"]}]},
            "for an array of shape",
        ),
        (
            {"multiscales": [{"datasets": [{"path": "0"}], "axes": ["t", "c", "z"]}]},
            "make no volume",
        ),
        ({"multiscales": ["0"]}, "not OME-NGFF"),
    ],
)
def test_senseless_metadata_are_refused(tmp_path, attributes, match):
    path = make_image(tmp_path / "a.zarr", noise((5, 7, 11)))
    write_attributes(path, attributes)
    with pytest.raises((FormatError, AddressError), match=match):
        inspect(path)


def test_truncated_metadata_are_refused(tmp_path):
    path = make_image(tmp_path / "a.zarr", noise((5, 7, 11)))
    (path / ".zattrs").write_text('{"multiscales": [')
    with pytest.raises(FormatError, match="no JSON object"):
        inspect(path)


def test_an_empty_folder_and_a_file_are_refused(tmp_path):
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(FormatError, match="holds no array"):
        inspect(tmp_path / "empty.zarr")
    (tmp_path / "file.zarr").write_bytes(b"PK")
    with pytest.raises(FormatError, match="is a file"):
        inspect(tmp_path / "file.zarr")
    with pytest.raises(MissingFileError, match="does not exist"):
        inspect(tmp_path / "none.zarr")


@needs_shared
def test_bioformats2raw_equals_the_tiff_it_was_made_from():
    tifffile = pytest.importorskip("tifffile")
    path = SHARED / "zarr/xyz_8bit__mitotic_plate_calibrated.ome.zarr"
    expected = tifffile.imread(SHARED / "microscopy/xyz_8bit__mitotic_plate_calibrated.tif")
    np.testing.assert_array_equal(read(path), expected)
    header = inspect(path)
    assert header.voxel_size == pytest.approx((30000.0, 851.9643, 851.9643))
    assert header.name == "xyz_8bit__mitotic_plate_calibrated"
    assert read(path, level=1).shape == (6, 131, 131)


@needs_shared
def test_a_real_store_with_labels_and_time_points():
    path = SHARED / "zarr/tubhiswt4D_sub.zarr"
    with pytest.raises(AddressError, match="3 time points"):
        inspect(path)
    expected = zarr.open_array(str(path / "labels/embryo/1"), mode="r")[2]
    np.testing.assert_array_equal(read(path / "labels", t=2, level=1), expected)


@needs_shared
def test_a_tomogram_of_copick_is_opened():
    path = SHARED / "peers/octopi/project/ExperimentRuns/TS_2/VoxelSpacing10.000/wbp.zarr"
    volume = open_(path)
    assert volume.shape == (64, 128, 128)
    assert volume.voxel_size == (10.0, 10.0, 10.0)
    expected = zarr.open_array(str(path / "0"), mode="r")[...]
    np.testing.assert_array_equal(volume.data.compute(), expected)
