"""New HDF5 files are there as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from volproc.core.errors import MissingFileError
from volproc.io.hdf5_new import NewDataset, new_hdf5, read_attribute

DATASETS = {
    "labels": NewDataset((4, 5, 6), np.uint8),
    "probs": NewDataset((2, 4, 5, 6), np.float32),
}


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    attributes = {"mark": "x"}
    with new_hdf5(path, DATASETS, attributes=attributes, voxel_size=(1, 2, 3)) as made:
        made["labels"][1:3] = 7
        assert not path.exists()
    with h5py.File(path) as file:
        assert file["labels"][:].sum() == 7 * 2 * 5 * 6
        assert file["probs"].chunks == (1, 4, 5, 6)
        assert file["labels"].attrs["voxel_size_angstrom"].tolist() == [1, 2, 3]
    assert read_attribute(path, "mark") == "x"
    with (
        pytest.raises(RuntimeError, match="stopped"),
        new_hdf5(path, DATASETS, attributes={"mark": "y"}) as made,
    ):
        raise RuntimeError("stopped")
    assert read_attribute(path, "mark") == "x"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_what_cannot_be_read_has_no_attribute_and_a_folder_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "b.h5").write_bytes(b"no")
    assert read_attribute(tmp_path / "b.h5", "mark") is None
    with (
        pytest.raises(MissingFileError, match="Make the folder"),
        new_hdf5(tmp_path / "x" / "a.h5", DATASETS, attributes={}),
    ):
        pass
