"""What a worker does for one block of a stitching, and what stands between the stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import DtypeError
from volproc.core.types import Index
from volproc.io.chunk_files import ChunkFiles, write_bytes
from volproc.reduce.components import relabel
from volproc.reduce.stitching import Claims, Scores, claim_objects, empty_matches, match_blocks
from volproc.reduce.stitching_grid import OverlapGrid, common, within
from volproc.reduce.stitching_paint import Numbering, Palette, paint_chunk, pick_palette
from volproc.reduce.stitching_rule import Evidence, Verdict, merge_matches
from volproc.reduce.tables import ObjectTable

Segment = Callable[[npt.NDArray[Any]], Any]
"""Takes a block's voxels, gives its instances, or a pair of instances and scores."""


@dataclass(frozen=True, slots=True)
class StitchJob:
    """Everything that the blocks of one stitching share; pickled to workers.

    Parameters
    ----------
    grid : OverlapGrid
        How the volume is cut.
    blocks : ChunkFiles
        Takes the numbered objects of each block, halo included.
    painted : ChunkFiles
        Takes the objects of each chunk.
    min_overlap : float
        As in `volproc.stitch`.
    """

    grid: OverlapGrid
    blocks: ChunkFiles
    painted: ChunkFiles
    min_overlap: float

    def claims_path(self, index: Index) -> Path:
        """File of a block's claims; written after its objects, so it says that both are there."""
        return Path(self.blocks.folder) / f"{'.'.join(map(str, index))}.claims.npz"

    def read_claims(self, index: Index) -> Claims:
        """Claims of one block."""
        with np.load(self.claims_path(index), allow_pickle=False) as columns:
            return Claims(**columns)


def claim_block(labels: npt.NDArray[Any], scores: Scores, *, job: StitchJob, index: Index) -> Index:
    """Keep what one block has found, unless an earlier computation did; return the block."""
    if not job.claims_path(index).exists():
        numbers, claims = claim_objects(labels, grid=job.grid, index=index, scores=scores)
        job.blocks.write_chunk(index, numbers)
        columns = BytesIO()
        np.savez(columns, **{f.name: getattr(claims, f.name) for f in fields(claims)})
        write_bytes(job.claims_path(index), columns.getvalue())
    return index


def segment_block(
    after: Any, *, source: Source, function: Segment, job: StitchJob, index: Index
) -> Index:
    """Read one block, halo included, segment it and keep what was found."""
    del after
    if job.claims_path(index).exists():
        return index
    region = job.grid.block(index)
    try:
        found = function(source.read(region))
        labels, scores = found if isinstance(found, tuple) else (found, None)
        return claim_block(np.asarray(labels), scores, job=job, index=index)
    except Exception as error:
        starts = ", ".join(f"{s.start}:{s.stop}" for s in region)
        error.add_note(f"in block {index}, read [{starts}]")
        raise


def match_block(claimed: Sequence[Index], *, job: StitchJob) -> Evidence:
    """Match a block, the first of ``claimed``, with those after it that see the same voxels."""
    index, *partners = claimed
    own = job.blocks.read_chunk(index)
    region = job.grid.block(index)
    found = [empty_matches()]
    for partner in partners:
        other = job.grid.block(partner)
        shared = common(region, other)
        one = np.ascontiguousarray(own[within(shared, region)])
        if not one.any():  # the partner need not be read
            continue
        another = job.blocks.read_chunk(partner)[within(shared, other)]
        places = (job.grid.ordinal(index), job.grid.ordinal(partner))
        found.append(
            match_blocks(
                one,
                np.ascontiguousarray(another),
                places=places,
                min_overlap=job.min_overlap,
            )
        )
    return Evidence(job.read_claims(index), merge_matches(found))


def pick_palettes(verdict: Verdict, *, job: StitchJob, indices: Sequence[Index]) -> list[Palette]:
    """Each chunk's own part of a verdict."""
    return [pick_palette(verdict, grid=job.grid, index=index) for index in indices]


def paint_block(
    palettes: Sequence[Palette], *, job: StitchJob, index: Index, place: int
) -> ObjectTable:
    """Paint one chunk into scratch; return the measurements of its objects."""
    painted, table = paint_chunk(palettes[place], job.blocks.read_chunk, grid=job.grid, index=index)
    job.painted.write_chunk(index, painted)
    return table


def pick_labels(
    numbering: Numbering, palettes: Sequence[Palette], *, dtype: np.dtype[Any]
) -> list[npt.NDArray[Any]]:
    """Final labels of each chunk's painted objects, by their number there."""
    if numbering.report.num_objects > np.iinfo(dtype).max:
        msg = (
            f"{numbering.report.num_objects} objects do not fit into {dtype}. Use "
            "dtype=numpy.uint64."
        )
        raise DtypeError(msg)
    return [
        np.concatenate(([0], numbering.label[palette.ranks])).astype(dtype) for palette in palettes
    ]


def finish_chunk(
    luts: Sequence[npt.NDArray[Any]], scratch: Any, *, job: StitchJob, index: Index, place: int
) -> npt.NDArray[Any]:
    """Final labels of one chunk."""
    del scratch  # an argument only so that the folder outlives this task
    return relabel(job.painted.read_chunk(index), luts[place])
