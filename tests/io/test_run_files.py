"""Runs of blocks on disk."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import MissingFileError
from volproc.io.run_files import RunFiles


def test_runs_come_back_block_by_block(tmp_path) -> None:
    files = RunFiles(str(tmp_path / "labels"))
    one, other = np.arange(6, dtype=np.uint32).reshape(3, 2), np.zeros((3, 0), np.uint32)
    assert files.write((0, 11, 1), one) > one.nbytes
    files.write((0, 1, 11), other)
    np.testing.assert_array_equal(files.read((0, 11, 1)), one)
    assert files.read((0, 1, 11)).shape == (3, 0)


def test_runs_that_are_gone_are_named_with_the_cure(tmp_path) -> None:
    files = RunFiles(str(tmp_path))
    with pytest.raises(MissingFileError, match=r"block \(1, 2\) are not in .* compute again"):
        files.read((1, 2))
