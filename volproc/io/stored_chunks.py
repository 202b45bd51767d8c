"""What the chunk files of an OME-Zarr image look like from outside: sizes and checksums."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from volproc.core.types import Region
from volproc.io.omezarr_write import OmeZarrSink


class Stored(NamedTuple):
    """The chunk files of a region, together."""

    num_bytes: int
    """Their sizes, added; a chunk of nothing but zeros has no file."""

    checksum: int
    """CRC-32 of their bytes, in raster order of the chunks; -1 where it was not asked for."""


def look_at_chunks(
    sink: OmeZarrSink, region: Region, *, checksums: bool, folder: Path | None = None
) -> Stored:
    """Look at the chunk files of a region, without decoding them.

    Parameters
    ----------
    sink : OmeZarrSink
        Wrote them.
    region : Region
        Voxels, without the channel axis; it begins with a chunk.
    checksums : bool
        Read the files too.
    folder : Path
        The image, if it has its final name already.

    Returns
    -------
    stored : Stored
    """
    num_bytes, checksum = 0, 0 if checksums else -1
    level = (folder or sink.partial) / "0"
    for name in _chunk_names(sink, region):
        path = level / name
        try:
            if checksums:
                data = path.read_bytes()
                size = len(data)
                # The place counts too: a chunk that lost its file is not its neighbour.
                checksum = crc32(data, crc32(name.encode(), checksum))
            else:
                size = path.stat().st_size
        except FileNotFoundError:
            continue
        num_bytes += size
    return Stored(num_bytes, checksum)


def remove_chunks(sink: OmeZarrSink, region: Region) -> None:
    """Remove the chunk files of a region of an unfinished image.

    A damaged chunk at the volume's edge could not be written over: zarr would decode it first.
    """
    for name in _chunk_names(sink, region):
        (sink.partial / "0" / name).unlink(missing_ok=True)


def _chunk_names(sink: OmeZarrSink, region: Region) -> Iterator[str]:
    channels = [range(len(sink.channels))] if sink.channels else []
    spans = [range(s.start // c, -(-s.stop // c)) for s, c in zip(region, sink.chunks, strict=True)]
    for index in product(*channels, *spans):
        yield "/".join(map(str, index))
