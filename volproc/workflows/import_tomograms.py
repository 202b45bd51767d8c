"""Tomograms of any format into a copick project, rescaled on the way where that is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from volproc.core.errors import (
    AddressError,
    ConfigError,
    ExistsError,
    MissingFileError,
    VolprocError,
    VoxelSizeError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor
from volproc.core.volume import Volume
from volproc.io.copick_address import is_copick, tomogram_address
from volproc.io.copick_config import open_project
from volproc.io.create import create
from volproc.io.file_names import natural_key
from volproc.io.inputs import expand_inputs
from volproc.io.open import inspect, open_
from volproc.reduce.fourier_crop import cropped_length
from volproc.workflows.convert import convert
from volproc.workflows.dataset import explain
from volproc.workflows.dataset_outputs import input_name, named, refuse_collisions
from volproc.workflows.dataset_record import Entry
from volproc.workflows.fourier_rescale import rescale_volume
from volproc.workflows.record import (
    made_so,
    make_room,
    tidy_room,
    work_path,
    write_record,
)
from volproc.workflows.unchanged import refuse_changed

STORY = "import"
"""What records say that made the tomograms."""

ENDINGS = (".mrc", ".mrcs", ".rec", ".map")
"""Files of a folder that are taken; for others give a pattern."""


@dataclass(frozen=True, slots=True)
class ImportTask:
    """What is imported, and how.

    Parameters
    ----------
    config : str
        Configuration file of the project.
    tomogram : str
        Type that the tomograms get, as ``denoised``.
    voxel_size : float
        Å per voxel of the files; a header that says otherwise is an error.
    coarser : float
        Å per voxel of the tomograms, where they are rescaled.
    override_voxel_size : bool
        Trust ``voxel_size`` against a header.
    overwrite : bool
        Replace tomograms that exist.
    resume : bool
        Leave tomograms that were imported so before.
    """

    config: str
    tomogram: str = "denoised"
    voxel_size: float = 10.0
    coarser: float | None = None
    override_voxel_size: bool = False
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.voxel_size < float("inf"):
            msg = f"the voxel size is {self.voxel_size} Å. Give a positive one."
            raise ConfigError(msg)
        if self.coarser is not None and not self.voxel_size < self.coarser < float("inf"):
            msg = (
                f"voxels of {self.voxel_size:g} Å cannot become voxels of {self.coarser:g} Å: "
                "tomograms are made coarser only. Give a larger output voxel size, or none."
            )
            raise ConfigError(msg)

    def address(self, run: str) -> str:
        """Where the tomogram of a run goes."""
        return tomogram_address(self.config, run, self.tomogram, self.coarser or self.voxel_size)


def find_files(words: Sequence[str]) -> list[str]:
    """Addresses of all files that are meant: those of folders, patterns and lists.

    Raises
    ------
    MissingFileError
        If a folder holds no tomograms, or there is no such file.
    """
    addresses: list[str] = []
    for word in words:
        folder = Path(word)
        if not folder.is_dir() or folder.suffix.lower() == ".zarr":
            found_here = list(expand_inputs([word]))
            if found_here == [word] and not (is_copick(word) or _is_path(word)):
                msg = f"{word} does not exist. Give a folder of tomograms, or files."
                raise MissingFileError(msg)
            addresses.extend(found_here)
            continue
        found = [
            path
            for path in folder.iterdir()
            if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
        ]
        if not found:
            msg = (
                f"{folder} holds no {', '.join(ENDINGS)}. Give another folder, or a pattern, as "
                f'"{folder}/*.tif".'
            )
            raise MissingFileError(msg)
        addresses.extend(map(str, sorted(found, key=lambda path: natural_key(path.name))))
    return list(dict.fromkeys(addresses))


def import_tomograms(
    addresses: Sequence[str],
    task: ImportTask,
    *,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> list[Entry]:
    """Import tomograms into a project, one after the other; broken ones do not stop the others.

    Parameters
    ----------
    addresses : sequence of str
        Volumes of any format. The run of each is its file name up to the first dot, and is made
        where it is missing.
    task : ImportTask
        Where they go.
    executor, observe
        Where the blocks of one that is copied run, and who watches.

    Returns
    -------
    entries : list of Entry
        What became of each.

    Raises
    ------
    ExistsError
        If tomograms exist that are not to be replaced; nothing was done then.
    ConfigError, MissingFileError
        If two files are of one run, or there is no such project.

    Notes
    -----
    Memory: a block; of one that is rescaled a slab, see
    `volproc.workflows.fourier_rescale.rescale_volume`.
    """
    open_project(task.config)
    entries = [Entry(name, a, task.address(name)) for a in addresses for name in (input_name(a),)]
    refuse_collisions((entry.input, entry.output) for entry in entries)
    existing = [e.output for e in entries if not task.overwrite and _is_there(e.output)]
    if existing and not task.resume:
        msg = (
            f"{named(existing)} {'exist' if len(existing) > 1 else 'exists'}. Choose another type "
            "(--tomo-alg), leave finished ones with --resume, or replace them with --overwrite."
        )
        raise ExistsError(msg)
    observe(Event("dataset", STORY, total=len(entries)))
    for entry in entries:
        begin_s = perf_counter()
        try:
            is_new = _import_one(entry, task, executor=executor)
        except (VolprocError, OSError) as error:
            entry.status, entry.error = "failed", explain(error)
        else:
            entry.status = "done" if is_new else "skipped"
        entry.seconds = perf_counter() - begin_s
        facts = {"status": entry.status, "time_s": entry.seconds}
        observe(Event("tomogram", STORY, text=entry.error, volume=entry.name, facts=facts))
    observe(Event("done", STORY))
    return entries


def _import_one(entry: Entry, task: ImportTask, *, executor: Executor | None) -> bool:
    """Import one tomogram; False if that was done before."""
    volume = _open(entry.input, task)
    source = volume.source
    assert source is not None  # an opened volume has one
    if volume.ndim != 3:
        msg = f"{entry.input} has shape {volume.shape}. Give volumes (z, y, x)."
        raise AddressError(msg)
    wanted: dict[str, Any] = {
        "input": source.identity(),
        "voxel_size_angstrom": task.voxel_size,
        "output_voxel_size_angstrom": task.coarser or task.voxel_size,
    }
    there = not task.overwrite and _is_there(entry.output)
    if there and made_so(entry.output, STORY, wanted):
        return False
    if there:
        msg = f"{entry.output} exists and was not imported from {entry.input}. Add --overwrite."
        raise ExistsError(msg)
    facts: dict[str, Any] = {"address": entry.input, "output": entry.output, **wanted}
    if task.coarser is None:
        convert(
            entry.input,
            entry.output,
            voxel_size=task.voxel_size,
            override_voxel_size=True,  # it was compared with the header above
            overwrite=task.overwrite,
            executor=executor,
        )
    else:
        facts |= _rescale(entry, volume, task, task.coarser)
    refuse_changed(lambda: _open(entry.input, task), source)
    write_record(entry.output, STORY, facts)
    return True


def _rescale(
    entry: Entry, volume: Volume, task: ImportTask, coarser: float
) -> dict[str, list[float]]:
    """Write the tomogram on coarser voxels; return how large these really are."""
    assert volume.source is not None  # an opened volume has one
    shape = tuple(cropped_length(n, task.voxel_size, coarser) for n in volume.shape)
    make_room(entry.output)
    sink = create(
        entry.output,
        shape=shape,
        dtype="float32",
        voxel_size=(coarser,) * 3,
        overwrite=task.overwrite,
    )
    try:
        rescale_volume(volume.source, sink, work_path(entry.output))
        sink.finish()
    except BaseException:
        sink.discard()
        raise
    finally:
        tidy_room(entry.output)
    exact = [task.voxel_size * n / m for n, m in zip(volume.shape, shape, strict=True)]
    return {"exact_voxel_size_angstrom": exact}


def _open(address: str, task: ImportTask) -> Volume:
    """Open a file, whose header has to say the voxel size that was given, or none."""
    try:
        return open_(
            address,
            voxel_size=task.voxel_size,
            on_conflict="override" if task.override_voxel_size else "error",
        )
    except VoxelSizeError as error:
        text = str(error).replace("--voxel-size", "--input-voxel-size")
        raise VoxelSizeError(text) from error


def _is_path(address: str) -> bool:
    """Whether there is a file of an address, which may name an array in it."""
    return Path(address.partition(":/")[0]).exists()


def _is_there(address: str) -> bool:
    try:
        inspect(address)
    except AddressError:
        return False
    return True
