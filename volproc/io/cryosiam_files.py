"""CryoSiam's folder of predictions: ``<tomogram>_preds.h5``, and the same in other formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volproc.core.arrays import Source
from volproc.core.errors import (
    AddressError,
    ConfigError,
    DtypeError,
    FormatError,
    MissingFileError,
    ShapeError,
    VolprocError,
)
from volproc.core.types import Shape
from volproc.io.formats import Header
from volproc.io.open import inspect

MARK = "_preds"
"""What the name of a tomogram's prediction ends in, before the ending of its format."""

ENDINGS = (".h5", ".ome.zarr", ".zarr", ".mrc")
"""Formats of predictions, the first one of a tomogram is taken."""

LABELS, PROBABILITIES = "labels", "probs"
"""Datasets of a prediction in HDF5."""

MOST_NAMED = 5
"""Files that an error names."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The class map of one tomogram."""

    name: str
    """Name of the tomogram: the file's up to ``_preds``."""

    path: str
    """The file."""

    @property
    def address(self) -> str:
        """Address of the class map in it."""
        return f"{self.path}:/{LABELS}" if self.path.endswith(".h5") else self.path


def find_predictions(folder: str, extension: str = "") -> tuple[list[Prediction], list[str]]:
    """Predictions of a folder by name, and files that were left out.

    Parameters
    ----------
    folder : str
        CryoSiam's ``prediction_folder``. As there, any ``.h5`` with a dataset ``labels`` counts;
        ``_preds.zarr`` and ``_preds.mrc`` too. Hidden files do not.
    extension : str
        What the names of tomograms end in: where there is none of these, class maps that are
        called as their tomograms are taken, as ``save_original_file_extension`` has them.

    Returns
    -------
    predictions : list of Prediction
        One a tomogram, sorted by name. A file whose name ends as a prediction's does is one even
        if it cannot be read: who reads it says why.
    left_out : list of str
        Names of other HDF5 files, and of second files of a tomogram.

    Raises
    ------
    MissingFileError
        If there is no such folder, or no prediction in it.
    """
    place = Path(folder)
    if not place.is_dir():
        is_relative = "" if place.is_absolute() else f", counted from {Path.cwd()}"
        msg = f"the prediction folder {folder} does not exist{is_relative}. Check the path."
        raise MissingFileError(msg)
    found: dict[str, Prediction] = {}
    left_out = []
    names = sorted(path.name for path in place.iterdir() if not path.name.startswith("."))
    for ending in ENDINGS:
        for name in names:
            if not name.endswith(ending) or (ending == ".zarr" and name.endswith(".ome.zarr")):
                continue
            stem = name.removesuffix(ending)
            is_marked = stem.endswith(MARK) and stem != MARK
            # CryoSiam takes the whole name where there is no mark to cut it at.
            one = Prediction(stem.removesuffix(MARK) if is_marked else name, str(place / name))
            if not is_marked and (ending != ".h5" or not _has_labels(one)):
                if ending == ".h5":
                    left_out.append(name)
            elif one.name in found:
                left_out.append(name)
            else:
                found[one.name] = one
    if not found and extension:
        named = [
            Prediction(name.removesuffix(extension), str(place / name))
            for name in names
            if name.endswith(extension) and name != extension
        ]
        found = {one.name: one for one in named if _has_labels(one)}
    if not found:
        others = f"; {', '.join(left_out[:MOST_NAMED])} hold no labels" if left_out else ""
        msg = (
            f"there are no predictions (*{MARK}.h5) in {folder}{others}. Run semantic-predict "
            "first, or name the folder that it wrote to."
        )
        raise MissingFileError(msg)
    return [found[name] for name in sorted(found)], sorted(left_out)


def tomogram_names(folder: str, extension: str, files: Sequence[str] | None = None) -> list[str]:
    """Names of the tomograms that a yaml file means, without their ending.

    Parameters
    ----------
    folder : str
        CryoSiam's ``data_folder``; it is looked into only where no files are named.
    extension : str
        What the names of tomograms end in.
    files : sequence of str
        ``test_files``, or the file of ``--filename``.

    Raises
    ------
    ConfigError
        If a file has another ending.
    MissingFileError
        If there is no such folder, or no tomogram in it.

    Examples
    --------
    >>> tomogram_names("tomograms", ".mrc", ["b.mrc", "a.mrc_v2.mrc"])
    ['a.mrc_v2', 'b']
    """
    if files is None:
        place = Path(folder)
        if not place.is_dir():
            is_relative = "" if place.is_absolute() else f", counted from {Path.cwd()}"
            msg = f"the data folder {folder} does not exist{is_relative}. Check the path."
            raise MissingFileError(msg)
        names = [path.name for path in place.iterdir() if not path.name.startswith(".")]
        files = [name for name in names if name.endswith(extension)]
        if not files:
            msg = (
                f"no file in {folder} ends in {extension}; there are {len(names)} others. Check "
                "data_folder and file_extension."
            )
            raise MissingFileError(msg)
    for name in files:
        if not name.endswith(extension) or Path(name).name != name or name == extension:
            msg = (
                f'"{name}" is no name of a tomogram: give the name of a file in data_folder, which '
                f"ends in {extension}."
            )
            raise ConfigError(msg)
    # CryoSiam cuts at the first place where the ending occurs, so that a.mrc and a.mrc_v2.mrc meet.
    return sorted({name.removesuffix(extension) for name in files})


def find_prediction(folder: str, name: str) -> Prediction:
    """The prediction of one tomogram in CryoSiam's own format.

    Raises
    ------
    MissingFileError
        If it is not there.
    """
    path = Path(folder) / f"{name}{MARK}.h5"
    if not path.is_file():
        msg = f"{path} does not exist: {name} has no prediction. Run semantic-predict first."
        raise MissingFileError(msg)
    return Prediction(name, str(path))


def open_labels(prediction: Prediction) -> Header:
    """Read the head of a class map.

    Raises
    ------
    FormatError
        If the file is damaged, or holds no class map.
    DtypeError, ShapeError
        If what it holds is none of a volume.
    """
    try:
        header = inspect(prediction.address)
    except MissingFileError:
        raise
    except AddressError as error:
        msg = f"{prediction.path} is no semantic prediction: {error}"
        raise FormatError(msg) from error
    if len(header.source.shape) != 3:
        msg = (
            f"{prediction.address} has shape {header.source.shape}. A class map is one volume, "
            "(z, y, x)."
        )
        raise ShapeError(msg)
    if header.source.dtype.kind not in "iub":
        msg = (
            f"{prediction.address} holds {header.source.dtype} voxels. A class map has integers: "
            "convert it first."
        )
        raise DtypeError(msg)
    return header


def open_probabilities(
    prediction: Prediction, num_classes: int, shape: Shape
) -> tuple[Source, ...]:
    """Probabilities of the classes, that of class 1 first; none where the file has none.

    Raises
    ------
    ShapeError
        If they are not of the class map.
    """
    if not prediction.path.endswith(".h5"):
        return ()
    address = f"{prediction.path}:/{PROBABILITIES}"
    first = 0 if num_classes == 1 and _num_channels(address) == 1 else 1
    try:
        headers = [inspect(address, c=first + number) for number in range(num_classes)]
    except AddressError:
        return ()  # no such dataset, or fewer channels than classes
    for header in headers:
        if header.source.shape != shape:
            msg = (
                f"{address} has shape {header.source.shape}, and the labels {shape}. Predict it "
                "again."
            )
            raise ShapeError(msg)
    return tuple(header.source for header in headers)


def _num_channels(address: str) -> int:
    try:
        inspect(address, c=1)
    except AddressError:
        return 1
    return 2


def _has_labels(prediction: Prediction) -> bool:
    try:
        open_labels(prediction)
    except VolprocError:
        return False
    return True
