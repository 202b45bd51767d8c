"""Tomograms and segmentations of copick projects, as OME-Zarr inside the project's folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import PyramidPart, PyramidSink, Sink
from volproc.core.errors import AddressError, FormatError, VoxelSizeError
from volproc.core.types import Region, Shape
from volproc.io.copick_address import CopickAddress, check_new_name, is_copick, parse_copick
from volproc.io.copick_config import find_run, is_spacing, open_project, overlay_folder
from volproc.io.copick_members import (
    find_segmentation,
    find_tomogram,
    incomplete_address,
    member_store,
    refuse_read_only,
)
from volproc.io.copick_project import make_run
from volproc.io.create import refuse_existing, remove
from volproc.io.formats import Format, Header, Selection, Target
from volproc.io.omezarr import OmeZarr, read_image


class CopickVolume(Format):
    """Reads and writes members of a copick project.

    ``config.json:RUN/TOMOGRAM@VOXEL`` is a tomogram, ``config.json:RUN/NAME:USER/SESSION@VOXEL``
    a segmentation; ``@VOXEL`` may be left out where there is only one. Segmentations are written
    as copick's multilabel kind: the value of a voxel is an object's label.
    """

    name = "copick"
    suffixes = ()
    checks_outputs = True

    def matches(self, address: str) -> bool:
        """Whether the address holds a configuration file, with something after it or not."""
        return is_copick(address)

    def path(self, address: str) -> Path:
        """Return the configuration file."""
        return parse_copick(address).config

    def read_header(self, address: str, selection: Selection) -> Header:
        """Find the member in the project and read the head of its store.

        Raises
        ------
        AddressError
            If run, member or voxel spacing are not there; the message names those there are.
        FormatError
            If the store is damaged.
        """
        found = parse_copick(address)
        root = open_project(found.config)
        if not found.name:
            raise incomplete_address(found, root)
        run = find_run(root, found)
        if found.has_owner:
            member, notes = find_segmentation(run, found)
            spacing = float(member.voxel_size)
        else:
            spacing, member = find_tomogram(run, found)
            notes = ()
        name = f"{run.name}_{found.name}"
        store = member_store(member)
        header = read_image(store, "", selection, address=address, name=name)
        finest = (
            header
            if selection.level == 0
            else read_image(store, "", replace(selection, level=0), address=address)
        )
        size, conflict = _voxel_size(spacing, header, finest)
        return replace(
            header,
            format=f"copick, {header.format}",
            voxel_size=size,
            details={**header.details, "run": run.name, "voxel spacing": spacing},
            notes=(*header.notes, *notes, *conflict),
        )

    def create(self, target: Target) -> Sink:
        """Begin a tomogram or a multilabel segmentation; a missing run is made.

        Raises
        ------
        AddressError
            If a name is one that copick cannot read back, or the project is not on the local
            disk.
        ExistsError
            If the member is there and may not be replaced.
        FormatError
            If the array is no volume, or a segmentation does not hold integers.
        VoxelSizeError
            If voxels are not cubes, or contradict the voxel spacing of the address.
        """
        found = parse_copick(target.address)
        root = open_project(found.config)
        if not found.name:
            raise incomplete_address(found, root)
        _check_target(found, target)
        spacing = _spacing_of(found, target)
        path = _output_path(root, found, spacing)
        refuse_read_only(root, found, spacing)
        # Only what is still to be made can be missing: the folders of run and spacing.
        if path.parent.exists():
            refuse_existing(path, overwrite=target.overwrite)
        made = _make_folders(path, found)
        kind = "labels" if found.has_owner else target.kind
        size = (spacing,) * 3  # copick's tools count with the project's spacing
        # Segmentations have one level, as Octopi and copick write them.
        has_pyramid = target.has_pyramid and not found.has_owner
        inner = replace(
            target, address=str(path), kind=kind, voxel_size=size, has_pyramid=has_pyramid
        )
        try:
            sink = OmeZarr().create(inner)
        except BaseException:
            _unmake(made)
            raise
        return CopickSink(target.address, sink, tuple(map(str, made)))


@dataclass(frozen=True, slots=True)
class CopickSink:
    """Writes the store of a member, which appears in the project when it is finished."""

    address: str
    """Where it can be opened afterwards, in the project."""

    store: PyramidSink
    """What writes the OME-Zarr."""

    made: tuple[str, ...]
    """Folders and markers that were made for it, the outermost first."""

    @property
    def shape(self) -> Shape:
        """Size in voxels."""
        return self.store.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels on disk."""
        return self.store.dtype

    @property
    def chunks(self) -> Shape:
        """Regions written at the same time must be multiples of this."""
        return self.store.chunks

    @property
    def is_parallel(self) -> bool:
        """Whether several processes may write different regions at the same time."""
        return self.store.is_parallel

    def write(self, region: Region, block: npt.NDArray[Any]) -> None:
        """Write one region."""
        self.store.write(region, block)

    def finish(self) -> None:
        """Complete the pyramid, and let the project see the member."""
        self.store.finish()

    def depth(self, cuts: tuple[tuple[int, ...], ...]) -> int:
        """Levels that blocks of a grid can fill by themselves."""
        return self.store.depth(cuts)

    def write_through(self, region: Region, block: npt.NDArray[Any], depth: int) -> None:
        """Write one region, and what it is in the first ``depth`` coarser levels."""
        self.store.write_through(region, block, depth)

    def coarsened(self, region: Region, level: int) -> Region:
        """Voxels of a coarser level that a region is in it."""
        return self.store.coarsened(region, level)

    def pyramid(self) -> list[Sequence[PyramidPart]]:
        """Parts of each coarser level."""
        return self.store.pyramid()

    def build(self, level: int, part: PyramidPart) -> None:
        """Make a part of a level."""
        self.store.build(level, part)

    def seal(self) -> None:
        """Let the project see the member: all levels are built."""
        self.store.seal()

    def discard(self) -> None:
        """Remove everything that was written, and the folders that were made for it."""
        self.store.discard()
        _unmake([Path(p) for p in self.made])


def _voxel_size(
    spacing: float, header: Header, finest: Header
) -> tuple[tuple[float, ...], tuple[str, ...]]:
    """Voxel size of a level from the project's spacing, and what the store says otherwise."""
    given, base = header.voxel_size, finest.voxel_size
    if given is not None and base is not None:
        factors = [g / b for g, b in zip(given, base, strict=True)]
    else:
        factors = [
            float(round(n / m))
            for n, m in zip(finest.source.shape, header.source.shape, strict=True)
        ]
    notes: tuple[str, ...] = ()
    if base is not None and not all(is_spacing(spacing, b) for b in base):
        text = " × ".join(f"{b:g}" for b in base)
        notes = (f"the store says {text} Å per voxel, the project {spacing:g} Å, which was used",)
    return tuple(spacing * f for f in factors), notes


def _check_target(address: CopickAddress, target: Target) -> None:
    """Refuse what a project cannot hold, or copick could not find again."""
    if len(target.shape) != 3:
        msg = f"copick holds volumes (z, y, x), got shape {target.shape}. Write it as MRC or TIFF."
        raise FormatError(msg)
    if address.has_owner:
        check_new_name("segmentation", address.name)
        check_new_name("user", str(address.user))
        check_new_name("session", str(address.session))
        if target.dtype.kind not in "iu" and target.dtype != np.float16:
            msg = (
                f"a segmentation holds integers, got {target.dtype}. Write labels as uint8, "
                "uint16 or uint32, heat maps of one class as float16, and other volumes as a "
                "tomogram (RUN/TYPE@VOXEL)."
            )
            raise FormatError(msg)
    elif "features" in address.name:
        msg = (
            f'copick does not list tomograms with "features" in their type, got "{address.name}". '
            "Choose another type."
        )
        raise AddressError(msg)


def _spacing_of(address: CopickAddress, target: Target) -> float:
    """Voxel spacing to write to, checked against the volume's voxels."""
    size = target.voxel_size
    if not all(is_spacing(size[0], v) for v in size):
        msg = (
            f"copick knows one voxel size for all axes, got {size} Å (z, y, x). Resample the "
            "volume to cubic voxels, or write another format."
        )
        raise VoxelSizeError(msg)
    if address.voxel is None:
        return round(size[0], 3)
    if not is_spacing(address.voxel, size[0]):
        msg = (
            f"{address} asks for voxels of {address.voxel:g} Å, the volume has {size[0]:g} Å. "
            f"Write to @{size[0]:g}, or correct the voxel size with voxel_size= (--voxel-size)."
        )
        raise VoxelSizeError(msg)
    return address.voxel


def _output_path(root: Any, address: CopickAddress, spacing: float) -> Path:
    """Where copick looks for the member."""
    folder = overlay_folder(root, "a volume") / "ExperimentRuns" / address.run
    if address.has_owner:
        stem = f"{spacing:.3f}_{address.user}_{address.session}_{address.name}-multilabel"
        return folder / "Segmentations" / f"{stem}.zarr"
    return folder / f"VoxelSpacing{spacing:.3f}" / f"{address.name}.zarr"


def _make_folders(path: Path, address: CopickAddress) -> list[Path]:
    """Make what copick expects around a member, and return what was not there."""
    if address.has_owner:
        made = make_run(path.parent.parent)
        if not path.parent.exists():
            path.parent.mkdir(exist_ok=True)
            made.append(path.parent)
        return made
    return make_run(path.parent.parent) + make_run(path.parent)


def _unmake(made: list[Path]) -> None:
    """Remove what was made, unless something else lies in it by now."""
    for path in reversed(made):
        if path.is_dir():
            if any(path.iterdir()):
                return
            path.rmdir()
        else:
            remove(path)
