"""Lazy instances of cells in a stack: Cellpose on every slice, linked along z."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeVar

import dask.array as da
import numpy as np
import numpy.typing as npt
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, ShapeError, nearest
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.layers import (
    Graph,
    array_of,
    new_array,
    new_task,
    ref,
    unique_name,
    without_collector,
)
from volproc.graph.link import link
from volproc.models.cellpose_slices import (
    CellposeSettings,
    CellposeSlice,
    load_once,
    segment_slice,
)
from volproc.reduce.linking import Method

Lazy = TypeVar("Lazy", Volume, da.Array)

Backend = Literal["slices", "hybrid2d3d"]

BACKENDS: tuple[Backend, ...] = ("slices", "hybrid2d3d")

DEFAULT_CELLS = "phantom-nuclei"
"""Embedded weights, for trials: they have seen nothing but phantoms."""


class CellSlices(NamedTuple):
    """What Cellpose gives for each slice of a stack, lazily.

    Parameters
    ----------
    labels : dask array of uint32, (z, y, x)
        Instances 1..n of each slice, 0 = background.
    flows : dask array of float32, (2, z, y, x)
        Flow along y and x.
    probability : dask array of float32, (z, y, x)
        Logit that a pixel belongs to a cell.
    """

    labels: da.Array
    flows: da.Array
    probability: da.Array


@without_collector()
def cellpose_slices(
    volume: Volume | da.Array,
    model: Any = DEFAULT_CELLS,
    *,
    settings: CellposeSettings | None = None,
    device: str = "auto",
) -> CellSlices:
    """Run Cellpose on every slice, lazily.

    Parameters
    ----------
    volume : Volume or dask array of real numbers, (z, y, x)
        A stack; of a micrograph one slice, (1, y, x).
    model : str or cellpose.models.CellposeModel
        Embedded name, built-in name of Cellpose, file of weights, or a network that is loaded.
    settings : CellposeSettings
        What Cellpose is asked for.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; a loaded network stays where it is.

    Returns
    -------
    slices : CellSlices
        Computed together, they run the network once.

    Raises
    ------
    DtypeError
        If the voxels are no real numbers.
    MissingFileError, ModelError
        If the network cannot be loaded, when it is computed.
    NonFiniteError
        If a voxel is NaN or infinite, when it is computed.
    ShapeError
        If there are not three axes, or slices are smaller than 4 pixels.

    Notes
    -----
    The result of ``model.eval`` on each slice by itself, for every chunking. A task holds whole
    slices, as many as a chunk has along z; a network is loaded once in each process.

    References
    ----------
    Stringer et al., "Cellpose: a generalist algorithm for cellular segmentation", Nat. Methods 18
    (2021); Stringer and Pachitariu, "Cellpose3", Nat. Methods 22 (2025).
    """
    array = _check_stack(volume)
    whole = array.rechunk({1: -1, 2: -1})
    work = SliceWork(model, settings or CellposeSettings(), device)
    name = unique_name("cellpose")
    tasks: Graph = {}
    outputs: dict[str, Graph] = {"labels": {}, "flows": {}, "probability": {}}
    for chunk in iterate_chunks(whole.chunks):
        run = (f"{name}-run", *chunk.index)
        tasks[run] = new_task(run, work, ref((whole.name, *chunk.index)), chunk.offset[0])
        for part, own in outputs.items():
            index = (0, *chunk.index) if part == "flows" else chunk.index
            key = (f"{name}-{part}", *index)
            own[key] = new_task(key, getattr, ref(run), part)
    cuts = whole.chunks

    def array_for(part: str, cuts: tuple[tuple[int, ...], ...], dtype: Any) -> da.Array:
        layer = tasks | outputs[part]
        return new_array(f"{name}-{part}", layer, cuts=cuts, dtype=dtype, depends_on=[whole])

    return CellSlices(
        array_for("labels", cuts, np.dtype(np.uint32)),
        array_for("flows", ((2,), *cuts), np.dtype(np.float32)),
        array_for("probability", cuts, np.dtype(np.float32)),
    )


def segment_cells(
    volume: Lazy,
    model: Any = DEFAULT_CELLS,
    *,
    backend: Backend = "hybrid2d3d",
    settings: CellposeSettings | None = None,
    min_overlap_ratio: float = 0.3,
    max_distance_z: int = 2,
    method: Method = "hungarian",
    fill_gaps: bool = False,
    device: str = "auto",
    scratch: str | os.PathLike[str] | None = None,
) -> tuple[Lazy, Delayed | None]:
    """Find cells in a stack, lazily.

    Parameters
    ----------
    volume, model, settings, device
        As in `cellpose_slices`.
    backend : {"hybrid2d3d", "slices"}
        "slices": instances of each slice, numbered anew in each. "hybrid2d3d": these linked along
        z, so that a cell has one number in the volume.
    min_overlap_ratio : float
        Least overlap of a link: ``min_iou`` of `volproc.link`.
    max_distance_z : int
        Slices between two linked sections, at most; 2 also links over one slice.
    method : {"hungarian", "containment", "stitch3d"}
        Rule of linking, see `volproc.link`.
    fill_gaps : bool
        Paint the slices that a link leaps over.
    scratch : path
        As in `volproc.link`.

    Returns
    -------
    labels : Volume or dask array of uint32
        Instances, 0 = background.
    num_cells : Delayed of int, or None
        Cells of the volume; None with "slices".

    Raises
    ------
    ConfigError
        If the backend is unknown, or a rule of linking out of range.
    DtypeError, MissingFileError, ModelError, NonFiniteError, ShapeError
        As in `cellpose_slices`.

    Notes
    -----
    The same labels for every chunking, numbered by their first voxels. The network's work is done
    twice if labels and their number are computed one after the other: compute both together.
    """
    if backend not in BACKENDS:
        msg = f'the backend "{backend}" is unknown: {nearest(str(backend), BACKENDS)}'
        raise ConfigError(msg)
    slices = cellpose_slices(volume, model, settings=settings, device=device).labels
    if backend == "slices":
        return _as_given(volume, slices), None
    labels, number = link(
        slices,
        min_iou=min_overlap_ratio,
        max_distance_z=max_distance_z,
        method=method,
        fill_gaps=fill_gaps,
        scratch=scratch,
    )
    return _as_given(volume, labels), number


@dataclass(frozen=True, slots=True)
class SliceWork:
    """The task that segments the slices of one chunk."""

    model: Any
    settings: CellposeSettings
    device: str

    def __call__(self, voxels: npt.NDArray[Any], first: int) -> CellposeSlice:
        """Segment all slices of a chunk, which begins at slice ``first``."""
        model = load_once(self.model, self.device) if isinstance(self.model, str) else self.model
        shape = voxels.shape
        labels = np.empty(shape, np.uint32)
        flows = np.empty((2, *shape), np.float32)
        probability = np.empty(shape, np.float32)
        for z, image in enumerate(voxels):
            try:
                found = segment_slice(model, image, self.settings)
            except NonFiniteError as error:
                msg = f"slice {first + z}: {error}"
                raise NonFiniteError(msg) from None
            labels[z], flows[:, z], probability[z] = found.labels, found.flows, found.probability
        return CellposeSlice(labels, flows, probability)


def _check_stack(volume: Volume | da.Array) -> da.Array:
    """Voxels of a stack of slices."""
    array = array_of(volume)
    if array.ndim != 3 or min(array.shape[1:], default=0) < 4 or not array.shape[0]:
        msg = (
            f"cells are looked for in a stack (z, y, x) of slices of 4 pixels or more, got "
            f"{array.shape}. Give a micrograph one slice, and choose one channel of several."
        )
        raise ShapeError(msg)
    if array.dtype.kind not in "biuf":
        msg = f"cells are looked for in real numbers, got {array.dtype}. Take one part of it."
        raise DtypeError(msg)
    return array


def _as_given(volume: Lazy, labels: da.Array) -> Lazy:
    """Labels as a volume where a volume was given."""
    if isinstance(volume, Volume):
        return volume.with_data(labels, name=f"{volume.name} cells")
    return labels
