"""What a prediction of CryoSiam's kind is written to: its own HDF5, OME-Zarr or MRC."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Sink, Source
from volproc.core.errors import ConfigError, VoxelSizeError
from volproc.core.model import ModelSpec
from volproc.core.types import Region, Shape
from volproc.graph.kept_tiles import OF_CHANNELS, Part
from volproc.io.create import create
from volproc.io.cryosiam_files import LABELS, MARK, PROBABILITIES
from volproc.io.hdf5_new import SIDE, NewDataset, new_hdf5
from volproc.io.omezarr_write import create_channels
from volproc.workflows.dataset_outputs import place_key

Form = Literal["h5", "zarr", "mrc", "original"]
"""Formats; ``original`` is the tomogram's own name and format, for the class map."""

DISTANCES = "distances"

DATASETS: dict[Part, str] = {
    "labels": LABELS,
    "probabilities": PROBABILITIES,
    "distances": DISTANCES,
}
"""Names of parts in HDF5, and in the names of other files."""

COPIED_VOXELS = 2**24
"""Values that are in memory at once while tiles are put together."""

MOST_SIGNED = 128
"""Class values that a signed byte has, the only byte that MRC knows."""


@dataclass(frozen=True, slots=True)
class PredictionFiles:
    """Where the prediction of one tomogram goes.

    Parameters
    ----------
    folder : str
        CryoSiam's ``prediction_folder``.
    name : str
        The tomogram's, without its ending.
    extension : str
        Its ending.
    form : str
        See `Form`.
    has_outputs : bool
        Probabilities and distances too: beside the class map where its format has no channels.

    Examples
    --------
    >>> [PredictionFiles("out", "a", ".mrc", form).labels.as_posix() for form in ("h5", "original")]
    ['out/a_preds.h5', 'out/a.mrc']
    """

    folder: str
    name: str
    extension: str
    form: Form = "h5"
    has_outputs: bool = False

    @property
    def labels(self) -> Path:
        """File of the class map."""
        ending = self.extension if self.form == "original" else f"{MARK}.{self.form}"
        return Path(self.folder) / f"{self.name}{ending}"

    @property
    def beside(self) -> dict[Part, Path]:
        """Files of what HDF5 holds in the same file, by part."""
        if self.form == "h5" or not self.has_outputs:
            return {}
        place = Path(self.folder)
        return {part: place / f"{self.name}_{DATASETS[part]}.zarr" for part in OF_CHANNELS}

    @property
    def all(self) -> list[Path]:
        """All files, the class map last."""
        return [*self.beside.values(), self.labels]

    def refuse_input(self, address: str) -> None:
        """Refuse to write over the tomogram.

        Raises
        ------
        ConfigError
        """
        place = Path(place_key(address))
        if place_key(str(self.labels)) == str(place):
            msg = (
                f"the prediction of {address} would replace it: prediction_folder is data_folder, "
                "and save_original_file_extension gives it the same name. Choose another folder."
            )
            raise ConfigError(msg)
        own = Path(place_key(str(self.labels)))
        if own.parent == place.parent and own.name.endswith(self.extension):
            msg = (
                f"{own.name} in data_folder would be taken for a tomogram, since it ends in "
                f"{self.extension}. Choose another prediction_folder."
            )
            raise ConfigError(msg)


def write_prediction(
    files: PredictionFiles,
    parts: Mapping[Part, Source],
    spec: ModelSpec,
    *,
    voxel_size: tuple[float, ...] | None,
    is_signed: bool = False,
) -> None:
    """Put what was kept of tiles into files, which appear when they are whole.

    Parameters
    ----------
    files : PredictionFiles
        Where they go; what stands there is replaced.
    parts : mapping of str to Source
        ``labels``, (z, y, x); ``probabilities`` and ``distances``, (c, z, y, x).
    spec : ModelSpec
        Whose classes they are.
    voxel_size : tuple of float or None
        Å, (z, y, x); only HDF5 can do without.
    is_signed : bool
        Store the class map of HDF5 as int16, as CryoSiam does where it applies a mask.

    Raises
    ------
    VoxelSizeError
        If the format needs a voxel size and there is none.

    Notes
    -----
    Some 16 million values are in memory at once. The class map appears last.
    """
    if files.form == "h5":
        _write_hdf5(files, parts, spec, voxel_size, np.int16 if is_signed else np.uint8)
        return
    size = needed_size(files, voxel_size)
    sinks: dict[Part, Sink] = {}
    try:
        for part in [*files.beside, "labels"]:
            sinks[part] = _create(files, part, parts[part].shape, spec, size)
        for part, sink in sinks.items():
            shape = parts[part].shape
            for region in regions(shape, sink.chunks):
                sink.write(region[-3:], parts[part].read(region).astype(sink.dtype, copy=False))
        for sink in sinks.values():
            sink.finish()
    except BaseException:
        for sink in sinks.values():
            sink.discard()
        raise


def needed_size(files: PredictionFiles, voxel_size: tuple[float, ...] | None) -> tuple[float, ...]:
    """Voxel size of a format that needs one.

    Raises
    ------
    VoxelSizeError
        If there is none.
    """
    if voxel_size is None:
        msg = (
            f"the tomogram {files.name} does not say how large a voxel is, which {files.labels} "
            "has to say. Give it in Å: voxel_size= (--voxel-size), or write HDF5."
        )
        raise VoxelSizeError(msg)
    return voxel_size


def regions(shape: Shape, chunks: Shape) -> Iterator[Region]:
    """Cut an array into regions of whole storage chunks that fit into memory; channels stay whole.

    >>> [r[1].start for r in regions((4, 600, 8, 8), (1, 64, 64, 64))]
    [0, 256, 512]
    """
    *lead, depth, height, width = shape
    sides = list(chunks[-3:])
    for axis in (2, 1, 0, 2, 1, 0):  # up to four chunks along each axis
        if sides[axis] < shape[axis - 3] and 2 * prod(sides) * prod(lead) <= COPIED_VOXELS:
            sides[axis] *= 2
    whole = tuple(slice(0, n) for n in lead)
    space = (depth, height, width)
    for corner in product(*(range(0, n, side) for n, side in zip(space, sides, strict=True))):
        ends = zip(corner, sides, space, strict=True)
        yield (*whole, *(slice(begin, min(begin + side, n)) for begin, side, n in ends))


def _create(
    files: PredictionFiles, part: Part, shape: Shape, spec: ModelSpec, size: tuple[float, ...]
) -> Sink:
    if part == "labels":
        is_mrc = files.form in ("mrc", "original")
        dtype = np.int8 if is_mrc and spec.num_classes <= MOST_SIGNED else np.uint8
        return create(
            files.labels, shape=shape, dtype=dtype, voxel_size=size, kind="labels", overwrite=True
        )
    names = spec.classes if shape[0] == len(spec.classes) else spec.classes[1:]
    quantity = "probability" if part == "probabilities" else "distance"
    return create_channels(
        files.beside[part],
        names=names,
        shape=shape[1:],
        dtype=np.float32,
        voxel_size=size,
        overwrite=True,
        facts={"quantity": quantity, "scale": 1.0, "meaning": "value = voxel / scale"},
    )


def _write_hdf5(
    files: PredictionFiles,
    parts: Mapping[Part, Source],
    spec: ModelSpec,
    voxel_size: tuple[float, ...] | None,
    dtype: type[np.generic],
) -> None:
    datasets = {
        DATASETS[part]: NewDataset(source.shape, dtype if part == "labels" else np.float32)
        for part, source in parts.items()
    }
    attributes = {"classes": list(spec.classes), "model_sha256": spec.sha256}
    with new_hdf5(files.labels, datasets, attributes=attributes, voxel_size=voxel_size) as made:
        for part, source in parts.items():
            _copy(source, made[DATASETS[part]])


def _copy(source: Source, dataset: Any) -> None:
    for region in regions(source.shape[-3:], (SIDE,) * 3):
        for lead in product(*map(range, source.shape[:-3])):
            whole = (*(slice(n, n + 1) for n in lead), *region)
            voxels: npt.NDArray[Any] = source.read(whole)
            if voxels.any():  # what is not written is 0
                dataset[whole] = voxels
