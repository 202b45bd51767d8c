"""A scratch array of runs: the labels of each block in one small file, written whole."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volproc.core.errors import MissingFileError
from volproc.core.types import Index
from volproc.io.chunk_files import write_array


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Runs of labels between two stages, on disk; see `volproc.reduce.runs`.

    Parameters
    ----------
    folder : str
        Where the files are; made at the first write.
    """

    folder: str

    def write(self, index: Index, runs: npt.NDArray[np.uint32]) -> int:
        """Write the runs of one block; return the bytes on disk."""
        path = self._path(index)
        path.parent.mkdir(parents=True, exist_ok=True)
        return write_array(path, runs)

    def read(self, index: Index) -> npt.NDArray[np.uint32]:
        """Read the runs of one block.

        Raises
        ------
        MissingFileError
            If they are not there.
        """
        path = self._path(index)
        try:
            return np.load(path, allow_pickle=False)
        except FileNotFoundError as error:
            msg = (
                f"the labels of block {index} are not in scratch storage, looked for {path}. Give "
                "a scratch folder that every worker sees and that nobody cleans, and compute again."
            )
            raise MissingFileError(msg) from error

    def _path(self, index: Index) -> Path:
        return Path(self.folder) / f"{'.'.join(map(str, index))}.npy"
