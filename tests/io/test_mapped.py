"""Memory maps: read by region, without holding what was read."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pytest
import tifffile

from volproc.io import mapped
from volproc.io.open import open_

SHAPE = (64, 256, 256)
"""16 MiB of float32."""

needs_smaps = pytest.mark.skipif(
    not Path("/proc/self/smaps").exists(), reason="the system does not tell pages of a file"
)


def resident_bytes(path: Path) -> int:
    """Pages of a file that this process holds, by the kernel's account."""
    total, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def write(path: Path, voxels: np.ndarray) -> None:
    if path.suffix == ".npy":
        np.save(path, voxels)
    elif path.suffix == ".mrc":
        with mrcfile.new(path) as mrc:
            mrc.set_data(voxels)
    else:
        tifffile.imwrite(path, voxels, photometric="minisblack", contiguous=False, rowsperstrip=256)


@needs_smaps
@pytest.mark.parametrize("name", ["a.npy", "a.mrc", "a.tif"])
def test_pages_of_a_file_do_not_pile_up_while_it_is_read(tmp_path, monkeypatch, name) -> None:
    monkeypatch.setattr(mapped, "RELEASE_BYTES", 2**22)
    voxels = np.random.default_rng(0).random(SHAPE, np.float32)
    write(tmp_path / name, voxels)
    source = open_(tmp_path / name, voxel_size=10.0).source
    most = 0
    for z in range(0, SHAPE[0], 4):
        region = (slice(z, z + 4), slice(0, 256), slice(0, 256))
        np.testing.assert_array_equal(source.read(region), voxels[region])
        most = max(most, resident_bytes(tmp_path / name))
    assert 0 < most <= 2 * 2**22


def test_what_a_large_page_maps_besides_the_rows_that_are_read_counts(
    tmp_path, monkeypatch
) -> None:
    counted: list[int] = []
    monkeypatch.setattr(mapped.OpenMap, "used", lambda opened, number: counted.append(number))
    large = mapped.LARGE_PAGE_BYTES
    rows = (slice(0, 2), slice(3, 5), slice(0, 8))
    for height, expected in ((16, 2 * 16 * 8), (large, 2 * (2 * large + 2 * 8))):
        voxels = np.lib.format.open_memmap(
            tmp_path / f"{height}.npy", mode="w+", dtype=np.uint8, shape=(2, height, 8)
        )
        voxels.flush()
        open_(tmp_path / f"{height}.npy", voxel_size=1.0).source.read(rows)
        assert sum(counted) == expected
        counted.clear()


@needs_smaps
def test_views_that_dask_takes_do_not_pile_up_either(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mapped, "RELEASE_BYTES", 2**22)
    voxels = np.random.default_rng(0).random(SHAPE, np.float32)
    np.save(tmp_path / "a.npy", voxels)
    volume = open_(tmp_path / "a.npy", voxel_size=10.0, chunks=(8, 256, 256))
    total = volume.data.sum(dtype=float).compute(scheduler="sync")
    assert total == pytest.approx(voxels.sum(dtype=float))
    assert resident_bytes(tmp_path / "a.npy") <= 2 * 2**22


def test_a_view_stays_right_when_its_pages_are_given_back(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(mapped, "RELEASE_BYTES", 2**20)
    voxels = np.random.default_rng(0).random((16, 256, 256), np.float32)
    np.save(tmp_path / "a.npy", voxels)
    source = open_(tmp_path / "a.npy", voxel_size=10.0).source
    views = [source.view((slice(z, z + 2), slice(0, 256), slice(0, 256))) for z in range(0, 16, 2)]
    np.testing.assert_array_equal(np.concatenate(views), voxels)


@pytest.mark.parametrize("name", ["a.npy", "a.mrc", "a.tif"])
def test_a_file_that_was_replaced_is_read_anew(tmp_path, name) -> None:
    voxels = np.random.default_rng(0).random((4, 32, 32), np.float32)
    write(tmp_path / name, voxels)
    np.testing.assert_array_equal(open_(tmp_path / name, voxel_size=1.0).data, voxels)
    (tmp_path / name).unlink()
    write(tmp_path / name, voxels + 1)
    np.testing.assert_array_equal(open_(tmp_path / name, voxel_size=1.0).data, voxels + 1)
