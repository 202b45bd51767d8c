"""Tiles that stay on disk until all of them are there: a killed prediction goes on after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import numpy as np

from volproc.core.errors import OutOfMemoryError
from volproc.core.types import Index
from volproc.graph.ledger import Ledger
from volproc.graph.tile_predict import TileJob, TileResult
from volproc.io.chunk_files import ChunkFiles
from volproc.models.cryosiam_options import num_channels
from volproc.models.devices import is_out_of_memory, release_memory
from volproc.plan.tiles import Tiles

Part = Literal["labels", "probabilities", "distances", "foreground"]
"""What is kept of tiles: class map, all channels of both heads, and the first probability."""

OF_CHANNELS: tuple[Part, ...] = ("probabilities", "distances")
"""Parts with a channel axis."""


@dataclass(frozen=True, slots=True)
class KeptTiles:
    """Work of a stage: predicts the tiles of a pass, and keeps what they gave.

    Parameters
    ----------
    job : TileJob
        Predicts them.
    arrays : mapping of str to ChunkFiles
        Where each part goes, a chunk a tile; tiles that the mask leaves out are not there, and
        read as zeros.
    """

    job: TileJob
    arrays: Mapping[Part, ChunkFiles]

    def __call__(self, index: Index) -> dict[str, Any]:
        """Predict the tiles of a pass.

        Returns
        -------
        facts : dict
            ``tiles`` that were computed, ``outside`` the mask and so not computed, ``lowest`` and
            ``highest`` voxel that was read, ``time_s``; JSON values.

        Raises
        ------
        OutOfMemoryError
            If the device has too little memory.
        """
        begin_s = perf_counter()
        try:
            results = self.job(index)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            text = str(error)
        else:
            return {**self._keep(results), "time_s": perf_counter() - begin_s}
        # Out here the error is gone, and with it the arrays that its traceback held.
        release_memory()
        msg = (
            f"the tile at {self.place(index)} found no memory on {self.job.device}: {text}. Use "
            "smaller tiles (--tile)."
        )
        raise OutOfMemoryError(msg)

    def place(self, index: Index) -> str:
        """Where a pass is, for people."""
        return self.job.place(index)

    def has(self, index: Index, facts: Mapping[str, Any]) -> bool:
        """Whether what a finished pass has left is still there."""
        *others, last = index
        first = last * self.job.batch_size
        places = [(*others, first + n) for n in range(len(self.job.members(index)))]
        return all(
            sum(array.has_chunk((0,) * (len(array.cuts) - 3) + place) for place in places)
            == facts["tiles"]
            for array in self.arrays.values()
        )

    def _keep(self, results: Iterable[TileResult]) -> dict[str, Any]:
        facts: dict[str, Any] = {"tiles": 0, "outside": 0, "lowest": np.inf, "highest": -np.inf}
        for result in results:
            outputs = result.outputs
            if outputs is None:
                facts["outside"] += 1
                continue
            found: dict[str, Any] = {
                "labels": outputs.labels,
                "probabilities": outputs.probabilities,
                "distances": outputs.distances,
                "foreground": outputs.probabilities[0] if "foreground" in self.arrays else None,
            }
            for part, array in self.arrays.items():
                array.write(result.region, found[part])
            facts["tiles"] += 1
            facts["lowest"] = min(facts["lowest"], result.lowest)
            facts["highest"] = max(facts["highest"], result.highest)
        return facts


def keep_tiles(job: TileJob, folder: Path, parts: Iterable[Part]) -> KeptTiles:
    """Lay out where the tiles of a prediction are kept; nothing is written yet.

    Parameters
    ----------
    job : TileJob
        Predicts them.
    folder : Path
        One for nothing else.
    parts : iterable of str
        What is kept.
    """
    cuts = _cuts(job.tiles)
    channels = ((num_channels(job.spec),),)
    arrays: dict[Part, ChunkFiles] = {}
    for part in parts:
        dtype = np.dtype(np.uint8 if part == "labels" else np.float32)
        lead = channels if part in OF_CHANNELS else ()
        arrays[part] = ChunkFiles(str(folder / part), (*lead, *cuts), dtype, is_sparse=True)
    return KeptTiles(job, arrays)


def revoke_missing(work: KeptTiles, ledger: Ledger, stage: str) -> list[Index]:
    """Take the markers of passes away whose tiles are not there any more; return which."""
    gone = [index for index, facts in ledger.finished(stage) if not work.has(index, facts)]
    for index in gone:
        ledger.revoke(stage, index)
    return gone


def _cuts(tiles: Tiles) -> tuple[tuple[int, ...], ...]:
    """Sizes of what tiles keep along each axis."""
    found = []
    for axis, count in enumerate(tiles.numblocks):
        index = [0] * len(tiles.shape)
        sides = []
        for number in range(count):
            index[axis] = number
            side = tiles[tuple(index)].keep[axis]
            sides.append(side.stop - side.start)
        found.append(tuple(sides))
    return tuple(found)
