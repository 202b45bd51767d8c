"""A tile of a prediction as a stage runs it: computed, written, looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volproc.core.errors import OutOfMemoryError
from volproc.core.types import Index
from volproc.graph.predict_work import describe_region, look_at
from volproc.graph.tile_block import TilePredictJob, predict_tile_block
from volproc.io.stored_chunks import Stored
from volproc.models.devices import is_out_of_memory, release_memory


@dataclass(frozen=True, slots=True)
class TileBlockWork:
    """`predict_tile_block` with all but the index bound; picklable.

    Parameters
    ----------
    job : TilePredictJob
        What the tiles share.
    checksums : bool
        Read what was written, so that the facts tell its checksum.
    """

    job: TilePredictJob
    checksums: bool = False

    def __call__(self, index: Index) -> dict[str, Any]:
        """Predict the tiles of one pass.

        Returns
        -------
        facts : dict
            Those of `predict_tile_block`, and of each product in ``stored`` its bytes on disk.

        Raises
        ------
        OutOfMemoryError
            If the device has too little memory.
        """
        try:
            facts = predict_tile_block(self.job, index)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            text = str(error)
        else:
            return {**facts, "stored": self.look(index)}
        # Out here the error is gone, and with it the arrays that its traceback held.
        release_memory()
        msg = (
            f"{self.place(index)} found no memory on {self.job.device}: {text}. Use smaller "
            "chunks (--chunks)."
        )
        raise OutOfMemoryError(msg)

    def place(self, index: Index) -> str:
        """Voxels that a pass keeps, for people."""
        return describe_region(self.job.grid[index].write)

    def look(self, index: Index, *, checksums: bool | None = None) -> dict[str, Stored]:
        """What is stored of a pass now, by product; nothing of formats without chunk files."""
        with_checksums = self.checksums if checksums is None else checksums
        return look_at(self.job.products, self.job.grid[index].write, checksums=with_checksums)
