"""What the chunk files of an OME-Zarr image look like from outside: sizes and checksums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from volproc.core.types import Region, Shape
from volproc.io.omezarr_write import OmeZarrSink
from volproc.io.zarr_array import read_array_meta


class Stored(NamedTuple):
    """The chunk files of a region, together."""

    num_bytes: int
    """Their sizes, added; a chunk of nothing but zeros has no file."""

    checksum: int
    """CRC-32 of their bytes, in raster order of the chunks; -1 where it was not asked for."""


@dataclass(frozen=True, slots=True)
class ChunkFolder:
    """The chunk files of the finest level of an image."""

    folder: str
    """The level, with a file a chunk, ``z/y/x`` or ``c/z/y/x``."""

    chunks: Shape
    """Storage chunks, (z, y, x)."""

    num_channels: int
    """0 without a channel axis; a chunk holds one channel."""

    @classmethod
    def of_sink(cls, sink: OmeZarrSink) -> ChunkFolder:
        """Those of an image that is being written."""
        return cls(str(sink.partial / "0"), sink.chunks, len(sink.channels))

    @classmethod
    def of_image(cls, address: str) -> ChunkFolder:
        """Those of a finished image, as `OmeZarrSink` leaves it.

        Raises
        ------
        FormatError
            If its head is damaged.
        """
        folder = str(Path(address) / "0")
        meta = read_array_meta(folder)
        lead = len(meta.shape) - 3
        return cls(folder, meta.chunks[lead:], meta.shape[0] if lead else 0)

    def look(self, region: Region, *, checksums: bool) -> Stored:
        """Look at the chunk files of a region, without decoding them.

        Parameters
        ----------
        region : Region
            Voxels, (z, y, x); it begins with a chunk.
        checksums : bool
            Read the files too.
        """
        num_bytes, checksum = 0, 0 if checksums else -1
        for name in self._names(region):
            path = Path(self.folder) / name
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

    def remove(self, region: Region) -> None:
        """Remove the chunk files of a region.

        A damaged chunk at the volume's edge could not be written over: zarr would decode it first.
        """
        for name in self._names(region):
            (Path(self.folder) / name).unlink(missing_ok=True)

    def _names(self, region: Region) -> Iterator[str]:
        channels = [range(self.num_channels)] if self.num_channels else []
        spans = [
            range(s.start // c, -(-s.stop // c)) for s, c in zip(region, self.chunks, strict=True)
        ]
        for index in product(*channels, *spans):
            yield "/".join(map(str, index))
