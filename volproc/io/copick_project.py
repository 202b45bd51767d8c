"""copick projects: their configuration, runs and objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError
from volproc.core.types import Region
from volproc.io.atomic_text import write_text
from volproc.io.copick_address import check_new_name, tomogram_address
from volproc.io.copick_config import is_spacing, open_project
from volproc.io.create import create, refuse_existing
from volproc.io.lazy import lazy_chunks

if TYPE_CHECKING:
    import dask.array as da

PALETTE = (
    (0, 117, 220, 255),
    (251, 192, 147, 255),
    (43, 206, 72, 255),
    (240, 163, 255, 255),
    (255, 225, 0, 255),
    (148, 255, 181, 255),
    (255, 80, 5, 255),
    (94, 241, 242, 255),
)
"""Colours of objects that are given none, red, green, blue and opacity, 0 to 255."""


@dataclass(frozen=True, slots=True)
class ProjectObject:
    """One kind of object that a project looks for."""

    name: str
    """No spaces or underscores: copick separates the parts of its file names by them."""

    label: int
    """Value in multilabel segmentations, from 1."""

    radius_angstrom: float | None = None
    """Radius of a particle, Å; None where it is not known."""

    is_particle: bool = True
    """Whether it is picked as points; membranes and filaments are only segmented."""

    color: tuple[int, int, int, int] | None = None
    """Red, green, blue, opacity, 0 to 255; None takes one of `PALETTE`."""


def create_project(
    path: Path | str,
    *,
    objects: Sequence[ProjectObject],
    runs: Sequence[str] = (),
    name: str = "volproc",
    description: str = "",
    folder: str = "project",
    user: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Make a copick project on the local disk.

    Parameters
    ----------
    path : path
        Configuration file to write, ``….json``.
    objects : sequence of ProjectObject
        What the project looks for; labels and names are unique.
    runs : sequence of str
        Runs to make, empty.
    name, description : str
        What people read.
    folder : str
        Where runs lie, beside the configuration file.
    user : str or None
        Default user of copick's own tools.
    overwrite : bool
        Replace an existing configuration file. Runs that lie in ``folder`` stay.

    Returns
    -------
    path : Path
        The configuration file, absolute.

    Raises
    ------
    ConfigError
        If two objects share a name or a label, or a label is below 1.
    AddressError
        If a name has characters that copick cannot read back.
    ExistsError
        If the file is there and ``overwrite`` is false.

    Notes
    -----
    The folder is written as an absolute path: copick takes a relative one from wherever its
    process was started.
    """
    config = Path(path).absolute()
    refuse_existing(config, overwrite=overwrite)
    _check_objects(objects)
    root = config.parent / folder
    values = {
        "config_type": "filesystem",
        "name": name,
        "description": description,
        "version": "1.0.0",
        "user_id": user,
        "pickable_objects": [_object_values(o, i) for i, o in enumerate(objects)],
        "overlay_root": f"local://{root.as_posix()}/",
        "overlay_fs_args": {"auto_mkdir": True},
    }
    for run in runs:
        make_run(root / "ExperimentRuns" / run)
    write_text(config, json.dumps(values, indent=2) + "\n")
    return config


def _check_objects(objects: Sequence[ProjectObject]) -> None:
    for what in ("name", "label"):
        values = [str(getattr(o, what)) for o in objects]
        twice = sorted({v for v in values if values.count(v) > 1})
        if twice:
            msg = f"several objects have the {what} {', '.join(twice)}. Give each its own."
            raise ConfigError(msg)
    for item in objects:
        check_new_name("object", item.name)
        if item.label < 1:
            msg = f"object {item.name} has label {item.label}. Labels begin at 1; 0 is background."
            raise ConfigError(msg)


def _object_values(item: ProjectObject, index: int) -> dict[str, Any]:
    return {
        "name": item.name,
        "is_particle": item.is_particle,
        "label": item.label,
        "color": list(item.color or PALETTE[index % len(PALETTE)]),
        "radius": item.radius_angstrom,
    }


def make_run(folder: Path) -> list[Path]:
    """Make a folder as copick marks it, and return what was made, the outermost first."""
    if folder.exists():
        return []
    made = [p for p in (folder, *folder.parents) if not p.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / ".meta"
    marker.write_text("meta")
    return [*made, marker]


def project_objects(config: Path | str) -> dict[str, ProjectObject]:
    """Objects of a project by name, in the order of its configuration file.

    Raises
    ------
    MissingFileError, ConfigError
        As in `open_project`.
    """
    return {
        o.name: ProjectObject(o.name, o.label, o.radius, o.is_particle, o.color)
        for o in open_project(config).pickable_objects
    }


def object_weights(config: Path | str) -> dict[str, float]:
    """Weights of a project's objects in scores, as Octopi keeps them; 1 where nothing is said.

    Parameters
    ----------
    config : path
        Configuration file; the weight of an object is ``metadata: {"weight": ...}``.

    Raises
    ------
    MissingFileError, ConfigError
        As in `open_project`, or if a weight is no number.
    """
    weights = {}
    for found in open_project(config).pickable_objects:
        said = (getattr(found, "metadata", None) or {}).get("weight", 1)
        if isinstance(said, bool) or not isinstance(said, int | float):
            msg = f"{config} gives {found.name} the weight {said!r}. Give a number."
            raise ConfigError(msg)
        weights[found.name] = float(said)
    return weights


def list_runs(
    config: Path | str,
    *,
    tomogram: str | None = None,
    voxel_size: float | None = None,
    has_tomograms: bool = False,
) -> list[str]:
    """Names of a project's runs, sorted.

    Parameters
    ----------
    config : path
        Configuration file.
    tomogram : str or None
        Only runs that have a tomogram of this type.
    voxel_size : float or None
        Only runs that have this voxel spacing, Å.
    has_tomograms : bool
        Only runs that have a tomogram of any type, at any spacing.

    Raises
    ------
    MissingFileError, ConfigError
        As in `open_project`.
    """
    runs = open_project(config).runs
    if has_tomograms:
        runs = [run for run in runs if any(spacing.tomograms for spacing in run.voxel_spacings)]
    if tomogram is None and voxel_size is None:
        return sorted(run.name for run in runs)
    return sorted(run.name for run in runs if _has(run, tomogram, voxel_size))


def _has(run: Any, tomogram: str | None, voxel_size: float | None) -> bool:
    spacings = [
        s for s in run.voxel_spacings if voxel_size is None or is_spacing(s.voxel_size, voxel_size)
    ]
    if tomogram is None:
        return bool(spacings)
    return any(t.tomo_type == tomogram for s in spacings for t in s.tomograms)


def add_tomogram(
    config: Path | str,
    run: str,
    tomogram: str,
    data: npt.NDArray[Any] | da.Array,
    *,
    voxel_size: float,
    overwrite: bool = False,
) -> str:
    """Write a tomogram into a project, block by block; the run is made where it is missing.

    Parameters
    ----------
    config : path
        Configuration file.
    run : str
        Name of the run.
    tomogram : str
        Type of the tomogram: ``wbp``, ``denoised`` …
    data : array, (z, y, x)
        Voxels; a lazy array is computed block by block, so that it may exceed the memory.
    voxel_size : float
        Å per voxel.
    overwrite : bool
        Replace a tomogram that is there.

    Returns
    -------
    address : str
        Where it can be opened.
    """
    address = tomogram_address(config, run, tomogram, voxel_size)
    sink = create(
        address,
        shape=tuple(data.shape),
        dtype=data.dtype,
        voxel_size=(voxel_size,) * data.ndim,
        overwrite=overwrite,
    )
    try:
        for region in _regions(sink.shape, sink.chunks, data.dtype.itemsize):
            sink.write(region, np.asarray(data[region]))
        sink.finish()
    except BaseException:
        sink.discard()
        raise
    return address


def _regions(shape: tuple[int, ...], chunks: tuple[int, ...], itemsize: int) -> list[Region]:
    """Boxes of whole storage chunks that cover a shape."""
    sizes = lazy_chunks(shape, chunks, itemsize)
    counts = [-(-n // s) for n, s in zip(shape, sizes, strict=True)]
    return [
        tuple(
            slice(i * s, min((i + 1) * s, n)) for i, s, n in zip(index, sizes, shape, strict=True)
        )
        for index in np.ndindex(*counts)
    ]
