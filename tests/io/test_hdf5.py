import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from volproc.core.errors import AddressError, FormatError, MissingFileError, ResumeError, ShapeError
from volproc.core.types import whole
from volproc.io.array_axes import guess_axes
from volproc.io.create import create, partial_path
from volproc.io.hdf5 import Hdf5
from volproc.io.open import inspect, open_
from volproc.testing.readers import ReaderTests, SinkTests

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")


def noise(shape, dtype=np.uint16):
    return np.random.default_rng(4).integers(0, 200, shape).astype(dtype)


def make_file(path, datasets, attributes=None, **options):
    with h5py.File(path, "w") as file:
        for name, voxels in datasets.items():
            dataset = file.create_dataset(name, data=voxels, **options)
            dataset.attrs.update(attributes or {})
    return path


def read(address, **selection):
    source = inspect(address, **selection).source
    return source.read(whole(source.shape))


class TestCompressedChunks(ReaderTests):
    @pytest.fixture
    def open_source(self, tmp_path):
        options = {"chunks": (2, 3, 4), "compression": "gzip", "shuffle": True}
        path = make_file(tmp_path / "a.h5", {"raw": noise((9, 13, 11))}, **options)
        return lambda: inspect(path).source


class TestAxesInAnotherOrder(ReaderTests):
    @pytest.fixture
    def open_source(self, tmp_path):
        tags = json.dumps({"axes": [{"key": k} for k in "txcyz"]})
        voxels = noise((2, 11, 3, 7, 5), ">f4")
        path = make_file(tmp_path / "a.h5", {"raw": voxels}, {"axistags": tags})
        return lambda: inspect(path, t=1, c=2).source

    def test_the_voxels_are_those_of_the_selection(self, source):
        expected = noise((2, 11, 3, 7, 5), ">f4")[1, :, 2].transpose(2, 1, 0)
        np.testing.assert_array_equal(source.read(whole(source.shape)), expected)


class TestHdf5Sink(SinkTests):
    suffix = ".h5"

    def create(self, path, shape, **options):
        chunks = (2, 3, 4)[-len(shape) :]
        size = (10.0,) * len(shape)
        return create(
            path, shape=shape, dtype=self.dtype, voxel_size=size, chunks=chunks, **options
        )

    def load(self, path):
        with h5py.File(path, "r") as file:
            return file["data"][...]


@pytest.mark.parametrize("inside", ["{}:/g/raw", "{}:g/raw", "{}/g/raw", "{}:/g", "{}"])
def test_a_dataset_is_named_in_any_of_the_usual_ways(tmp_path, inside):
    path = make_file(tmp_path / "a.h5", {"g/raw": noise((5, 7, 11))})
    np.testing.assert_array_equal(read(inside.format(path)), noise((5, 7, 11)))
    np.testing.assert_array_equal(read(path, dataset="g/raw"), noise((5, 7, 11)))


@pytest.mark.parametrize("ending", ["h5", "hdf5", "hdf", "H5"])
def test_endings_are_known(tmp_path, ending):
    path = make_file(tmp_path / f"a.{ending}", {"raw": noise((5, 7, 11))})
    assert read(f"{path}:/raw").shape == (5, 7, 11)


def test_several_datasets_are_listed_with_their_shapes(tmp_path):
    path = make_file(tmp_path / "a.h5", {"label": noise((5, 7, 11)), "raw": noise((6, 7))})
    with pytest.raises(AddressError, match=r"/label \(5, 7, 11\) uint16, /raw \(6, 7\)"):
        inspect(path)
    with pytest.raises(AddressError, match=r"holds no /row: it holds /label \(5, 7, 11\)"):
        inspect(f"{path}:/row")
    assert read(f"{path}:/raw").shape == (6, 7)


def test_tables_beside_the_volume_are_passed_over(tmp_path):
    datasets = {"ids": np.arange(5), "names": np.array([b"a", b"b"]), "raw": noise((5, 7, 11))}
    path = make_file(tmp_path / "a.h5", datasets)
    assert read(path).shape == (5, 7, 11)
    for name in ("ids", "names"):
        with pytest.raises(FormatError):
            inspect(f"{path}:/{name}")


def test_a_file_without_volumes_is_refused(tmp_path):
    path = make_file(tmp_path / "a.h5", {"ids": np.arange(5)})
    with pytest.raises(FormatError, match="holds no volume"):
        inspect(path)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((7, 11), "yx"),
        ((5, 7, 11), "zyx"),
        ((3, 5, 7, 11), "czyx"),
        ((20, 30, 40, 3), "zyxc"),
        ((5, 7, 11, 1), "zyxc"),
        ((1, 5, 7, 11), "czyx"),
        ((1, 1, 5, 7, 11), "tczyx"),
        ((2, 20, 30, 40, 3), "tzyxc"),
        ((1, 1, 1, 5, 7, 11), "stczyx"),
    ],
)
def test_unnamed_axes_are_guessed_and_noted(shape, axes):
    found, note = guess_axes(shape)
    assert found == axes
    assert bool(note) == (len(shape) > 3)


@pytest.mark.parametrize(
    "shape", [(1, 5, 7, 11), (5, 7, 11, 1), (1, 1, 5, 7, 11), (1, 1, 1, 5, 7, 11)]
)
def test_axes_of_size_one_need_no_selection(tmp_path, shape):
    path = make_file(tmp_path / "a.h5", {"raw": noise(shape)})
    np.testing.assert_array_equal(read(path), noise(shape).reshape(5, 7, 11))


def test_channels_and_time_points_need_a_selection(tmp_path):
    path = make_file(tmp_path / "a.h5", {"raw": noise((2, 3, 5, 7, 11))})
    with pytest.raises(AddressError, match="2 time points"):
        inspect(path)
    with pytest.raises(AddressError, match="3 channels"):
        inspect(path, t=1)
    with pytest.raises(AddressError, match="no c=3"):
        inspect(path, t=1, c=3)
    with pytest.raises(AddressError, match="no levels"):
        inspect(path, t=1, c=1, level=1)
    np.testing.assert_array_equal(read(path, t=1, c=2), noise((2, 3, 5, 7, 11))[1, 2])


def test_too_many_axes_are_refused(tmp_path):
    path = make_file(tmp_path / "a.h5", {"raw": noise((2, 1, 1, 5, 7, 11))})
    with pytest.raises(FormatError, match="make no volume"):
        inspect(path)


def test_labels_of_dimensions_name_the_axes(tmp_path):
    path = make_file(tmp_path / "a.h5", {"raw": noise((11, 7, 5))})
    with h5py.File(path, "r+") as file:
        for dimension, letter in zip(file["raw"].dims, "xyz", strict=True):
            dimension.label = letter
    np.testing.assert_array_equal(read(path), noise((11, 7, 5)).T)


def test_the_voxel_size_of_ilastik_follows_the_axes(tmp_path):
    tags = json.dumps({"axes": [{"key": k} for k in "xyzc"]})
    attributes = {"axistags": tags, "element_size_um": [1e-4, 2e-4, 3e-4]}
    path = make_file(tmp_path / "a.h5", {"raw": noise((11, 7, 5, 1))}, attributes)
    assert inspect(path).source.shape == (5, 7, 11)
    # element_size_um counts the axes as they lie in the file.
    assert inspect(path).voxel_size == pytest.approx((3.0, 2.0, 1.0))


def test_the_voxel_size_may_stand_at_a_group_around(tmp_path):
    path = make_file(tmp_path / "a.hdf", {"MDF/images/0/image": noise((5, 7, 11))})
    with h5py.File(path, "r+") as file:
        file["MDF/images/0"].attrs.update({f"EMAN.apix_{a}": 4.5 for a in "xyz"})
    assert inspect(path).voxel_size == (4.5, 4.5, 4.5)


def test_without_attributes_there_is_no_voxel_size(tmp_path):
    path = make_file(tmp_path / "a.h5", {"raw": noise((5, 7, 11))}, {"voxel_size": [3.0, 2.0, 2.0]})
    header = inspect(path)
    assert header.voxel_size is None
    assert "without a unit" in header.notes[0]


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = make_file(tmp_path / "a.h5", {"raw": noise((50, 70, 11))}, chunks=(10, 10, 11))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(FormatError, match=r"a\.h5 (is truncated|cannot be opened as HDF5)"):
        inspect(path)


def test_damaged_voxels_are_named_by_their_region(tmp_path):
    path = make_file(
        tmp_path / "a.h5", {"raw": noise((5, 7, 11))}, chunks=(5, 7, 11), compression="gzip"
    )
    with h5py.File(path, "r") as file:
        chunk = file["raw"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset : chunk.byte_offset + chunk.size] = bytes(chunk.size)
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"a\.h5:/raw cannot be read at 0:2, 0:7, 0:11"):
        inspect(path).source.read((slice(0, 2), slice(0, 7), slice(0, 11)))


def test_what_is_not_there_is_missing(tmp_path):
    make_file(tmp_path / "tomogram.h5", {"raw": noise((5, 7, 11))})
    with pytest.raises(MissingFileError, match=r"Did you mean .*tomogram\.h5"):
        inspect(tmp_path / "tomogran.h5:/raw")


def test_a_folder_with_the_ending_is_another_thing(tmp_path):
    (tmp_path / "results.h5").mkdir()
    assert not Hdf5().matches(str(tmp_path / "results.h5"))


def test_an_absurd_shape_takes_no_memory(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("raw", shape=(10**5,) * 3, dtype="f4", chunks=(4, 4, 4))
    source = inspect(tmp_path / "a.h5").source
    assert source.read((slice(10**4, 10**4 + 2),) * 3).shape == (2, 2, 2)


@pytest.mark.parametrize("locking", [None, False])
def test_a_file_that_is_open_elsewhere_can_be_read(tmp_path, locking):
    path = make_file(tmp_path / "a.h5", {"raw": noise((5, 7, 11))})
    with h5py.File(path, "r", locking=locking):
        assert read(path).shape == (5, 7, 11)


def test_a_file_that_was_read_can_be_opened_elsewhere(tmp_path):
    path = make_file(tmp_path / "a.h5", {"raw": noise((5, 7, 11))})
    read(path)
    with h5py.File(path, "r") as file:
        assert file["raw"].shape == (5, 7, 11)


def test_a_rewritten_file_is_read_anew(tmp_path):
    for add in (0, 1, 2):
        sink = create(
            tmp_path / "a.h5", shape=(5, 7, 11), dtype="u2", voxel_size=(1.0,) * 3, overwrite=True
        )
        sink.write(whole((5, 7, 11)), noise((5, 7, 11)) + add)
        sink.finish()
        np.testing.assert_array_equal(read(tmp_path / "a.h5"), noise((5, 7, 11)) + add)


def test_what_is_written_comes_back_with_its_frame(tmp_path):
    address = f"{tmp_path / 'a.h5'}:/seg/cells"
    size, origin = (30.0, 20.5, 10.25), (1.0, -2.0, 3.0)
    sink = create(address, shape=(5, 7, 11), dtype="u2", voxel_size=size, origin=origin)
    pickle.loads(pickle.dumps(sink)).write(whole((5, 7, 11)), noise((5, 7, 11)))
    sink.finish()
    volume = open_(address)
    assert volume.voxel_size == size
    assert volume.origin == origin
    np.testing.assert_array_equal(volume.data.compute(), noise((5, 7, 11)))
    with h5py.File(tmp_path / "a.h5", "r") as file:
        attributes = file["seg/cells"].attrs
        np.testing.assert_allclose(attributes["element_size_um"], np.array(size) / 1e4)


@pytest.mark.parametrize("dtype", ["bool", "i1", "u1", "i2", "u4", "i8", "f2", "f4", "f8"])
def test_every_type_comes_back(tmp_path, dtype):
    voxels = noise((5, 7, 11)) > 90 if dtype == "bool" else (noise((5, 7, 11)) % 100).astype(dtype)
    sink = create(tmp_path / "a.h5", shape=(5, 7, 11), dtype=voxels.dtype, voxel_size=(1.0,) * 3)
    sink.write(whole((5, 7, 11)), voxels)
    sink.finish()
    again = read(tmp_path / "a.h5")
    assert again.dtype == voxels.dtype
    np.testing.assert_array_equal(again, voxels)


def test_an_unfinished_file_of_another_kind_is_not_gone_on_with(tmp_path):
    options = {"dtype": "f4", "voxel_size": (1.0,) * 3}
    path = tmp_path / "a.h5"
    create(path, shape=(5, 7, 11), **options)
    with pytest.raises(ResumeError, match="Remove it"):
        create(path, shape=(5, 7, 12), resume=True, **options)
    partial_path(path).write_bytes(b"torn")
    with pytest.raises(ResumeError, match="stopped while it was written"):
        create(path, shape=(5, 7, 11), resume=True, **options)


def test_impossible_blocks_are_refused(tmp_path):
    sink = create(tmp_path / "a.h5", shape=(5, 7, 11), dtype="u1", voxel_size=(1.0,) * 3)
    assert not sink.is_parallel
    with pytest.raises(ShapeError, match="Cut the block"):
        sink.write(whole((5, 7, 11)), np.zeros((5, 7, 10), np.uint8))
    with pytest.raises(FormatError, match="do not fit uint8"):
        sink.write(whole((5, 7, 11)), np.full((5, 7, 11), 256))


@needs_shared
def test_real_files_are_read():
    plant = SHARED / "microscopy/1135_mini.h5"
    with pytest.raises(AddressError, match=r"/label .*, /raw"):
        inspect(plant)
    with h5py.File(plant, "r") as file:
        np.testing.assert_array_equal(read(f"{plant}:/raw"), file["raw"][...])
    assert inspect(f"{plant}:raw").voxel_size == pytest.approx((2837.18365, 1267.86421, 1267.86421))
    cryosiam = SHARED / "peers/cryosiam"
    assert read(cryosiam / "particle/TS_02_preds.h5").shape == (40, 64, 64)
    assert read(cryosiam / "particle_internal/TS_02_preds.h5:/probs", c=3).shape == (40, 64, 64)
