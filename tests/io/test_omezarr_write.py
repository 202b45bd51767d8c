import json

import numpy as np
import pytest
import zarr
from dask.array.core import normalize_chunks, slices_from_chunks

from volproc.core.errors import (
    ExistsError,
    FormatError,
    MissingFileError,
    ResumeError,
    ShapeError,
    VoxelSizeError,
)
from volproc.core.types import whole
from volproc.io.create import create, partial_path
from volproc.io.omezarr import create_channels, read_channels
from volproc.io.open import inspect
from volproc.testing.readers import SinkTests


def begin(path, shape, dtype=np.float32, **options):
    size = options.pop("voxel_size", (10.0,) * len(shape))
    return create(path, shape=shape, dtype=dtype, voxel_size=size, **options)


def read(address, **selection):
    source = inspect(address, **selection).source
    return source.read(whole(source.shape))


class TestOmeZarrSink(SinkTests):
    suffix = ".zarr"

    def create(self, path, shape, **options):
        return begin(path, shape, self.dtype, chunks=(2, 3, 4)[-len(shape) :], **options)

    def load(self, path):
        return zarr.open_group(str(path), mode="r")["0"][...]


def write(path, voxels, **options):
    sink = begin(path, voxels.shape, voxels.dtype, **options)
    sink.write(whole(voxels.shape), voxels)
    sink.finish()


def noise(shape, dtype=np.float32):
    return np.random.default_rng(7).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize(
    "dtype", ["bool", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "f2", "f4", "f8"]
)
def test_every_type_comes_back(tmp_path, dtype):
    voxels = noise((5, 7, 11)) > 90 if dtype == "bool" else noise((5, 7, 11)).astype(dtype)
    write(tmp_path / "a.zarr", voxels)
    again = read(tmp_path / "a.zarr")
    assert again.dtype == voxels.dtype
    np.testing.assert_array_equal(again, voxels)


def test_frame_and_metadata_come_back(tmp_path):
    path = tmp_path / "a.ome.zarr"
    write(path, noise((5, 7, 11)), voxel_size=(30.0, 20.5, 10.25), origin=(-1.0, 2.0, 3.5))
    header = inspect(path)
    assert header.voxel_size == (30.0, 20.5, 10.25)
    assert header.origin == (-1.0, 2.0, 3.5)
    assert header.name == "a"
    assert header.notes == ()
    entry = json.loads((path / ".zattrs").read_text())["multiscales"][0]
    assert entry["version"] == "0.4"
    assert [a["unit"] for a in entry["axes"]] == ["angstrom"] * 3
    head = json.loads((path / "0" / ".zarray").read_text())
    assert head["dimension_separator"] == "/"
    assert head["compressor"]["id"] == "blosc"
    assert head["compressor"]["cname"] == "zstd"


@pytest.mark.parametrize("kind", ["intensity", "labels"])
def test_a_coarse_voxel_lies_where_its_metadata_say(tmp_path, kind):
    # A ramp: the value of a voxel is its position, so the coarse ones tell where they lie.
    ramp = np.broadcast_to(np.arange(140, dtype=np.float64), (3, 6, 140)) * 10.0 + 7.0
    path = tmp_path / "a.zarr"
    write(path, ramp, kind=kind, origin=(0.0, 0.0, 7.0))
    header = inspect(path, level=1)
    where = header.origin[2] + header.voxel_size[2] * np.arange(header.source.shape[2])
    np.testing.assert_allclose(read(path, level=1)[0, 0], where)


def test_labels_keep_their_numbers_in_every_level(tmp_path):
    labels = noise((70, 130, 260), np.uint16) * 300
    path = tmp_path / "a.zarr"
    write(path, labels, kind="labels")
    assert inspect(path).details["levels"] == 3
    assert inspect(path).details["kind"] == "labels"
    np.testing.assert_array_equal(read(path, level=1), labels[::2, ::2, ::2])
    np.testing.assert_array_equal(read(path, level=2), labels[::2, ::4, ::4])
    assert inspect(path, level=2).voxel_size == (20.0, 40.0, 40.0)


def test_parts_of_nothing_take_no_files(tmp_path):
    voxels = np.zeros((8, 8, 8), np.uint8)
    voxels[0, 0, 0] = 1
    write(tmp_path / "a.zarr", voxels, chunks=(4, 4, 4))
    chunks = [
        p for p in (tmp_path / "a.zarr" / "0").rglob("*") if p.is_file() and p.name != ".zarray"
    ]
    assert len(chunks) == 1
    np.testing.assert_array_equal(read(tmp_path / "a.zarr"), voxels)


def test_values_that_do_not_fit_are_refused(tmp_path):
    sink = begin(tmp_path / "a.zarr", (5, 7, 11), np.uint8)
    with pytest.raises(FormatError, match="from 0 to 300 do not fit uint8"):
        sink.write(whole((5, 7, 11)), np.linspace(0, 300, 385).reshape(5, 7, 11).astype(np.int64))
    with pytest.raises(FormatError, match="do not fit uint8"):
        sink.write(whole((5, 7, 11)), np.full((5, 7, 11), 0.5))
    with pytest.raises(ShapeError, match="Cut the block"):
        sink.write(whole((5, 7, 11)), np.zeros((5, 7, 10), np.uint8))
    sink.write(whole((5, 7, 11)), np.full((5, 7, 11), 3.0))


def test_impossible_outputs_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(FormatError, match="real numbers"):
        begin(tmp_path / "a.zarr", (5, 7, 11), np.complex64)
    with pytest.raises(ShapeError, match="chunks"):
        begin(tmp_path / "a.zarr", (5, 7, 11), chunks=(0, 1, 1))
    with pytest.raises(VoxelSizeError):
        begin(tmp_path / "a.zarr", (5, 7, 11), voxel_size=(0.0, 1.0, 1.0))
    with pytest.raises(MissingFileError, match="Make the folder"):
        begin(tmp_path / "none" / "a.zarr", (5, 7, 11))
    with pytest.raises(FormatError, match="read only"):
        begin(f"{tmp_path / 'a.zarr'}:/b", (5, 7, 11))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", [{"shape": (5, 7, 12)}, {"dtype": np.uint16}, {"chunks": (1, 1, 1)}], ids=str
)
def test_an_unfinished_output_of_another_kind_is_not_gone_on_with(tmp_path, change):
    options = {"shape": (5, 7, 11), "dtype": np.float32, "chunks": (2, 3, 4)}
    begin(tmp_path / "a.zarr", **options)
    with pytest.raises(ResumeError, match="Remove it"):
        begin(tmp_path / "a.zarr", **{**options, **change}, resume=True)
    assert begin(tmp_path / "a.zarr", (5, 7, 11), resume=True).chunks == (2, 3, 4)
    (partial_path(tmp_path / "a.zarr") / "0" / ".zarray").write_text("{")
    with pytest.raises(ResumeError, match="damaged"):
        begin(tmp_path / "a.zarr", (5, 7, 11), resume=True)


def test_a_stale_unfinished_output_is_begun_anew(tmp_path):
    begin(tmp_path / "a.zarr", (5, 7, 11)).write(whole((5, 7, 11)), noise((5, 7, 11)))
    begin(tmp_path / "a.zarr", (5, 7, 11)).finish()
    assert not read(tmp_path / "a.zarr").any()


def test_a_run_killed_in_the_pyramid_goes_on(tmp_path):
    voxels = noise((20, 30, 140))
    path = tmp_path / "a.zarr"
    begin(path, voxels.shape).write(whole(voxels.shape), voxels)
    (partial_path(path) / "1" / ".zarray").write_text("{")
    begin(path, voxels.shape, resume=True).finish()
    assert read(path, level=1).shape == (20, 30, 70)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize("kind", ["labels", "intensity"])
def test_the_parts_of_a_pyramid_are_built_in_any_order(tmp_path, kind):
    voxels = noise((70, 150, 300))
    for name in ("whole", "parts"):
        sink = begin(tmp_path / f"{name}.zarr", voxels.shape, kind=kind, chunks=(10, 16, 20))
        sink.write(whole(voxels.shape), voxels)
        if name == "whole":
            sink.finish()
            continue
        levels = sink.pyramid()
        assert len(levels) == 2
        for number, parts in enumerate(levels, start=1):
            assert len(parts) > 1
            for part in reversed(parts):
                sink.build(number, part)
        sink.seal()
    for level in range(3):
        one, other = (read(tmp_path / f"{name}.zarr", level=level) for name in ("whole", "parts"))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("kind", ["labels", "intensity"])
@pytest.mark.parametrize(
    ("block", "depth"),
    [((20, 64, 80), 1), ((10, 32, 40), 0), ((40, 128, 160), 2), ((70, 64, 80), 1)],
)
def test_blocks_fill_the_levels_that_they_can(tmp_path, kind, block, depth):
    voxels = noise((70, 150, 301))
    options = {"kind": kind, "chunks": (10, 32, 40)}
    sink = begin(tmp_path / "whole.zarr", voxels.shape, **options)
    sink.write(whole(voxels.shape), voxels)
    sink.finish()
    sink = begin(tmp_path / "through.zarr", voxels.shape, **options)
    cuts = normalize_chunks(block, voxels.shape)
    assert sink.depth(cuts) == depth
    for region in slices_from_chunks(cuts):
        sink.write_through(region, voxels[region], depth)
    for number, parts in enumerate(sink.pyramid(), start=1):
        for part in parts if number > depth else []:
            sink.build(number, part)
    sink.seal()
    for level in range(3):
        one, other = (read(tmp_path / f"{n}.zarr", level=level) for n in ("whole", "through"))
        np.testing.assert_array_equal(one, other)


def channels(path, **options):
    options = {
        "names": ("ribosome", "membrane"),
        "shape": (5, 7, 11),
        "dtype": np.float16,
        **options,
    }
    return create_channels(path, voxel_size=(10.0, 11.0, 12.0), **options)


def test_channels_are_written_together_and_read_one_by_one(tmp_path):
    probabilities = np.random.default_rng(1).random((2, 5, 7, 140)).astype(np.float16)
    path = tmp_path / "p.zarr"
    sink = channels(path, shape=(5, 7, 140), chunks=(2, 3, 4), origin=(1.0, 2.0, 3.0))
    for start in range(0, 140, 20):
        region = (slice(0, 5), slice(0, 7), slice(start, start + 20))
        sink.write(region, probabilities[(slice(None), *region)])
    assert not path.exists()
    sink.finish()
    assert read_channels(path) == ("ribosome", "membrane")
    for c in range(2):
        np.testing.assert_array_equal(read(path, c=c), probabilities[c])
        coarse = probabilities[c].astype(np.float32).reshape(5, 7, 70, 2).mean(axis=3)
        np.testing.assert_allclose(read(path, c=c, level=1), coarse, atol=1e-3)
    assert inspect(path, c=0).voxel_size == (10.0, 11.0, 12.0)
    assert inspect(path, c=0).origin == (1.0, 2.0, 3.0)
    assert json.loads((path / "0" / ".zarray").read_text())["chunks"] == [1, 2, 3, 4]


def test_an_image_says_what_its_voxels_mean(tmp_path):
    path = tmp_path / "p.zarr"
    sink = channels(path, names=(), dtype="u1", facts={"quantity": "probability", "scale": 255})
    sink.write(whole(sink.shape), np.ones(sink.shape, "u1"))
    sink.finish()
    attributes = json.loads((path / ".zattrs").read_text())
    assert attributes["volproc"] == {"quantity": "probability", "scale": 255}
    assert inspect(path).source.shape == sink.shape


def test_channels_refuse_what_volumes_refuse(tmp_path):
    path = tmp_path / "p.zarr"
    channels(path).finish()
    with pytest.raises(ExistsError):
        channels(path)
    with pytest.raises(FormatError, match=r"ends in \.zarr"):
        channels(tmp_path / "p.mrc")
    with pytest.raises(ShapeError, match="an empty volume cannot be written"):
        channels(tmp_path / "q.zarr", shape=(0, 3, 4))
    channels(path, overwrite=True)
    with pytest.raises(ResumeError):
        channels(path, overwrite=True, resume=True, names=("a", "b", "c"))
    with pytest.raises(ShapeError, match="Cut the block"):
        channels(path, overwrite=True).write(whole((5, 7, 11)), np.zeros((5, 7, 11)))


@pytest.mark.filterwarnings("ignore")  # those of a library that is no part of volproc
def test_ome_zarr_py_reads_what_is_written(tmp_path):
    reader = pytest.importorskip("ome_zarr.reader")
    from ome_zarr.io import parse_url

    voxels = noise((5, 7, 140), np.uint16)
    write(tmp_path / "i.zarr", voxels, origin=(1.0, 2.0, 3.0))
    write(tmp_path / "l.zarr", voxels, kind="labels")
    channels(tmp_path / "p.zarr").finish()
    for name in "il":
        node = next(iter(reader.Reader(parse_url(str(tmp_path / f"{name}.zarr")))()))
        np.testing.assert_array_equal(node.data[0].compute(), voxels)
        scale = node.metadata["coordinateTransformations"][1][0]
        assert scale == {"type": "scale", "scale": [10.0, 10.0, 20.0]}
    node = next(iter(reader.Reader(parse_url(str(tmp_path / "p.zarr")))()))
    assert node.metadata["channel_names"] == ["ribosome", "membrane"]
