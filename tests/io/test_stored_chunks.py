"""Chunk files seen from outside: sizes, checksums, places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volproc.io.omezarr_write import OmeZarrSink, create_channels
from volproc.io.stored_chunks import ChunkFolder, Stored

REGION = (slice(0, 4), slice(4, 8), slice(0, 5))


@pytest.fixture
def sink(tmp_path: Path) -> OmeZarrSink:
    """Two channels of (7, 8, 5) voxels in chunks of (4, 2, 3); the first plane is empty."""
    sink = create_channels(
        tmp_path / "a.zarr",
        names=("a", "b"),
        shape=(7, 8, 5),
        dtype="uint8",
        voxel_size=(10.0,) * 3,
        chunks=(4, 2, 3),
    )
    voxels = np.random.default_rng(0).integers(1, 9, (2, 7, 8, 5)).astype(np.uint8)
    voxels[0, :4, :2] = 0
    sink.write((slice(0, 7), slice(0, 8), slice(0, 5)), voxels)
    return sink


def test_sizes_are_those_of_the_files_of_the_region(sink: OmeZarrSink) -> None:
    folder = ChunkFolder.of_sink(sink)
    files = [p for p in (sink.partial / "0").rglob("*") if p.is_file() and p.name[0] != "."]
    whole = folder.look((slice(0, 7), slice(0, 8), slice(0, 5)), checksums=False)
    assert whole == Stored(sum(p.stat().st_size for p in files), -1)
    part = folder.look(REGION, checksums=False)
    inside = [p for p in files if p.parts[-3] == "0" and p.parts[-2] in "23"]
    assert len(inside) == 8
    assert part.num_bytes == sum(p.stat().st_size for p in inside)
    empty = folder.look((slice(0, 4), slice(0, 2), slice(0, 5)), checksums=False)
    assert 0 < empty.num_bytes < part.num_bytes


def test_every_change_of_a_file_changes_the_checksum(sink: OmeZarrSink) -> None:
    folder = ChunkFolder.of_sink(sink)
    before = folder.look(REGION, checksums=True)
    assert before == folder.look(REGION, checksums=True)
    path = sink.partial / "0" / "1" / "0" / "2" / "1"
    data = path.read_bytes()
    seen = {before}
    for number in range(len(data)):
        changed = bytearray(data)
        changed[number] ^= 1 << number % 8
        path.write_bytes(changed)
        seen.add(folder.look(REGION, checksums=True))
    assert len(seen) == len(data) + 1
    other = path.with_name("0")
    path.write_bytes(other.read_bytes())
    other.write_bytes(data)
    assert folder.look(REGION, checksums=True) not in seen
    outside = folder.look((slice(4, 7), slice(0, 8), slice(0, 5)), checksums=True)
    folder.remove(REGION)
    assert folder.look(REGION, checksums=True) == Stored(0, 0)
    assert folder.look((slice(4, 7), slice(0, 8), slice(0, 5)), checksums=True) == outside


def test_a_finished_image_is_seen_as_it_was_written(sink: OmeZarrSink) -> None:
    before = ChunkFolder.of_sink(sink).look(REGION, checksums=True)
    sink.finish()
    assert ChunkFolder.of_image(sink.address).look(REGION, checksums=True) == before
