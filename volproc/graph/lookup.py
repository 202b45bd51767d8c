"""A table of all objects between two stages: on disk, so that a block reads its own rows only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.io.chunk_files import write_array


@dataclass(frozen=True, slots=True)
class LookupFiles:
    """Keys and their values, in two memory-mapped files.

    What travels from task to task is the folder. A block searches the keys of its own objects,
    and the system reads the few pages that the search touches: no task gets the whole table.

    Parameters
    ----------
    folder : str
        Where the files are; made when they are written.
    """

    folder: str

    def write(self, keys: npt.NDArray[Any], values: npt.NDArray[Any]) -> None:
        """Keep a value for each key; keys ascending, each once."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        # One row more than needed: an empty file cannot be mapped, and no search falls off.
        end = np.array([np.iinfo(keys.dtype).max], keys.dtype)
        write_array(self._path("values"), np.append(values, np.zeros(1, values.dtype)))
        write_array(self._path("keys"), np.concatenate([keys, end]))

    def find(self, keys: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of some keys; 0 for a key that is not there."""
        known = np.load(self._path("keys"), mmap_mode="r", allow_pickle=False)
        values = np.load(self._path("values"), mmap_mode="r", allow_pickle=False)
        at = np.searchsorted(known, keys)
        return np.where(known[at] == keys, values[at], values.dtype.type(0))

    def _path(self, name: str) -> Path:
        return Path(self.folder) / f"{name}.npy"
