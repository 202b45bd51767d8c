"""A block of a prediction as a stage runs it: repaired, made smaller, looked at when written."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from volproc.core.errors import OutOfMemoryError, SpillError
from volproc.core.types import Index, Region
from volproc.graph import block_predict
from volproc.graph.predict_job import PredictJob, Product
from volproc.graph.region_predict import count_passes, predict_region
from volproc.io.chunk_files import write_bytes
from volproc.io.omezarr_write import OmeZarrSink
from volproc.io.stored_chunks import ChunkFolder, Stored
from volproc.models.devices import is_out_of_memory, release_memory
from volproc.models.normalization import Scaling


@dataclass(frozen=True, slots=True)
class PredictWork:
    """`predict_block` with all but the index bound; picklable, unlike a lambda.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    scaling : Scaling
        Normalisation, with constants of the whole volume.
    checksums : bool
        Read what was written, so that the facts tell its checksum.
    notes : str
        File in which smaller batches are noted; empty for none.
    """

    job: PredictJob
    scaling: Scaling
    checksums: bool = False
    notes: str = ""

    def __call__(self, index: Index) -> dict[str, Any]:
        """Predict one block.

        Returns
        -------
        facts : dict
            Those of `predict_block`, and of each product in ``stored`` its bytes on disk and
            their checksum, see `volproc.io.stored_chunks`.

        Raises
        ------
        OutOfMemoryError
            If the device has too little memory.
        """
        try:
            facts = self._predict(index)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            text = str(error)
        else:
            return {**facts, "stored": self.look(index)}
        # Out here the error is gone, and with it the arrays that its traceback held.
        release_memory()
        msg = (
            f"{self.place(index)} with a batch of {self.job.batch_size} found no memory "
            f"on {self.job.device}: {text}"
        )
        raise OutOfMemoryError(msg)

    def smaller(self) -> PredictWork | None:
        """The same with half the batch, which is noted; None for a batch of one.

        Notes
        -----
        The network's kernels see another shape then, and the last bits of a voxel's sums may
        differ: about 1e-7 of the probabilities.
        """
        half = self.job.batch_size // 2
        if not half:
            return None
        if self.notes:
            path = Path(self.notes)
            write_bytes(path, json.dumps(sorted({*read_batches(path), half})).encode())
        return replace(self, job=self.job.with_batch_size(half))

    def place(self, index: Index) -> str:
        """Voxels of a block, for people."""
        return describe_region(self.job.grid[index].write)

    def look(self, index: Index, *, checksums: bool | None = None) -> dict[str, Stored]:
        """What is stored of a block now, by product; nothing of formats without chunk files."""
        with_checksums = self.checksums if checksums is None else checksums
        return look_at(self.job.products, self.job.grid[index].write, checksums=with_checksums)

    def _predict(self, index: Index) -> dict[str, Any]:
        try:
            return block_predict.predict_block(self.job, self.scaling, index)
        except SpillError:
            return repair_block(self.job, self.scaling, index)


def look_at(products: Sequence[Product], region: Region, *, checksums: bool) -> dict[str, Stored]:
    """What is stored of a region now, by product; nothing of formats without chunk files."""
    return {
        product.kind: ChunkFolder.of_sink(product.store).look(region, checksums=checksums)
        for product in products
        if isinstance(product.store, OmeZarrSink)
    }


def repair_block(job: PredictJob, scaling: Scaling, index: Index) -> dict[str, Any]:
    """Write a block once more whose neighbours' sums are gone.

    The same bits, at the price of the patches that reach in from the neighbours.

    Parameters
    ----------
    job : PredictJob
        What the blocks share.
    scaling : Scaling
        Normalisation, with constants of the whole volume.
    index : tuple of int
        Which block.

    Returns
    -------
    facts : dict
        ``patches`` computed, ``passes`` through the network, ``repaired``, ``time_s``.
    """
    begin = time.perf_counter()
    region = job.grid[index].write
    outputs = predict_region(job, scaling, region, {p.kind: p.dtype for p in job.products})
    for product in job.products:
        product.store.write(region, outputs[product.kind])
    patches, passes = count_passes(job, region)
    return {
        "patches": patches,
        "passes": passes,
        "repaired": 1,
        "time_s": time.perf_counter() - begin,
    }


def read_batches(path: Path) -> list[int]:
    """Smaller batches that were noted; none where nothing was."""
    try:
        return list(map(int, json.loads(path.read_text())))
    except FileNotFoundError:
        return []


def describe_region(region: Region) -> str:
    """Write the voxels of a region for people.

    >>> describe_region((slice(0, 64), slice(64, 128), slice(0, 50)))
    'voxels z 0:64, y 64:128, x 0:50'
    """
    names = "zyx"[3 - len(region) :]
    return "voxels " + ", ".join(
        f"{n} {s.start}:{s.stop}" for n, s in zip(names, region, strict=True)
    )
