"""One unit of work."""

from __future__ import annotations

from dataclasses import dataclass

from volproc.core.types import Index, Region


@dataclass(frozen=True, slots=True)
class Block:
    """One unit of work: read with a halo, write without it.

    Along one axis, for a block in the middle of the volume::

        |..................................|  volume
               |hhhh|wwwwwwwwww|hhhh|         read = halo + write + halo
                    |wwwwwwwwww|              write
               0    4          14             crop = 4:14, relative to read

    The write regions of all blocks tile the volume: every voxel is written once. Read regions
    overlap, and are clipped at the edges of the volume.
    """

    index: Index
    """Position of the chunk in the chunk grid."""

    read: Region
    """Region to load, in voxels of the volume."""

    write: Region
    """Region this block owns, in voxels of the volume."""

    @property
    def crop(self) -> Region:
        """The write region in voxels of the read region.

        >>> Block((0, 1), (slice(0, 8), slice(4, 20)), (slice(0, 8), slice(8, 16))).crop
        (slice(0, 8, None), slice(4, 12, None))
        """
        return tuple(
            slice(w.start - r.start, w.stop - r.start)
            for r, w in zip(self.read, self.write, strict=True)
        )
