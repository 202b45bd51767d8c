"""CryoSiam's folder of predictions: class maps that are called as their tomograms."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest

from volproc.core.errors import MissingFileError
from volproc.io.cryosiam_files import find_predictions


def test_class_maps_that_are_called_as_their_tomograms_count_where_there_are_no_others(
    tmp_path: Path,
) -> None:
    mrcfile.write(tmp_path / "a.mrc", np.ones((3, 4, 5), np.int8), voxel_size=10)
    mrcfile.write(tmp_path / "b.mrc", np.ones((3, 4, 5), np.float32), voxel_size=10)
    with pytest.raises(MissingFileError, match="no predictions"):
        find_predictions(str(tmp_path))
    found, left_out = find_predictions(str(tmp_path), ".mrc")
    assert [(one.name, one.address) for one in found] == [("a", str(tmp_path / "a.mrc"))]
    assert left_out == []
    mrcfile.write(tmp_path / "c_preds.mrc", np.ones((3, 4, 5), np.int8), voxel_size=10)
    found, _ = find_predictions(str(tmp_path), ".mrc")
    assert [one.name for one in found] == ["c"]
