"""CryoSiam's semantic prediction: a folder of tomograms becomes a folder of predictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from volproc.core.errors import (
    ConfigError,
    ExistsError,
    InputChangedError,
    MissingFileError,
    ShapeError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, memory_of_call, pool_of
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Shape
from volproc.graph.ledger import fingerprint
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.run import run_stage
from volproc.graph.tile_predict import TileJob, TileResult, describe_tiles, halo_tiles
from volproc.io.cryosiam_files import ENDINGS, LABELS, MARK, PROBABILITIES, tomogram_names
from volproc.io.formats import Header
from volproc.io.hdf5_new import NewDataset, new_hdf5, read_attribute
from volproc.io.open import inspect
from volproc.models.cryosiam import read_cryosiam_spec, with_intensity
from volproc.models.devices import choose_device, device_bytes
from volproc.models.views import find_views
from volproc.plan.tiles import HaloTiles, QuarterTiles
from volproc.workflows.dataset_outputs import named
from volproc.workflows.dataset_record import Entry
from volproc.workflows.each_tomogram import do_each_tomogram
from volproc.workflows.sole_run import sole_run

STAGE = "semantic-predict"

DISTANCES = "distances"
"""Dataset of the distance head."""

FINGERPRINT = "volproc_fingerprint"
"""Attribute of a prediction: a hash of everything that it depends on."""

SLACK = 0.01
"""Part of the range by which the contrast may lie outside it before that is said."""

MOST_DEVICE = 0.8
"""Part of a GPU's memory that a network may take."""


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """Which tomograms, with which network, and how.

    Parameters
    ----------
    data_folder, extension : str
        Tomograms: files whose names end so.
    folder : str
        Where ``<tomogram>_preds.h5`` go; it is made.
    model : str
        CryoSiam's checkpoint.
    threshold : float
        Probabilities below it do not count.
    intensity : tuple of float
        Minimum and maximum, which become 0 and 1, mean and standard deviation.
    mask_folder : str
        Lamella masks, ``<tomogram>_preds``; none where it is empty.
    files : tuple of str
        The only tomograms; all by default.
    has_outputs : bool
        Keep probabilities and distances too.
    is_compatible : bool
        CryoSiam's patches and numbers, instead of those of the whole volume.
    device : str
        Where the network runs.
    core : int, optional
        Largest side of a tile without its halo, voxels; by default as memory allows.
    views : str
        Set of views that are averaged; see `volproc.models.views.find_views`.
    overwrite : bool
        Replace predictions of other settings.
    """

    data_folder: str
    extension: str
    folder: str
    model: str
    threshold: float
    intensity: tuple[float, float, float, float]
    mask_folder: str = ""
    files: tuple[str, ...] | None = None
    has_outputs: bool = False
    is_compatible: bool = False
    device: str = "auto"
    core: int | None = None
    views: str = "none"
    overwrite: bool = False

    def target(self, name: str) -> Path:
        """File of the prediction of one tomogram."""
        return Path(self.folder).absolute() / f"{name}{MARK}.h5"

    def read_model(self) -> ModelSpec:
        """The network, with the intensity step of the task."""
        low, high, mean, deviation = self.intensity
        spec = read_cryosiam_spec(self.model, distances=self.has_outputs)
        return with_intensity(spec, minimum=low, maximum=high, mean=mean, deviation=deviation)


@dataclass(frozen=True, slots=True)
class PredictionReport:
    """What became of each tomogram."""

    entries: tuple[Entry, ...]
    num_tiles: dict[str, tuple[int, int]]
    """Tiles that were computed, and tiles that the mask left out, by tomogram."""


@dataclass(slots=True)
class _Writer:
    """Takes what tiles gave, in any order."""

    datasets: Mapping[str, Any]
    lowest: float = np.inf
    highest: float = -np.inf
    counts: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, index: Index, results: list[TileResult]) -> None:
        """Write the tiles of a pass."""
        del index
        for result in results:
            self.counts[result.outputs is None] += 1
            if result.outputs is None:
                continue
            self.lowest = min(self.lowest, result.lowest)
            self.highest = max(self.highest, result.highest)
            self.datasets[LABELS][result.region] = result.outputs.labels
            others = {
                PROBABILITIES: result.outputs.probabilities,
                DISTANCES: result.outputs.distances,
            }
            for name in others.keys() & self.datasets.keys():
                self.datasets[name][(slice(None), *result.region)] = others[name]


def predict_tomograms(
    task: PredictionTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> PredictionReport:
    """Predict the classes of tomograms, each by itself.

    Parameters
    ----------
    task : PredictionTask
        What to do.
    executor, observe
        Where tiles are computed, and who watches.

    Returns
    -------
    report : PredictionReport
        A tomogram that is damaged, or has no mask, fails alone. One that an earlier run has
        predicted with the same settings is ``skipped``.

    Raises
    ------
    ConfigError, MissingFileError, ModelError
        If the model or the names of tomograms are not to be had.
    ExistsError
        If there are predictions of other settings; nothing was done then.

    Notes
    -----
    One tile a worker is in memory, and its results until they are written. A file appears when it
    is whole: a tomogram in which a run was killed begins anew, those before it stay.
    """
    spec = task.read_model()
    find_views(task.views)
    names = tomogram_names(task.data_folder, task.extension, task.files)
    entries = [
        Entry(name, f"{task.data_folder}/{name}{task.extension}", str(task.target(name)))
        for name in names
    ]
    if not task.overwrite:
        _refuse_others(task, spec, entries)
    Path(task.folder).mkdir(parents=True, exist_ok=True)
    num_tiles: dict[str, tuple[int, int]] = {}
    runner = executor or SerialExecutor()

    def do_one(entry: Entry, watch: Observer) -> None:
        num_tiles[entry.name] = _do_one(task, spec, entry, runner, watch)

    do_each_tomogram(entries, do_one, stage=STAGE, observe=observe)
    return PredictionReport(tuple(entries), num_tiles)


def _refuse_others(task: PredictionTask, spec: ModelSpec, entries: list[Entry]) -> None:
    """Mark what is done already, and refuse predictions that are others."""
    others = []
    for entry in entries:
        if not Path(entry.output).exists():
            continue
        try:
            mark = _mark(task, spec, _open(entry), _open_mask(task, entry))
        except Exception:  # said again, with its cause, when its turn comes
            mark = ""
        if mark and read_attribute(Path(entry.output), FINGERPRINT) == mark:
            entry.status = "skipped"
        else:
            others.append(entry.output)
    if others:
        msg = (
            f"{named(others)} exist, and are not of these settings. Choose another "
            "prediction_folder, or replace them with overwrite= (--overwrite)."
        )
        raise ExistsError(msg)


def _do_one(
    task: PredictionTask, spec: ModelSpec, entry: Entry, runner: Executor, observe: Observer
) -> tuple[int, int]:
    """Predict one tomogram; return tiles that were computed, and others."""
    header, mask = _open(entry), _open_mask(task, entry)
    shape = header.source.shape
    pool = pool_of(runner, "gpu")
    job = TileJob(
        header.source,
        spec,
        _cut(task, spec, shape, pool),
        task.threshold,
        task.device,
        None if mask is None else _lay(mask, header),
        find_views(task.views),
        has_outputs=task.has_outputs,
    )
    on_device = choose_device(task.device).type == "cuda"
    observe(Event("note", STAGE, text=describe_tiles(spec, job.tiles, on_device=on_device)))
    mark = _mark(task, spec, header, mask)
    with sole_run(Path(entry.output)), _new_file(task, spec, entry, header, mark) as made:
        writer = _Writer(made)
        run_stage(
            STAGE,
            list(job.indices()),
            job,
            executor=pool,
            observe=observe,
            collect=writer.add,
            total=int(np.prod(job.numblocks)),
        )
        computed, skipped = writer.counts
        if not computed:
            msg = f"the mask of {entry.name} is empty: nothing is left to predict. Look at it."
            raise ConfigError(msg)
        if _open(entry).source.identity() != header.source.identity():
            msg = f"{entry.input} changed while it was read. Run it again."
            raise InputChangedError(msg)
    _warn_of_contrast(task, writer, observe)
    return computed, skipped


def _cut(
    task: PredictionTask, spec: ModelSpec, shape: Shape, pool: Executor
) -> HaloTiles | QuarterTiles:
    """Tiles of a volume, as large as the memory of a worker allows."""
    if task.is_compatible:
        return QuarterTiles(shape, spec.patch)
    free = device_bytes(choose_device(task.device))
    if free is not None:
        memory = int(MOST_DEVICE * free)
    else:
        shared = psutil.virtual_memory().available // (2 * max(1, pool.num_workers))
        memory = memory_of_call(pool) or int(shared)
    return halo_tiles(spec, shape, memory_bytes=memory, device=task.device, core=task.core)


@contextmanager
def _new_file(
    task: PredictionTask, spec: ModelSpec, entry: Entry, header: Header, mark: str
) -> Iterator[Mapping[str, Any]]:
    """Begin a prediction."""
    shape = header.source.shape
    datasets = {LABELS: NewDataset(shape, np.uint8)}
    if task.has_outputs:
        channels = 1 if spec.params["activation"] == "sigmoid" else spec.num_classes
        for name in (PROBABILITIES, DISTANCES):
            datasets[name] = NewDataset((channels, *shape), np.float32)
    attributes = {FINGERPRINT: mark, "classes": list(spec.classes), "model_sha256": spec.sha256}
    with new_hdf5(
        Path(entry.output), datasets, attributes=attributes, voxel_size=header.voxel_size
    ) as made:
        yield made


def _open(entry: Entry) -> Header:
    header = inspect(entry.input)
    if len(header.source.shape) != 3 or 0 in header.source.shape:
        msg = f"{entry.input} has shape {header.source.shape}. A tomogram is (z, y, x)."
        raise ShapeError(msg)
    return header


def _open_mask(task: PredictionTask, entry: Entry) -> Header | None:
    """Head of the mask of a tomogram; None where no masks are wanted."""
    if not task.mask_folder:
        return None
    for ending in ENDINGS:
        path = Path(task.mask_folder) / f"{entry.name}{MARK}{ending}"
        if path.exists():
            return inspect(f"{path}:/{LABELS}" if ending == ".h5" else path)
    msg = (
        f"{task.mask_folder} has no mask of {entry.name}: {entry.name}{MARK}.h5 does not exist. "
        "Predict it with the lamella model first, or leave mask_folder out."
    )
    raise MissingFileError(msg)


def _lay(mask: Header, header: Header) -> PhysicalMask:
    return PhysicalMask(
        mask.source, header.source.shape, mask.address, header.voxel_size, mask.voxel_size
    )


def _mark(task: PredictionTask, spec: ModelSpec, header: Header, mask: Header | None) -> str:
    return fingerprint(
        {
            "model": spec.fingerprint(),
            "threshold": task.threshold,
            "mode": "cryosiam" if task.is_compatible else "whole",
            "views": task.views,
            "outputs": task.has_outputs,
            "input": header.source.identity(),
            "mask": None if mask is None else mask.source.identity(),
        }
    )


def _warn_of_contrast(task: PredictionTask, writer: _Writer, observe: Observer) -> None:
    """Say where voxels were clipped: the tomogram may not be scaled as the model wants it."""
    low, high, *_ = task.intensity
    slack = SLACK * (high - low)
    if writer.lowest < low - slack or writer.highest > high + slack:
        text = (
            f"the contrast is {writer.lowest:.4g}…{writer.highest:.4g}, and the model wants "
            f"{low:g}…{high:g}: what is outside was clipped. Denoise and scale the tomogram first, "
            "white on black."
        )
        observe(Event("note", STAGE, text=text))
