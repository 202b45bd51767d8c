"""Exact percentiles of a whole volume from its blocks, by radix selection in two passes.

The bits of a float32 can be turned into an integer that ascends as the floats do, the *key*. The
first pass counts the upper 16 bits of all keys; that tells in which of these bins a percentile
lies, and the second pass counts the lower 16 bits inside those few bins. Counts are integers and
add up in any order, so the percentile is exact and the same however the volume was cut.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from volproc.core.errors import ConfigError, NonFiniteError, ShapeError
from volproc.reduce.statistics import as_float_bits, count_values

Ints = npt.NDArray[np.int64]

NUM_BINS = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class KeyCounts:
    """How often keys, or their upper halves, occur among finite voxels."""

    keys: Ints
    """Keys that occur, ascending."""

    counts: Ints
    """Finite voxels with each of them, positive."""

    is_exact: bool
    """Whether keys have all 32 bits, so that each is one value; otherwise the upper 16."""

    @property
    def total(self) -> int:
        """Number of finite voxels counted."""
        return int(self.counts.sum())


def histogram_block(block: npt.NDArray[Any]) -> KeyCounts:
    """Count the upper halves of the keys of one block: the first pass.

    Parameters
    ----------
    block : ndarray of real numbers, any shape
        Voxels, taken as float32. NaN and infinite voxels are left out.

    Returns
    -------
    histogram : KeyCounts
        Exact at once for types of 8 and 16 bits, which need no second pass.

    Raises
    ------
    DtypeError
        If the voxels are not real numbers.
    """
    if block.dtype.itemsize <= 2:
        values, counts = count_values(block)
        finite = np.isfinite(values)
        keys = _keys(values[finite].view(np.uint32)).astype(np.int64)
        return _merge(keys, counts[finite], is_exact=True)
    counts = np.zeros(NUM_BINS, np.int64)
    _count_upper(as_float_bits(block), counts)
    keys = np.flatnonzero(counts)
    return KeyCounts(keys, counts[keys], is_exact=False)


def refine_block(block: npt.NDArray[Any], bins: Ints) -> KeyCounts:
    """Count the full keys of one block inside a few bins: the second pass.

    Parameters
    ----------
    block : ndarray of real numbers, any shape
        The block as in the first pass.
    bins : ndarray of int64, (n,)
        Upper halves to look into, as `bins_of_percentiles` gives them.

    Notes
    -----
    Memory: half a megabyte a bin while it runs; the result holds only what occurs.
    """
    slots = np.full(NUM_BINS, -1, np.int32)
    slots[bins] = np.arange(len(bins))
    counts = np.zeros((len(bins), NUM_BINS), np.int64)
    _count_lower(as_float_bits(block), slots, counts)
    row, lower = np.nonzero(counts)
    keys = (np.asarray(bins, np.int64)[row] << 16) + lower
    return _merge(keys, counts[row, lower], is_exact=True)


def merge_counts(parts: Iterable[KeyCounts]) -> KeyCounts:
    """Add up counts of blocks; any order and any tree gives the same.

    Raises
    ------
    ShapeError
        If there are no parts, or parts of both passes.
    """
    counts = list(parts)
    if len({part.is_exact for part in counts}) != 1:
        msg = (
            f"counts of one pass can be merged, got {len(counts)} parts of which "
            f"{sum(part.is_exact for part in counts)} are exact. Give the results of one function "
            "for all blocks."
        )
        raise ShapeError(msg)
    return _merge(
        np.concatenate([part.keys for part in counts]),
        np.concatenate([part.counts for part in counts]),
        is_exact=counts[0].is_exact,
    )


def bins_of_percentiles(histogram: KeyCounts, q: Sequence[float]) -> Ints:
    """Bins that the second pass has to look into.

    Parameters
    ----------
    histogram : KeyCounts
        Of the whole volume.
    q : sequence of float
        Percentiles, in [0, 100].

    Returns
    -------
    bins : ndarray of int64
        Ascending; empty if the histogram is exact already.

    Raises
    ------
    ConfigError
        If a percentile is outside [0, 100].
    NonFiniteError
        If there is no finite voxel.
    """
    ranks = [rank for percent in q for rank in _ranks(histogram, percent)[:2]]
    if histogram.is_exact or not ranks:
        return np.zeros(0, np.int64)
    places = np.searchsorted(np.cumsum(histogram.counts), ranks, side="right")
    return np.unique(histogram.keys[places])


def percentiles(
    histogram: KeyCounts, refined: KeyCounts | None, q: Sequence[float]
) -> tuple[float, ...]:
    """Percentiles of all finite voxels, as `numpy.percentile` interpolates them in float64.

    Parameters
    ----------
    histogram : KeyCounts
        First pass over the whole volume, merged.
    refined : KeyCounts or None
        Second pass, merged; None if the histogram is exact.
    q : sequence of float
        Percentiles, in [0, 100].

    Raises
    ------
    ConfigError
        If a percentile is outside [0, 100].
    NonFiniteError
        If there is no finite voxel.
    ShapeError
        If the second pass is missing, or did not look into the bins that are needed.

    Examples
    --------
    >>> block = np.arange(11, dtype=np.float32)
    >>> histogram = histogram_block(block)
    >>> refined = refine_block(block, bins_of_percentiles(histogram, [25, 99]))
    >>> percentiles(histogram, refined, [25, 99])
    (2.5, 9.9)
    """
    out = []
    for percent in q:
        low, high, part = _ranks(histogram, percent)
        a, b = (_value(histogram, refined, rank) for rank in (low, high))
        # the two forms of numpy's own interpolation, for the same last bit
        out.append(a + (b - a) * part if part < 0.5 else b - (b - a) * (1 - part))
    return tuple(out)


def _ranks(histogram: KeyCounts, percent: float) -> tuple[int, int, float]:
    """Ranks of the two voxels that a percentile lies between, and how far between."""
    if not 0 <= percent <= 100:
        msg = f"a percentile lies in [0, 100], got {percent}. Give percent, not a fraction."
        raise ConfigError(msg)
    total = histogram.total
    if not total:
        msg = (
            "there is no finite voxel to take percentiles of, got only NaN or infinite voxels. "
            "Check the input volume."
        )
        raise NonFiniteError(msg)
    place = (total - 1) * (percent / 100)
    low = floor(place)
    return low, min(low + 1, total - 1), place - low


def _value(histogram: KeyCounts, refined: KeyCounts | None, rank: int) -> float:
    """Voxel of a rank among all finite ones, from 0."""
    ends = np.cumsum(histogram.counts)
    place = int(np.searchsorted(ends, rank, side="right"))
    key = int(histogram.keys[place])
    if not histogram.is_exact:
        inside = np.zeros(0, bool) if refined is None else refined.keys >> 16 == key
        if refined is None or refined.counts[inside].sum() != histogram.counts[place]:
            msg = (
                f"bin {key} was not refined, or not in all blocks, and is needed for rank {rank}. "
                "Run refine_block over all blocks with bins_of_percentiles for the same q."
            )
            raise ShapeError(msg)
        before = ends[place] - histogram.counts[place]
        inner = np.cumsum(refined.counts[inside])
        key = int(refined.keys[inside][np.searchsorted(inner, rank - before, side="right")])
    return _float(key)


def _float(key: int) -> float:
    word = key ^ 0x80000000 if key >> 31 else key ^ 0xFFFFFFFF
    return float(np.array([word], np.uint32).view(np.float32)[0]) + 0.0  # -0 becomes 0


def _keys(bits: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    sign = np.uint32(0x80000000)
    return np.where(bits & sign, ~bits, bits | sign)


def _merge(keys: Ints, counts: Ints, *, is_exact: bool) -> KeyCounts:
    unique, place = np.unique(keys, return_inverse=True)
    merged = np.zeros(len(unique), np.int64)
    np.add.at(merged, place, counts)
    return KeyCounts(unique, merged, is_exact)


@njit(cache=True, nogil=True)
def _key(word: Any) -> Any:
    """Integer that ascends as the float32 of these bits does."""
    sign = np.uint32(0x80000000)
    return ~word if word & sign else word | sign


@njit(cache=True, nogil=True)
def _count_upper(bits: Any, counts: Any) -> None:
    infinity = np.uint32(0x7F800000)
    for i in range(bits.size):
        if bits[i] & infinity != infinity:
            counts[_key(bits[i]) >> np.uint32(16)] += 1


@njit(cache=True, nogil=True)
def _count_lower(bits: Any, slots: Any, counts: Any) -> None:
    infinity = np.uint32(0x7F800000)
    for i in range(bits.size):
        if bits[i] & infinity != infinity:
            key = _key(bits[i])
            slot = slots[key >> np.uint32(16)]
            if slot >= 0:
                counts[slot, key & np.uint32(0xFFFF)] += 1
