"""Lazy seam QA: whether a volume shows the blocks that it was made in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import dask.array as da
from dask.delayed import Delayed

from volproc.core.errors import ConfigError, ShapeError
from volproc.core.types import Shape, axis_names
from volproc.core.volume import Volume
from volproc.graph.chunks import Cuts, iterate_chunks
from volproc.graph.layers import Graph, array_of, new_value, tree, unique_name
from volproc.reduce.seam_judgement import judge_seams
from volproc.reduce.seam_report import SeamRule
from volproc.reduce.seams import (
    Kind,
    find_tiles,
    join_blocks,
    lower_neighbours,
    merge_planes,
    scan_block,
)

GROUP = 16
"""Blocks that one task of the tree's first level joins."""


def seam_report(
    volume: Volume | da.Array,
    *,
    chunks: Shape | Cuts | None = None,
    kind: Kind | None = None,
    rule: SeamRule | None = None,
    seed: int = 0,
) -> Delayed:
    """Say whether a volume shows the seams of the blocks that it was made in, lazily.

    Labels are looked at in five ways at every plane between two slices: how many voxel pairs
    with objects on both sides have two different objects (``changed``), how many pairs with an
    object have it on one side only (``ended``), how many sides of objects end there (``objects``:
    an object that crosses has two), how large the objects there are (``size``, geometric mean),
    and how many voxels of the slices beside it belong to objects (``density``). Intensities and
    probabilities are looked at in one: the mean absolute difference across it (``jump``). What
    is found at the seams is held against the planes inside the blocks.

    Parameters
    ----------
    volume : Volume or dask array, (z, y, x) or (y, x)
        Labels, a class map, or intensities. A Volume of probabilities may have channels; their
        jumps are taken together.
    chunks : tuple of int, or of tuples of int
        Blocks that it was made in, whose seams are in question: one size an axis, or all sizes.
        By default the chunks of the array, which for an opened file are not those of the run.
    kind : {"labels", "intensity"}
        What the voxels mean; by default integers are labels.
    rule : SeamRule
        When a difference is one.
    seed : int
        Of the random sets of control planes.

    Returns
    -------
    report : Delayed of SeamReport
        ``verdict`` is ``pass``, ``fail``, or ``cannot judge`` where there is one block only, too
        few planes between seams, or nothing to see; figures, p-values and effects an axis, and
        the worst planes to look at.

    Raises
    ------
    ConfigError
        If there is no such kind, or the blocks do not fill the volume.
    ShapeError
        If an array has other than two or three axes, or no voxels.
    DtypeError
        When computed, if labels are not integers or intensities are complex.

    Notes
    -----
    Two tasks a block and a tree; each chunk is computed once. The outer slices of the blocks wait
    until those of their neighbours are there. Memory follows the block, the number of slices
    (40 bytes each) and the number of objects (100 bytes each). Every chunking of the array gives
    the same bits.

    Examples
    --------
    >>> noise = da.random.default_rng(0).normal(size=(64, 40, 40), chunks=20)
    >>> step = da.from_array([0, 9]).repeat(32)[:, None, None]
    >>> seam_report(noise).compute().verdict
    'pass'
    >>> seam_report(noise + step, chunks=(32, 40, 40)).compute().verdict
    'fail'
    """
    array = array_of(volume)
    num_channels = len(volume.channels) if isinstance(volume, Volume) else 0
    shape = tuple(array.shape[bool(num_channels) :])
    meaning = check_kind(kind, array, num_channels)
    cuts = find_cuts(chunks, shape, array.chunks[bool(num_channels) :])
    if num_channels:
        array = array.rechunk((-1, *array.chunks[1:]))
    tiles = find_tiles(cuts)
    name = unique_name("seams")
    tasks: Graph = {}
    own_chunks = list(iterate_chunks(array.chunks[bool(num_channels) :]))
    lead = (0,) * bool(num_channels)
    for chunk in own_chunks:
        tasks[(f"{name}-block", *chunk.index)] = (
            partial(
                scan_block,
                kind=meaning,
                index=chunk.index,
                offset=chunk.offset,
                shape=shape,
                tiles=tiles,
            ),
            (array.name, *lead, *chunk.index),
        )
    leaves = []
    for number, first in enumerate(range(0, len(own_chunks), GROUP)):
        own = [c.index for c in own_chunks[first : first + GROUP]]
        others = sorted({i for index in own for i in lower_neighbours(index)} - set(own))
        key = (f"{name}-join", number)
        tasks[key] = (
            partial(join_blocks, shape=shape),
            [(f"{name}-block", *i) for i in own],
            [(f"{name}-block", *i) for i in others],
        )
        leaves.append(key)
    merged, root = tree(f"{name}-tree", leaves, merge_planes)
    tasks |= merged
    tasks[name] = (partial(judge_seams, cuts=cuts, rule=rule, seed=seed), root)
    return new_value(name, tasks, depends_on=[array])


def check_kind(kind: Kind | None, array: da.Array, num_channels: int) -> Kind:
    """Refuse what has no seams; say what the voxels mean.

    Raises
    ------
    ConfigError, ShapeError
    """
    if kind not in (None, "labels", "intensity"):
        msg = f'kind is "{kind}". Choose labels or intensity.'
        raise ConfigError(msg)
    ndim = array.ndim - bool(num_channels)
    if ndim not in (2, 3) or 0 in array.shape:
        msg = (
            f"seams are looked for in volumes (z, y, x) and micrographs (y, x) with voxels, got "
            f"shape {array.shape}. Take one channel, or a Volume that names its channels."
        )
        raise ShapeError(msg)
    meaning: Kind = kind or ("labels" if array.dtype.kind in "iub" else "intensity")
    if meaning == "labels" and num_channels:
        msg = (
            f"labels have no channels, got {num_channels}. For probabilities use "
            'kind="intensity" (--kind intensity).'
        )
        raise ShapeError(msg)
    return meaning


def find_cuts(chunks: Shape | Cuts | None, shape: Shape, own: Cuts) -> Cuts:
    """Sizes of the blocks along each axis.

    Parameters
    ----------
    chunks : tuple of int, or of tuples of int
        Blocks that are in question; None takes ``own``.
    shape : tuple of int
        Size of the volume.
    own : tuple of tuples of int
        Chunks of the array.

    Raises
    ------
    ConfigError
        If they do not fill the volume.

    Examples
    --------
    >>> find_cuts((4, 3), (5, 6), ())
    ((4, 1), (3, 3))
    """
    wanted: Sequence[int | Sequence[int]] = own if chunks is None else chunks
    if len(wanted) != len(shape):
        msg = f"blocks have one size an axis, got {chunks} for shape {shape}. Give {len(shape)}."
        raise ConfigError(msg)
    cuts = []
    for axis, size, cut in zip(axis_names(len(shape)), shape, wanted, strict=True):
        sizes = (cut,) if isinstance(cut, int) else tuple(cut)
        if isinstance(cut, int) and cut > 0:
            sizes = tuple(min(cut, size - start) for start in range(0, size, cut))
        if min(sizes, default=0) < 1 or sum(sizes) != size:
            msg = (
                f"blocks of {cut} voxels do not fill the {size} voxels along {axis}. Give one "
                "positive size, or sizes that add up."
            )
            raise ConfigError(msg)
        cuts.append(sizes)
    return tuple(cuts)
