"""Reading ahead of a network and writing behind it, each in a thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from math import ceil, lcm
from types import TracebackType
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source, decoded_chunks
from volproc.core.types import Region, region_shape
from volproc.io.chunk_files import ChunkFiles
from volproc.models.normalization import Scaling
from volproc.plan.block_memory import READ_PLANES, SLAB_PLANES

Item = TypeVar("Item")


class SlabReader(AbstractContextManager["SlabReader"]):
    """A region of a source, read and scaled by a thread, slab after slab along z.

    ::

        extent:  | slab 0 | slab 1 | slab 2 | slab 3 |
                                   ^ the network needs this plane: it waits for slabs 0 and 1

    Slabs are whole storage chunks, so that no chunk is decoded twice for it. On leaving, slabs that
    were not begun are dropped, and the memory is given back.

    Parameters
    ----------
    source : Source
        Volume.
    scaling : Scaling
        Normalisation, with constants of the whole volume.
    extent : Region
        What is read; nothing if it is empty.

    Notes
    -----
    In use are the extent in float32 and one slab as it is stored; never the raw extent.
    """

    def __init__(self, source: Source, scaling: Scaling, extent: Region) -> None:
        self.extent = extent
        self._source = source
        self._scaling = scaling
        self._scaled = np.empty(region_shape(extent), np.float32)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volproc-read")
        self._slabs: deque[tuple[slice, Future[int]]] = deque()
        self._num_bytes = 0
        step = decoded_chunks(source)[0]
        step *= ceil(READ_PLANES / step)
        if self._scaled.size:
            for planes in cut_line(extent[0], step):
                self._slabs.append((planes, self._thread.submit(self._read, planes)))

    def up_to(self, stop: int) -> npt.NDArray[np.float32]:
        """Scaled voxels of the extent, of which those below a plane are there.

        Parameters
        ----------
        stop : int
            First plane that is not needed, in voxels of the volume.

        Raises
        ------
        Exception
            What reading has raised.
        """
        while self._slabs and self._slabs[0][0].start < stop:
            self._num_bytes += self._slabs[0][1].result()
            self._slabs.popleft()
        return self._scaled

    @property
    def num_bytes(self) -> int:
        """Bytes of the slabs that were asked for, as the source gives them."""
        return self._num_bytes

    def close(self) -> None:
        """Stop after the slab that is being read, and give the memory back."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._slabs.clear()
        self._scaled = np.empty((0,) * len(self.extent), np.float32)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: Any
    ) -> None:
        self.close()

    def _read(self, planes: slice) -> int:
        z, *rest = self.extent
        raw = self._source.read((planes, *rest))
        self._scaled[planes.start - z.start : planes.stop - z.start] = self._scaling(raw)
        return raw.nbytes


class PieceWriter(AbstractContextManager["PieceWriter[Item]"], Generic[Item]):
    """Calls a function with one item after the other, in a thread of its own.

    One item is under way and one waits; who brings a third one waits too. On leaving, what was not
    begun is dropped: call `finish` first.

    Parameters
    ----------
    write : callable
        Takes an item.

    Examples
    --------
    >>> with PieceWriter(print) as writer:
    ...     writer.put("a piece")
    ...     writer.finish()
    a piece
    """

    def __init__(self, write: Callable[[Item], None]) -> None:
        self._write = write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="volproc-write")
        self._pieces: deque[Future[None]] = deque()

    def put(self, item: Item) -> None:
        """Hand an item over.

        Raises
        ------
        Exception
            What the function has raised for an earlier item.
        """
        while len(self._pieces) > 1:
            self._pieces[0].result()
            self._pieces.popleft()
        self._pieces.append(self._thread.submit(self._write, item))

    def finish(self) -> None:
        """Wait until all items are done.

        Raises
        ------
        Exception
            What the function has raised for one of them.
        """
        while self._pieces:
            self._pieces[0].result()
            self._pieces.popleft()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        # An error holds its frames, these hold the error: the arrays in them would stay.
        self._pieces.clear()


def cut_pieces(region: Region, stores: Sequence[Sink | ChunkFiles]) -> list[list[Region]]:
    """Cut a write region into pieces that may be written one by one.

    ::

        z ^  +-------+-------+
          |  |  1,0  |  1,1  |   layers along z, each of them cut along y;
          |  +-------+-------+   all cuts lie between storage chunks
          |  |  0,0  |  0,1  |
          |  +-------+-------+--> y

    Parameters
    ----------
    region : Region
        Write region of a block, (z, y, x).
    stores : sequence of Sink or ChunkFiles
        What takes it.

    Returns
    -------
    layers : list of list of Region
        Pieces in raster order, those with the same planes together. A store that takes a block as
        a whole gets one piece.
    """
    if any(isinstance(store, ChunkFiles) for store in stores):
        return [[region]]
    z, y, x = region
    depth, width, _ = (lcm(*sides) for sides in zip(*(s.chunks for s in stores), strict=True))
    # Thin planes would cost more calls than they are worth, rows of one voxel even more.
    planes = cut_line(z, depth * ceil(SLAB_PLANES / depth))
    rows = [y] if width == 1 else list(cut_line(y, width))
    return [[(p, row, x) for row in rows] for p in planes]


def cut_line(line: slice, step: int) -> Iterator[slice]:
    """Cut a line at all multiples of a step.

    >>> list(cut_line(slice(3, 9), 4))
    [slice(3, 4, None), slice(4, 8, None), slice(8, 9, None)]
    """
    start = line.start
    while start < line.stop:
        stop = min(start // step * step + step, line.stop)
        yield slice(start, stop)
        start = stop
