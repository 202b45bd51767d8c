"""What a prediction of CryoSiam's kind is of: the task, its tomograms and their masks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volproc.core.errors import MissingFileError, ShapeError
from volproc.core.model import ModelSpec
from volproc.graph.physical_mask import PhysicalMask
from volproc.io.cryosiam_files import ENDINGS, LABELS, MARK
from volproc.io.formats import Header
from volproc.io.open import inspect
from volproc.models.cryosiam import read_cryosiam_spec, with_intensity
from volproc.models.views import find_views
from volproc.workflows.cryosiam_outputs import Form, PredictionFiles
from volproc.workflows.dataset_outputs import place_key
from volproc.workflows.dataset_record import Entry
from volproc.workflows.record import work_path

STAGE = "semantic-predict"

INPUTS = ("input", "mask")
"""What of the description of a prediction is of files, and not of settings."""


@dataclass(frozen=True, slots=True)
class PredictionTask:
    """Which tomograms, with which network, and how.

    Parameters
    ----------
    data_folder, extension : str
        Tomograms: files whose names end so.
    folder : str
        Where predictions go; it is made.
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
    form : {"h5", "zarr", "mrc", "original"}
        ``<tomogram>_preds`` as CryoSiam's HDF5, OME-Zarr or MRC, or a class map with the
        tomogram's own name; see `volproc.workflows.cryosiam_outputs.PredictionFiles`.
    voxel_size : float, optional
        Å, whatever the tomograms say.
    has_postprocessing : bool
        Clean the mask of a lamella model; see `volproc.workflows.cryosiam_lamella`.
    has_hull_3d : bool
        With the convex hull of the whole body, in CryoSiam's own way.
    batch_size : int
        Patches that CryoSiam takes at once; one is computed otherwise than several.
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
    form: Form = "h5"
    voxel_size: float | None = None
    has_postprocessing: bool = False
    has_hull_3d: bool = False
    batch_size: int = 2
    overwrite: bool = False

    @property
    def needs_probabilities(self) -> bool:
        """Whether a tile holds more than its labels."""
        return self.has_outputs or len(find_views(self.views)) > 1

    def outputs(self, name: str) -> PredictionFiles:
        """Files of the prediction of one tomogram."""
        return PredictionFiles(
            str(Path(self.folder).absolute()), name, self.extension, self.form, self.has_outputs
        )

    def read_model(self) -> ModelSpec:
        """The network, with the intensity step of the task."""
        low, high, mean, deviation = self.intensity
        spec = read_cryosiam_spec(self.model, distances=self.has_outputs)
        return with_intensity(spec, minimum=low, maximum=high, mean=mean, deviation=deviation)


@dataclass(frozen=True, slots=True)
class Tomogram:
    """One tomogram, its mask, and what its prediction depends on."""

    entry: Entry
    header: Header
    mask: Header | None
    description: dict[str, Any]

    voxel_size: tuple[float, ...] | None
    """Å, (z, y, x); None where nobody says it."""

    @property
    def laid_mask(self) -> PhysicalMask | None:
        """The mask laid over the tomogram; None without one."""
        if self.mask is None:
            return None
        return PhysicalMask(
            self.mask.source,
            self.header.source.shape,
            self.mask.address,
            self.voxel_size,
            self.mask.voxel_size,
        )

    @property
    def work(self) -> Path:
        """Folder of what an unfinished prediction has done."""
        return work_path(self.entry.output)


def open_tomogram(task: PredictionTask, spec: ModelSpec, entry: Entry) -> Tomogram:
    """Look at a tomogram and its mask; no voxel is read.

    Parameters
    ----------
    task : PredictionTask
        What is done with it.
    spec : ModelSpec
        From the task's `read_model`.
    entry : Entry
        Which one.

    Raises
    ------
    MissingFileError, FormatError, ShapeError
        If it, or its mask, cannot be read.
    """
    header = inspect(entry.input)
    if len(header.source.shape) != 3 or 0 in header.source.shape:
        msg = f"{entry.input} has shape {header.source.shape}. A tomogram is (z, y, x)."
        raise ShapeError(msg)
    mask = _open_mask(task, entry)
    description = {
        "model": spec.fingerprint(),
        "threshold": task.threshold,
        "mode": "cryosiam" if task.is_compatible else "whole",
        "views": task.views,
        "outputs": task.has_outputs,
        "voxel_size": task.voxel_size,
        "postprocessing": task.has_postprocessing and ("3d" if task.has_hull_3d else "slices"),
        "input": header.source.identity(),
        "mask": None if mask is None else mask.source.identity(),
    }
    size = header.voxel_size if task.voxel_size is None else (task.voxel_size,) * 3
    return Tomogram(entry, header, mask, description, size)


def _open_mask(task: PredictionTask, entry: Entry) -> Header | None:
    """Head of the mask of a tomogram; None where no masks are wanted."""
    if not task.mask_folder:
        return None
    for stem in (f"{entry.name}{MARK}", entry.name):
        for ending in ENDINGS:
            path = Path(task.mask_folder) / f"{stem}{ending}"
            if path.exists() and place_key(str(path)) != place_key(entry.input):
                return inspect(f"{path}:/{LABELS}" if ending == ".h5" else path)
    msg = (
        f"{task.mask_folder} has no mask of {entry.name}: {entry.name}{MARK}.h5 does not exist. "
        "Predict it with the lamella model first, or leave mask_folder out."
    )
    raise MissingFileError(msg)
