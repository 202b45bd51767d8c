"""CryoSiam's post-processing: small objects of each class leave the predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from volproc.core.errors import (
    ConfigError,
    ExistsError,
    InputChangedError,
)
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.types import Index
from volproc.graph.components import Collector
from volproc.graph.object_blocks import CORNERS, LabelWork
from volproc.graph.run import run_stage
from volproc.graph.scaling import statistics_grid
from volproc.io.cryosiam_files import (
    LABELS,
    MARK,
    find_prediction,
    open_labels,
    tomogram_names,
)
from volproc.io.hdf5_change import changed_copy
from volproc.reduce.components import label_block
from volproc.reduce.tables import ObjectTable
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram
from volproc.workflows.sole_run import sole_run

STAGE = "postprocessing"

SKIPPED = -1
"""Size that leaves a class as it is."""


@dataclass(frozen=True, slots=True)
class PostprocessingTask:
    """Which predictions, and how small is too small.

    Parameters
    ----------
    data_folder, extension : str
        Tomograms, whose names say which predictions are meant.
    folder : str
        Predictions, ``<tomogram>_preds.h5``.
    sizes : tuple of int
        For each class, that of the background first: objects that have no more voxels become
        background; -1 leaves the class as it is, and so does the end of the list.
    files : tuple of str
        The only tomograms; all by default.
    output : str
        Folder of the results; by default they replace the predictions.
    overwrite : bool
        Replace results in another folder.
    """

    data_folder: str
    extension: str
    folder: str
    sizes: tuple[int, ...]
    files: tuple[str, ...] | None = None
    output: str = ""
    overwrite: bool = False

    def __post_init__(self) -> None:
        if not self.sizes or min(self.sizes) < SKIPPED:
            msg = f"sizes are numbers of voxels, or -1 for a class to skip, got {self.sizes}."
            raise ConfigError(msg)

    def target(self, name: str) -> Path:
        """File of the result of one tomogram."""
        return Path(self.output or self.folder).absolute() / f"{name}{MARK}.h5"


@dataclass(frozen=True, slots=True)
class PostprocessingReport:
    """What became of each tomogram."""

    entries: tuple[Entry, ...]
    removed: dict[str, int]
    """Objects that each tomogram has lost."""


def postprocess(
    task: PostprocessingTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> PostprocessingReport:
    """Remove the small objects of each class from predictions.

    Objects are connected voxels of one class, across corners too. All else that a file holds
    stays: probabilities and distances too.

    Parameters
    ----------
    task : PostprocessingTask
        What to do.
    executor, observe
        Where blocks are read, and who watches.

    Returns
    -------
    report : PostprocessingReport
        A tomogram that has no prediction, or a damaged one, fails alone.

    Raises
    ------
    ConfigError, MissingFileError
        If the names of tomograms are not to be had.
    ExistsError
        If a result is there in another folder; nothing was done then.

    Notes
    -----
    Two passes over the blocks, the second one over those alone that lose something. A file changes
    all at once: a killed run leaves old files and new ones, and doing it again gives the same.
    """
    names = tomogram_names(task.data_folder, task.extension, task.files)
    entries = [
        Entry(name, f"{task.folder}/{name}{MARK}.h5", str(task.target(name))) for name in names
    ]
    is_elsewhere = task.target("").parent.resolve() != Path(task.folder).resolve()
    existing = [entry.output for entry in entries if Path(entry.output).exists()]
    if is_elsewhere and existing and not task.overwrite:
        msg = (
            f"{named(existing)} exist. Choose another folder, or replace them with overwrite= "
            "(--overwrite)."
        )
        raise ExistsError(msg)
    if is_elsewhere:
        task.target("").parent.mkdir(parents=True, exist_ok=True)
    removed: dict[str, int] = {}
    runner = executor or SerialExecutor()

    def do_one(entry: Entry, watch: Observer) -> None:
        removed[entry.name] = _do_one(task, entry.name, runner, watch)

    do_each_tomogram(entries, do_one, stage=STAGE, observe=observe)
    return PostprocessingReport(tuple(entries), removed)


def _do_one(task: PostprocessingTask, name: str, runner: Executor, observe: Observer) -> int:
    """Do one tomogram, and count what was removed."""
    prediction = find_prediction(task.folder, name)
    target = task.target(name)
    with sole_run(target):
        source = open_labels(prediction).source
        grid = statistics_grid(source)
        # Background has no objects here: its number does nothing.
        values = tuple(range(1, max(2, len(task.sizes))))
        work = LabelWork(source, grid, values, is_eroded=False)
        collector = Collector(grid.numblocks, CORNERS)
        run_stage(
            STAGE,
            list(grid.indices()),
            work,
            executor=pool_of(runner, "cpu"),
            observe=observe,
            collect=lambda index, report: collector.add(index, report.found),
            total=len(grid),
        )
        objects, luts = collector.join()
        is_small = small_objects(objects, task.sizes)
        if open_labels(prediction).source.identity() != source.identity():
            msg = f"{prediction.path} changed while it was read. Run it again."
            raise InputChangedError(msg)
        if is_small.any() or target != Path(prediction.path).absolute():
            with changed_copy(prediction.path, str(target), LABELS) as labels:
                for index, lut in luts.items():
                    if is_small[lut].any():
                        labels[grid[index].write] = _without(work, index, is_small[lut])
    return int(is_small.sum())


def small_objects(objects: ObjectTable, sizes: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Whether each object is too small for its class, by its number; False for the background.

    Parameters
    ----------
    objects : ObjectTable
        All objects, numbered from 1.
    sizes : tuple of int
        As in `PostprocessingTask`.
    """
    is_small = np.zeros(len(objects) + 1, np.bool_)
    if objects.classes is not None:
        limits = np.array([*sizes, SKIPPED], np.int64)  # of one number there is no class 1
        is_small[1:] = objects.count <= limits[np.minimum(objects.classes, len(sizes))]
    return is_small


def _without(
    work: LabelWork, index: Index, is_small: npt.NDArray[np.bool_]
) -> npt.NDArray[np.generic]:
    """Voxels of a block without its small objects, by local label."""
    region, shape = work.grid[index].write, work.source.shape
    voxels = work.source.read(region).copy()
    offset = tuple(side.start for side in region)
    found = label_block(work.read(region), offset=offset, shape=shape, connectivity=CORNERS)
    voxels[is_small[found.labels]] = 0
    return voxels
