"""What a block's patches add to its neighbours, handed over through files."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from volproc.core.errors import SpillError
from volproc.core.types import Index
from volproc.io.chunk_files import write_array


@dataclass(frozen=True, slots=True)
class Spill:
    """Strips between blocks, in a folder.

    Parameters
    ----------
    folder : str
        Made at the first strip. One folder a giver, one file a taker.
    """

    folder: str

    def part(self, number: int) -> Spill:
        """Strips of a part of the work, apart from those of other parts."""
        return Spill(str(Path(self.folder) / f"part{number}"))

    def give(self, giver: Index, taker: Index, sums: npt.NDArray[np.int64]) -> None:
        """Leave the sums of one block over another's write region."""
        path = self._path(giver, taker)
        path.parent.mkdir(parents=True, exist_ok=True)
        # NumPy writes an array with gaps number by number, which took a third of a block's time.
        whole = np.ascontiguousarray(sums)
        write_array(path, whole, trailer=_checksum(whole))

    def take(self, giver: Index, taker: Index) -> npt.NDArray[np.int64]:
        """Fetch what a block left for another; it stays, in case the taker runs again.

        Raises
        ------
        SpillError
            If it is not there, as the taker was finished before, or if it is damaged.
        """
        path = self._path(giver, taker)
        try:
            with path.open("rb") as file:
                sums: npt.NDArray[np.int64] = np.load(file, allow_pickle=False)
                is_whole = file.read() == _checksum(sums)
        except (FileNotFoundError, ValueError, EOFError):
            is_whole = False
        if not is_whole:
            msg = f"{path} is missing or damaged. The block is computed without it."
            raise SpillError(msg)
        return sums

    def drop(self, giver: Index) -> None:
        """Remove a block's strips: all its takers are finished."""
        shutil.rmtree(self._path(giver, giver).parent, ignore_errors=True)

    def drop_strip(self, giver: Index, taker: Index) -> None:
        """Remove one strip: its taker is finished."""
        path = self._path(giver, taker)
        path.unlink(missing_ok=True)
        with suppress(OSError):  # as an error says if there are others
            path.parent.rmdir()

    def _path(self, giver: Index, taker: Index) -> Path:
        return Path(self.folder) / ".".join(map(str, giver)) / f"{'.'.join(map(str, taker))}.npy"


def _checksum(sums: npt.NDArray[np.int64]) -> bytes:
    return crc32(sums.data).to_bytes(4, "little")
