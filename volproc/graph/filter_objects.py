"""Lazy choice of objects by size, place, mask or label."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable
from functools import partial
from math import isfinite, prod

import dask.array as da

from volproc.core.errors import ConfigError, DtypeError, VoxelSizeError
from volproc.core.types import axis_names
from volproc.core.volume import Volume, check_voxel_size
from volproc.graph.label_stage import Lazy, beside, check_labels, like, numbered
from volproc.graph.lookup import LookupFiles
from volproc.reduce.filtering import FilterRule
from volproc.reduce.numbering import LabelTable, ranks_of_first

CUBIC_ANGSTROM_PER_CUBIC_NM = 1000.0


def filter_objects(
    labels: Lazy,
    *,
    min_voxels: int | None = None,
    max_voxels: int | None = None,
    min_volume_nm3: float | None = None,
    max_volume_nm3: float | None = None,
    voxel_size: tuple[float, ...] | None = None,
    touching_edge: bool | None = None,
    edges: str | None = None,
    mask: Volume | da.Array | None = None,
    min_inside: float = 0.5,
    keep: Iterable[int] | None = None,
    remove: Iterable[int] | None = None,
    renumber: bool = False,
    scratch: str | os.PathLike[str] | None = None,
) -> Lazy:
    """Keep the objects that fulfil all conditions, lazily; the others become background.

    Parameters
    ----------
    labels : Volume or dask array of int, (z, y, x) or (y, x)
        Instances, 0 = background. What has one label is one object, in pieces or not.
    min_voxels, max_voxels : int
        Bounds of the size in the whole volume, inclusive.
    min_volume_nm3, max_volume_nm3 : float
        The same in nm³; for volumes (z, y, x) only.
    voxel_size : tuple of float, (z, y, x)
        Å per voxel; a Volume knows its own.
    touching_edge : bool
        False keeps objects that do not touch the edge of the volume, True only those that do.
    edges : str
        Axes whose two sides count as edge, such as ``"yx"``; all by default.
    mask : Volume or dask array, same shape
        Keeps objects of which at least ``min_inside`` lies where the mask is not zero.
    min_inside : float
        Part of the object's voxels, in (0, 1].
    keep, remove : iterable of int
        Labels that alone may stay, and labels that may not. Labels that do not occur are passed
        over.
    renumber : bool
        Number what stays from 1 by first voxels in raster order. By default labels are kept.
    scratch : path
        Folder for the numbered blocks, as in `volproc.relabel`.

    Returns
    -------
    labels : Volume or dask array
        Of the same type. The same for every chunking; filtering again changes nothing.

    Raises
    ------
    ConfigError
        If a bound is impossible.
    DtypeError
        If labels are not integers, or negative.
    ShapeError
        If labels and mask differ in shape.
    VoxelSizeError
        If volumes are asked for where the voxel size is not known.

    Notes
    -----
    Two tasks a block and a tree; each chunk of labels and mask is computed once. The table of all
    objects is whole in one task: 40 bytes an object, three times that while it is sorted. Without
    any condition the labels come back as they are.

    Examples
    --------
    >>> import numpy as np
    >>> labels = da.from_array(np.array([[5, 5, 0, 8], [0, 0, 0, 8], [3, 0, 0, 8]]), chunks=2)
    >>> filter_objects(labels, min_voxels=2, max_voxels=2).compute().tolist()
    [[5, 5, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    array = check_labels(labels)
    if isinstance(labels, Volume) and voxel_size is None:
        voxel_size = labels.voxel_size
    _check_bounds("voxels", min_voxels, max_voxels)
    _check_bounds("volume_nm3", min_volume_nm3, max_volume_nm3)
    rule = FilterRule(
        min_voxels=min_voxels,
        max_voxels=max_voxels,
        min_volume=min_volume_nm3,
        max_volume=max_volume_nm3,
        voxel_volume=_voxel_volume(array, voxel_size, min_volume_nm3, max_volume_nm3),
        touching_edge=_flag(touching_edge, edges),
        edge_bits=_edge_bits(edges, array.ndim),
        min_inside=_part(min_inside) if mask is not None else None,
        keep=_label_list("keep", keep),
        remove=_label_list("remove", remove),
    )
    decide = partial(_choose, rule=rule, renumber=renumber)
    cover = None if mask is None else beside(array, mask, "mask")
    result, _ = numbered(array, "filter", decide, array.dtype, mask=cover, scratch=scratch)
    return like(labels, result)


def _choose(table: LabelTable, *, lookup: LookupFiles, rule: FilterRule, renumber: bool) -> int:
    """Write the labels of what stays; return how many there are."""
    stays = rule.chosen(table)
    label = table.label[stays]
    if renumber:
        left = LabelTable(
            label, table.count[stays], table.first[stays], table.edges[stays], table.inside[stays]
        )
        lookup.write(label, ranks_of_first(left))
    else:
        lookup.write(label, label)
    return len(label)


def _check_bounds(name: str, least: float | None, greatest: float | None) -> None:
    """Refuse bounds that are no sizes, or that no size lies between."""
    for which, value in (("min", least), ("max", greatest)):
        if value is not None and not (isfinite(value) and value >= 0):
            msg = f"{which}_{name} is a size of at least 0, got {value}."
            raise ConfigError(msg)
    if least is not None and greatest is not None and least > greatest:
        msg = (
            f"min_{name} is above max_{name}, got {least} and {greatest}: no object could stay. "
            "Exchange the two."
        )
        raise ConfigError(msg)


def _voxel_volume(
    array: da.Array, voxel_size: tuple[float, ...] | None, *bounds: float | None
) -> float:
    """Volume of a voxel in nm³, if it is needed."""
    if all(bound is None for bound in bounds):
        return 0.0
    if array.ndim != 3:
        msg = (
            f"a micrograph has areas and no volumes, got shape {array.shape}. Use min_voxels and "
            "max_voxels."
        )
        raise ConfigError(msg)
    if voxel_size is None:
        msg = (
            "volumes in nm³ need a voxel size, got an array without one. Give voxel_size= in Å, "
            "(z, y, x), or a volproc.Volume."
        )
        raise VoxelSizeError(msg)
    check_voxel_size(voxel_size, array.ndim)
    return prod(voxel_size) / CUBIC_ANGSTROM_PER_CUBIC_NM


def _flag(touching_edge: bool | None, edges: str | None) -> bool | None:
    if touching_edge not in (None, True, False):
        msg = f"touching_edge is True, False or None, got {touching_edge!r}."
        raise ConfigError(msg)
    if edges is not None and touching_edge is None:
        msg = (
            f"edges={edges!r} chooses axes for touching_edge, which is not given. Say "
            "touching_edge=False to remove objects at these edges."
        )
        raise ConfigError(msg)
    return touching_edge


def _edge_bits(edges: str | None, ndim: int) -> int:
    """Bits of both sides of each chosen axis."""
    known = axis_names(ndim)
    chosen = tuple(known) if edges is None else tuple(edges)
    if not chosen or set(chosen) - set(known):
        msg = f"edges names axes among {''.join(known)}, got {edges!r}. Write them as 'yx'."
        raise ConfigError(msg)
    return sum(3 << 2 * "zyx".index(axis) for axis in set(chosen))


def _part(min_inside: float) -> float:
    if not 0 < min_inside <= 1:
        msg = (
            f"min_inside is a part of an object in (0, 1], got {min_inside}. A very small one asks "
            "for a single voxel."
        )
        raise ConfigError(msg)
    return min_inside


def _label_list(name: str, labels: Iterable[int] | None) -> tuple[int, ...] | None:
    if labels is None:
        return None
    try:
        ids = tuple(operator.index(label) for label in labels)
    except TypeError as error:
        msg = f"{name} is a list of integer labels, got {labels!r}."
        raise DtypeError(msg) from error
    if any(not 0 < i < 2**64 for i in ids):
        wrong = next(i for i in ids if not 0 < i < 2**64)
        msg = f"{name} is a list of positive labels, got {wrong}."
        raise ConfigError(msg)
    return ids
