"""A lamella that was found, as a source of its mask, and what blocks leave on disk for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import ConfigError
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.graph.chunks import Chunk, Cuts
from volproc.graph.lamella_rule import Hull, LamellaRule, as_mask
from volproc.io.chunk_files import ChunkFiles, write_array
from volproc.reduce.lamella_lines import (
    Lines,
    convex_lines,
    empty_lines,
    footprint,
    lines_of,
    merge_lines,
    paint_lines,
)
from volproc.reduce.lamella_planes import (
    PlanePair,
    empty_ends,
    ends_of,
    fit_planes,
    merge_ends,
)
from volproc.reduce.lamella_solid import SolidHull, solid_hull

HULLS = "hulls.npy"
"""File of the lines that a lamella is painted from."""


@dataclass(frozen=True, slots=True, eq=False)
class Lamella:
    """The mask of a lamella, 0 and 1; pickled to workers, which read files for it.

    Parameters
    ----------
    shape : tuple of int
        Size of the volume, (z, y, x).
    chunks : tuple of int
        What is best read at once.
    files : LamellaFiles
        Where the lines, or the voxels, are.
    raw : Source or None
        What slices without lamella show; 0 where there is none.
    has_slice : ndarray of bool, (z,), or None
        Slices with lamella; None in an empty mask.
    planes : PlanePair or None
        What it lies between.
    solid : SolidHull or None
        Its hull in three dimensions.
    """

    shape: Shape
    chunks: Shape
    files: LamellaFiles
    raw: Source | None = None
    has_slice: npt.NDArray[np.bool_] | None = None
    planes: PlanePair | None = None
    solid: SolidHull | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    def identity(self) -> str:
        """Folder of the files."""
        return self.files.folder

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Mask of a region."""
        if self.has_slice is None:
            return np.zeros(region_shape(region), np.uint8)
        if self.files.hull == "none":
            found: npt.NDArray[np.uint8] = self.files.masks.read(region)
            return found
        if self.files.hull == "volume":
            is_in = np.zeros(region_shape(region), np.bool_)
            return as_mask(is_in if self.solid is None else self.solid.paint(region))
        if self.planes is not None:
            flat = np.load(self.files.path(HULLS), mmap_mode="r", allow_pickle=False)
            return as_mask(self.planes.paint(region) & paint_lines(flat[:, region[1]], region[2]))
        return self._read_slices(region)

    def _read_slices(self, region: Region) -> npt.NDArray[np.uint8]:
        """Hulls of slices, and what was there in slices without one."""
        assert self.has_slice is not None
        hulls = np.load(self.files.path(HULLS), mmap_mode="r", allow_pickle=False)
        mask = as_mask(paint_lines(hulls[region[0], region[1]], region[2]))
        missing = np.flatnonzero(~self.has_slice[region[0]]) + region[0].start
        if self.raw is not None and len(missing):
            first, last = int(missing[0]), int(missing[-1]) + 1
            around = self.raw.read((slice(first, last), *region[1:]))
            mask[missing - region[0].start] = around[missing - first]
        return mask


@dataclass(frozen=True, slots=True)
class LamellaFiles:
    """What blocks say of a lamella, each in small files: they are read by one task at the end.

    Parameters
    ----------
    folder : str
        Scratch storage; made when it is written to.
    cuts : tuple of tuple of int
        Sizes of the blocks along each axis.
    hull : str
        What the lamella becomes, which decides what is needed of it.
    """

    folder: str
    cuts: Cuts
    hull: Hull

    @property
    def shape(self) -> Shape:
        """Size of the volume."""
        return tuple(map(sum, self.cuts))

    @property
    def masks(self) -> ChunkFiles:
        """Voxels of the lamella."""
        return ChunkFiles(self.path("masks"), self.cuts, np.dtype(np.uint8), is_compressed=True)

    @property
    def lines(self) -> ChunkFiles:
        """Lines of the lamella in each block, beside each other along the last axis."""
        cuts = (self.cuts[0], self.cuts[1], (2,) * len(self.cuts[2]))
        return ChunkFiles(self.path("lines"), cuts, np.dtype(np.int32), is_compressed=True)

    def path(self, name: str) -> str:
        """Path of a file or folder inside."""
        return str(Path(self.folder) / name)

    def leave(self, chunk: Chunk, mask: npt.NDArray[Any]) -> None:
        """Keep what is needed of the lamella's voxels in one block.

        Parameters
        ----------
        chunk : Chunk
            The block.
        mask : ndarray of bool or int, (z, y, x)
            Its voxels; all but 0 are lamella.
        """
        if self.hull == "none":
            self.masks.write_chunk(chunk.index, mask != 0)
            return
        if not mask.any():
            return
        self.lines.write_chunk(chunk.index, lines_of(mask, chunk.region[2].start))
        if self.hull == "plane":
            ends = ends_of(mask, chunk.region, self.shape)
            Path(self.path("ends")).mkdir(parents=True, exist_ok=True)
            write_array(self._ends(chunk.index), ends)

    def gather(self, chunks: Iterable[Chunk], *, raw: Source | None = None) -> Lamella:
        """Put together what all blocks have left.

        Parameters
        ----------
        chunks : iterable of Chunk
            The blocks.
        raw : Source, optional
            What slices without lamella show.

        Raises
        ------
        ShapeError
            If planes were asked for and none fit.

        Notes
        -----
        Memory: 16 bytes a line along x. One small file a block is read.
        """
        longest = tuple(map(max, self.cuts))
        if self.hull == "none":
            return Lamella(self.shape, longest, self, has_slice=np.ones(self.shape[0], bool))
        lines = empty_lines(*self.shape[:2])
        ends = empty_ends(self.shape)
        for chunk in chunks:
            if not self.lines.has_chunk(chunk.index):
                continue
            merge_lines(lines[chunk.region[:2]], self.lines.read_chunk(chunk.index))
            if self.hull == "plane":
                part = np.load(self._ends(chunk.index), allow_pickle=False)
                merge_ends(ends, part, chunk.region, self.shape)
        has_slice = (lines[..., 1] >= 0).any(axis=1)
        found = Lamella(self.shape, longest, self, raw, has_slice)
        if self.hull == "volume":
            return Lamella(
                self.shape, longest, self, None, has_slice, solid=solid_hull(lines, self.shape)
            )
        if self.hull == "plane":
            self._keep(convex_lines(footprint(lines)))
            planes = fit_planes(ends, self.shape)
            return Lamella(self.shape, longest, self, None, has_slice, planes)
        self._keep(convex_lines(lines))
        return found

    def nothing(self) -> Lamella:
        """An empty mask."""
        return Lamella(self.shape, tuple(map(max, self.cuts)), self)

    def _ends(self, index: Index) -> Path:
        return Path(self.path("ends")) / f"{'.'.join(map(str, index))}.npy"

    def _keep(self, hulls: Lines) -> None:
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        write_array(Path(self.path(HULLS)), hulls)


@dataclass(frozen=True, slots=True)
class RawLamella:
    """What of a map is lamella before anything is done, as a source of 0 and 1."""

    source: Source
    rule: LamellaRule

    @property
    def shape(self) -> Shape:
        """Size of the map."""
        return self.source.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Bytes."""
        return np.dtype(np.uint8)

    @property
    def chunks(self) -> Shape:
        """Those of the map."""
        return self.source.chunks

    def read(self, region: Region) -> npt.NDArray[np.uint8]:
        """Mask of a region."""
        return as_mask(self.rule.raw(self.source, region))

    def identity(self) -> str:
        """That of the map."""
        return self.source.identity()


def refuse_empty(lamella: Lamella, rule: LamellaRule) -> Lamella:
    """Refuse a hull that is flat on CryoSiam's coarse grid, and so has no voxel.

    Raises
    ------
    ConfigError
        Naming the map.
    """
    if rule.hull == "volume" and lamella.has_slice is not None and lamella.solid is None:
        msg = (
            f"{rule.name} has a lamella that is flat on a grid of every fourth voxel, so that "
            "nothing is left of it. Leave 3d_postprocessing out."
        )
        raise ConfigError(msg)
    return lamella
