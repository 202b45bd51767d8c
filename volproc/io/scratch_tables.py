"""Small tables of numbers between two stages, on disk, each written whole."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.io.chunk_files import write_array, write_bytes


@dataclass(frozen=True, slots=True)
class ScratchTables:
    """Arrays by name.

    Parameters
    ----------
    folder : str
        Where the files are; made at the first write.
    """

    folder: str

    def write(self, name: str, **columns: npt.NDArray[Any]) -> None:
        """Write several arrays under one name."""
        text = BytesIO()
        np.savez(text, **columns)
        write_bytes(self._path(f"{name}.npz"), text.getvalue())

    def read(self, name: str, *columns: str) -> list[npt.NDArray[Any]]:
        """Read some of the arrays under one name."""
        with np.load(self._path(f"{name}.npz"), allow_pickle=False) as file:
            return [file[column] for column in columns]

    def write_one(self, name: str, array: npt.NDArray[Any]) -> None:
        """Write one array, of which `map_one` reads parts."""
        write_array(self._path(f"{name}.npy"), array)

    def map_one(self, name: str) -> npt.NDArray[Any]:
        """Map one array into memory: only what is looked at is read."""
        path = self._path(f"{name}.npy")
        return np.load(path, mmap_mode="r", allow_pickle=False)

    def _path(self, name: str) -> Path:
        folder = Path(self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name
