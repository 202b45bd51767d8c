"""What holds several arrays says which, and each of them opens."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from volproc.core.errors import FormatError, SeveralError
from volproc.io.copick_project import create_project
from volproc.io.create import create, write_whole
from volproc.io.open import inspect, inspect_first
from volproc.testing.mrc_bytes import mrc_file, ramp

SHAPE = (5, 7, 11)


def hdf5_file(folder: Path) -> str:
    path = folder / "a.h5"
    with h5py.File(path, "w") as file:
        file["raw"] = np.zeros(SHAPE, "u1")
        file["masks/cells"] = np.zeros(SHAPE, "u2")
        file["masks/nuclei"] = np.zeros((2, *SHAPE), "u2")
    return str(path)


def hdf5_group(folder: Path) -> str:
    return f"{hdf5_file(folder)}:/masks"


def zarr_group(folder: Path) -> str:
    group = zarr.open_group(str(folder / "a.zarr"), mode="w")
    group.create_dataset("deep/raw", data=np.zeros(SHAPE, "u1"))
    group.create_dataset("deep/mask", data=np.zeros((2, *SHAPE), "u1"))
    return f"{folder / 'a.zarr'}:/deep"


def images_in_a_tiff(folder: Path) -> str:
    path = folder / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        for _ in range(3):
            file.write(np.zeros((2, *SHAPE), "u1"), metadata={"axes": "CZYX"})
    return str(path)


def stack_of_mrc_volumes(folder: Path) -> str:
    path = folder / "a.mrc"
    raw = bytearray(mrc_file(ramp((15, 7, 11), np.float32), 2))
    raw[36:40] = (5).to_bytes(4, "little")  # mz
    raw[88:92] = (401).to_bytes(4, "little")  # ispg
    path.write_bytes(raw)
    return str(path)


def copick_project(folder: Path) -> str:
    config = create_project(folder / "config.json", objects=[])
    for member in ("TS_1/wbp@10", "TS_1/wbp@20", "TS_2/wbp@10"):
        sink = create(
            f"{config}:{member}",
            shape=SHAPE,
            dtype="f4",
            voxel_size=(float(member.rpartition("@")[2]),) * 3,
        )
        write_whole(sink, np.zeros(SHAPE, "f4"))
    return str(config)


def copick_spacings(folder: Path) -> str:
    return f"{copick_project(folder)}:TS_1/wbp"


@pytest.mark.parametrize(
    ("make", "counts"),
    [
        (hdf5_file, {"dataset": 3}),
        (hdf5_group, {"dataset": 2}),
        (zarr_group, {"dataset": 2, "c": 2}),
        (images_in_a_tiff, {"dataset": 3, "c": 2}),
        (stack_of_mrc_volumes, {"t": 3}),
        (copick_project, {"address": 2}),
        (copick_spacings, {"address": 2}),
    ],
)
def test_the_first_is_read_and_every_choice_can_be_taken(
    tmp_path: Path, make: Callable[[Path], str], counts: dict[str, int]
) -> None:
    address = make(tmp_path)
    with pytest.raises(SeveralError):
        inspect(address)
    header, choices = inspect_first(address)
    assert header.source.shape == SHAPE
    assert len(header.notes) >= len(choices)
    assert counts.items() <= {option: len(values) for option, values in choices.items()}.items()
    option, values = next(iter(choices.items()))
    for value in values:
        asked = {"address": address} | {option: str(value) if option == "dataset" else value}
        taken, _ = inspect_first(**asked)
        assert taken.source.shape == SHAPE
        if value == values[0]:
            assert taken.source.identity() == header.source.identity()


def test_nothing_is_chosen_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(SHAPE))
    header, choices = inspect_first(path)
    assert choices == {}
    assert header == inspect(path)


def test_a_damaged_file_stays_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_bytes(Path(hdf5_file(tmp_path)).read_bytes()[:-100])
    with pytest.raises(FormatError, match="truncated"):
        inspect_first(path)
