"""Links between sections of neighbouring slices, and the objects that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, nearest
from volproc.reduce.linking_kernels import fill_between, follow_chains
from volproc.reduce.linking_stitch3d import Stitching, no_stitching, stitch_slices
from volproc.reduce.linking_tables import SliceTable, measure_slices, merge_slices
from volproc.reduce.matching_kernels import match_rows, prefer_first

Ints = npt.NDArray[np.int64]

Method = Literal["hungarian", "containment", "stitch3d"]
"""Which overlap counts, and how partners are chosen: see `volproc.link`."""

METHODS: tuple[Method, ...] = ("hungarian", "containment", "stitch3d")

UNIT = 2**40
"""An overlap of 1 as an integer weight."""

TIE = 2.0**-20
"""Weight of IoU beside containment, which is often 1 for several partners."""


@dataclass(frozen=True, slots=True)
class LinkRule:
    """How sections are linked.

    Raises
    ------
    ConfigError
        If a value is impossible.
    """

    min_iou: float = 0.3
    """Least overlap of a link, in [0, 1]."""

    max_distance_z: int = 2
    """Slices between two linked sections, at most."""

    method: Method = "hungarian"
    """Which overlap, and which choice."""

    def __post_init__(self) -> None:
        if not 0 <= self.min_iou <= 1:
            msg = (
                f"min_iou is an overlap between 0 and 1, got {self.min_iou}. 0.3 links sections "
                "that share a third of their area."
            )
            raise ConfigError(msg)
        if isinstance(self.max_distance_z, bool) or self.max_distance_z != int(self.max_distance_z):
            msg = f"max_distance_z is a whole number of slices, got {self.max_distance_z!r}."
            raise ConfigError(msg)
        if self.max_distance_z < 1:
            msg = (
                f"max_distance_z is at least 1 slice, got {self.max_distance_z}. 1 links "
                "neighbouring slices only, 2 also over a gap of one slice."
            )
            raise ConfigError(msg)
        if self.method not in METHODS:
            msg = f'unknown method "{self.method}": {nearest(str(self.method), METHODS)}'
            raise ConfigError(msg)

    @property
    def distance(self) -> int:
        """Slices between two linked sections that the method looks at."""
        return 1 if self.method == "stitch3d" else int(self.max_distance_z)


def link_sections(table: SliceTable, rule: LinkRule) -> Ints:
    """Choose the best partners in the slices above, nearest first.

    For each distance d = 1, 2, … two slices z and z + d are taken whose sections still lack a
    partner: those of z one above, in z + 1 … z + d - 1, and those of z + d one below, in the
    same slices. Among the pairs that overlap enough, those are chosen, at most one for a section,
    whose overlaps have the greatest sum. What lies between two slices does not matter otherwise.

    Parameters
    ----------
    table : SliceTable
        Sections and overlaps of some consecutive slices, merged. The links of a slice are final
        if the ``max_distance_z`` slices above it are there; those below have no influence.
    rule : LinkRule
        With another method than stitch3d.

    Returns
    -------
    links : ndarray of int64, (n, 2)
        Lower and upper section, each named by its first voxel, ascending.

    Notes
    -----
    Overlaps are rounded to 2**-40, and their sums are exact. Of several best choices that is
    taken which serves the sections of the lower slice in the order of their first voxels: the
    first gets the greatest overlap that any best choice gives it, of equal ones the partner with
    the smaller first voxel; then the second, and so on. So neither labels nor chunks matter.

    Each connected cluster of candidates is solved by itself: n pairs cost n log n, unless
    clusters grow with a very low ``min_iou``.

    References
    ----------
    R. Jonker and A. Volgenant, "A shortest augmenting path algorithm for dense and sparse linear
    assignment problems", Computing 38 (1987).
    """
    order = np.argsort(table.first, kind="stable")
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    step = table.z[table.upper] - table.z[table.lower]
    iou, score = _overlaps(table, rule)
    keep = np.flatnonzero((score >= rule.min_iou) & (step <= rule.distance))
    lower, upper, step = rank[table.lower[keep]], rank[table.upper[keep]], step[keep]
    weight = score[keep] + (TIE * iou[keep] if rule.method == "containment" else 0)
    above, below = np.full(len(order), -1), np.full(len(order), -1)
    for distance in np.unique(step):
        free = (step == distance) & (above[lower] < 0) & (below[upper] < 0)
        one, other = _match(lower[free], upper[free], weight[free])
        above[one], below[other] = other, one
    ends = np.flatnonzero(above >= 0)
    first = table.first[order]
    return np.stack([first[ends], first[above[ends]]], 1)


def _overlaps(
    table: SliceTable, rule: LinkRule
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Intersection over union of all pairs, and the overlap that the method goes by."""
    one, other = table.area[table.lower], table.area[table.upper]
    iou = table.count / (one + other - table.count)
    return iou, table.count / np.minimum(one, other) if rule.method == "containment" else iou


def _match(lower: Ints, upper: Ints, weight: npt.NDArray[np.float64]) -> tuple[Ints, Ints]:
    """Choose pairs with the greatest sum; sections are ranks of first voxels."""
    rows, row = np.unique(lower, return_inverse=True)
    columns, column = np.unique(upper, return_inverse=True)
    units = np.maximum(1, np.rint(weight * UNIT)).astype(np.int64)
    order = np.lexsort((column, -units, row))  # as each row prefers them
    starts = np.searchsorted(row[order], np.arange(len(rows) + 1))
    turned = np.argsort(column, kind="stable")
    column_starts = np.searchsorted(column[turned], np.arange(len(columns) + 1))
    edges = (starts, column[order], units[order])
    matching = match_rows(*edges, len(columns))
    prefer_first(*edges, column_starts, row[turned], units[turned], *matching)
    partner = matching[0]
    chosen = np.flatnonzero(partner >= 0)
    return rows[chosen], columns[partner[chosen]]


@dataclass(frozen=True, slots=True, eq=False)
class Chains:
    """Objects up to some slice, and where they go on above it."""

    num_objects: int
    """Objects that begin below."""

    names: Ints
    """First voxels of sections above that belong to an object from below, ascending."""

    ids: Ints
    """Objects of those sections."""


def no_chains() -> Chains:
    """Return what lies below the first slice."""
    return Chains(0, np.zeros(0, np.int64), np.zeros(0, np.int64))


def number_chains(
    chains: Chains, table: SliceTable, links: Ints, plane: int
) -> tuple[Chains, Ints, Ints]:
    """Number the objects of some slices, going on from the slices below.

    Parameters
    ----------
    chains : Chains
        What the slices below gave.
    table : SliceTable
        Sections of these slices alone.
    links : ndarray of int64, (n, 2)
        Links whose lower sections are among them; see `link_sections`.
    plane : int
        Voxels of a slice of the volume.

    Returns
    -------
    chains : Chains
        For the slices above.
    ids : ndarray of int64, (n,)
        Object of each row of the table. Objects are numbered by their first voxels.
    reach : ndarray of int64, (n,)
        How many slices up the next section of the object lies; 0 where it ends.
    """
    order = np.argsort(table.first, kind="stable")
    first = table.first[order]
    is_own = np.isin(links[:, 1], first)
    own, onward = links[is_own], links[~is_own]
    below = np.full(len(first), -1)
    below[np.searchsorted(first, own[:, 1])] = np.searchsorted(first, own[:, 0])
    arrives = np.isin(chains.names, first)
    given = np.zeros(len(first), np.int64)
    given[np.searchsorted(first, chains.names[arrives])] = chains.ids[arrives]
    numbers, num_objects = follow_chains(below, given, chains.num_objects)
    ids, reach = np.empty_like(numbers), np.zeros_like(numbers)
    ids[order] = numbers
    reach[order[np.searchsorted(first, links[:, 0])]] = links[:, 1] // plane - links[:, 0] // plane
    names = np.concatenate([chains.names[~arrives], onward[:, 1]])
    going = np.concatenate([chains.ids[~arrives], numbers[np.searchsorted(first, onward[:, 0])]])
    by_name = np.argsort(names)
    return Chains(int(num_objects), names[by_name], going[by_name]), ids, reach


def fill_slices(
    ids: npt.NDArray[Any], reach: npt.NDArray[Any], *, start: int, stop: int, max_distance_z: int
) -> npt.NDArray[Any]:
    """Paint the slices that links leap over, where both linked sections show the object.

    Parameters
    ----------
    ids : ndarray of unsigned int, (z, y, x)
        Objects in the wanted slices and in ``max_distance_z - 1`` on each side, less at the
        volume's ends.
    reach : ndarray of int, (z, y, x)
        How many slices up the next section of each voxel's object lies.
    start, stop : int
        Wanted slices.
    max_distance_z : int
        Slices between two linked sections, at most.

    Returns
    -------
    filled : ndarray, (stop - start, y, x)
        Objects; only background voxels are painted. Where several objects claim a voxel, that
        with the shortest gap gets it, then that with the smallest number.
    """
    filled = ids[start:stop].copy()
    if (reach > 1).any():
        fill_between(ids, reach, start, max_distance_z, filled)
    return filled


def link_array(
    slices: npt.NDArray[Any], rule: LinkRule | None = None, *, fill_gaps: bool = False
) -> tuple[npt.NDArray[np.uint64], int]:
    """Link a whole stack in memory: how the pieces fit, and a reference.

    Parameters
    ----------
    slices : ndarray of int, (z, y, x)
        Instances of each slice; 0 is background.
    rule : LinkRule, optional
        The default one if not given.
    fill_gaps : bool
        Paint the slices that links leap over.

    Returns
    -------
    labels : ndarray of uint64, (z, y, x)
        Objects 1..n by their first voxels; with stitch3d the numbers of Cellpose.
    num_objects : int

    Examples
    --------
    >>> stack = np.array([[[5, 5, 0]], [[0, 0, 0]], [[7, 7, 9]]])
    >>> link_array(stack)[0].tolist()
    [[[1, 1, 0]], [[0, 0, 0]], [[1, 1, 2]]]
    """
    rule = rule or LinkRule()
    runs, table = measure_slices(
        slices, offset=(0, 0, 0), shape=slices.shape, max_distance_z=rule.distance
    )
    merged = merge_slices([table])
    done: Chains | Stitching
    if rule.method == "stitch3d":
        done, ids = stitch_slices(
            no_stitching(), merged, start=0, stop=len(slices), min_iou=rule.min_iou
        )
        reach = np.zeros_like(ids)
    else:
        plane = slices.shape[1] * slices.shape[2]
        done, ids, reach = number_chains(no_chains(), merged, link_sections(merged, rule), plane)
    row = np.lexsort((table.label, table.z))  # of each row of the merged table
    lut, leaps = np.zeros((2, len(ids) + 1), np.uint64)
    lut[row + 1], leaps[row + 1] = ids, reach
    labels = runs.paint(lut)
    if fill_gaps:
        labels = fill_slices(
            labels, runs.paint(leaps), start=0, stop=len(labels), max_distance_z=rule.distance
        )
    return labels, done.num_objects
