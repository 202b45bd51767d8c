"""Constants of the whole volume that a normalisation needs, exact for every chunking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from volproc.core.arrays import Source
from volproc.core.errors import ModelError, NonFiniteError
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor
from volproc.core.model import ModelSpec
from volproc.core.types import Index, Region
from volproc.graph.chunks import iterate_chunks
from volproc.graph.run import run_stage
from volproc.models.normalization import Scaling
from volproc.plan.blocks import ChunkGrid
from volproc.plan.storage import READING_VOXELS, reading_grid
from volproc.reduce.percentiles import (
    KeyCounts,
    bins_of_percentiles,
    histogram_block,
    merge_counts,
    percentiles,
    refine_block,
)
from volproc.reduce.statistics import Moments, merge_moments, moments_block

if TYPE_CHECKING:
    from volproc.graph.layers import Graph


@dataclass(frozen=True, slots=True)
class ScalingRule:
    """What has to be known of a volume before its voxels can be scaled.

    Parameters
    ----------
    spec : ModelSpec
        Its normalisation.
    replace_nonfinite : float or None
        What NaN and infinite voxels become; None refuses them.
    name : str
        Of the volume, for messages.
    """

    spec: ModelSpec
    replace_nonfinite: float | None
    name: str

    @property
    def needs_percentiles(self) -> bool:
        """Whether counts of the voxels' values are needed beside their moments."""
        return self.spec.normalization == "percentile"

    def check(self, moments: Moments) -> None:
        """Refuse voxels that are no numbers, unless a replacement was asked for.

        Raises
        ------
        NonFiniteError
            With both counts.
        """
        bad = moments.num_nan + moments.num_inf
        if bad and (self.replace_nonfinite is None or not moments.count):
            msg = (
                f"{self.name or 'the volume'} has {moments.num_nan} NaN and {moments.num_inf} "
                f"infinite voxels of {moments.count + bad}. Repair them, or replace them with a "
                "number: replace_nonfinite=0 (--replace-nonfinite 0)."
            )
            raise NonFiniteError(msg)

    def finish(self, moments: Moments, limits: Sequence[float] | None) -> Scaling:
        """Constants of the normalisation.

        Parameters
        ----------
        moments : Moments
            Of the whole volume.
        limits : (float, float) or None
            Its lower and upper percentile, where they are needed.
        """
        self.check(moments)
        value = self.replace_nonfinite if moments.num_nan + moments.num_inf else None
        if self.spec.normalization == "none":
            return Scaling(replacement=value)
        if self.spec.normalization == "zscore":
            # A constant volume becomes zeros, as in Octopi.
            return Scaling(moments.mean, moments.std or 1.0, value)
        if limits is None:
            msg = f"normalisation {self.spec.normalization} needs percentiles, got none."
            raise ModelError(msg)
        low, high = limits
        return Scaling(low, (high - low) or 1.0, value)


def lazy_scaling(
    source: Source, rule: ScalingRule, *, prefix: str, after: Any = None
) -> tuple[Graph, Any]:
    """Tasks that find the scaling of a volume.

    Parameters
    ----------
    source : Source
        The volume.
    rule : ScalingRule
        What is needed.
    prefix : str
        Begins the keys.
    after : key
        Task that must be finished before the source can be read.

    Returns
    -------
    tasks : dict
    root : key
        Gives a `Scaling`.
    """
    from volproc.graph.layers import tree  # Dask, of which `statistics_grid` needs nothing

    grid = statistics_grid(source)
    blocks = [c.region for c in iterate_chunks(grid.dask_chunks)]
    tasks: Graph = {}

    def over_blocks(stage: str, function: Any, combine: Any) -> Any:
        leaves = [(f"{prefix}-{stage}", i) for i in range(len(blocks))]
        for key, region in zip(leaves, blocks, strict=True):
            tasks[key] = (partial(function, source, region), after)
        merged, root = tree(f"{prefix}-{stage}-tree", leaves, combine)
        tasks.update(merged)
        return root

    moments = over_blocks("moments", _moments, merge_moments)
    limits: Any = None
    if rule.needs_percentiles:
        q = rule.spec.percentiles
        histogram = over_blocks("histogram", _histogram, merge_counts)
        bins = f"{prefix}-bins"
        tasks[bins] = (partial(bins_of_percentiles, q=q), histogram)
        after = bins
        refined = over_blocks("refine", _refine, merge_counts)
        limits = f"{prefix}-limits"
        tasks[limits] = (partial(percentiles, q=q), histogram, refined)
    root = f"{prefix}-scaling"
    tasks[root] = (rule.finish, moments, limits)
    return tasks, root


def run_scaling(
    source: Source, rule: ScalingRule, *, executor: Executor, observe: Observer = ignore
) -> tuple[Scaling, Moments]:
    """Find the scaling of a volume now, block by block on an executor.

    Returns
    -------
    scaling : Scaling
    moments : Moments
        Of the whole volume.

    Raises
    ------
    NonFiniteError
        If there are NaN or infinite voxels and no replacement was asked for.
    """
    moments: list[Moments] = []
    _over_grid("statistics", source, _moments, merge_moments, moments, executor, observe)
    rule.check(moments[0])
    if not rule.needs_percentiles:
        return rule.finish(moments[0], None), moments[0]
    q = rule.spec.percentiles
    counts: list[KeyCounts] = []
    _over_grid("histogram", source, _histogram, merge_counts, counts, executor, observe)
    bins = bins_of_percentiles(counts[0], q)
    refined: list[KeyCounts] = []
    work = partial(_refine, bins=bins)
    _over_grid("percentiles", source, work, merge_counts, refined, executor, observe)
    return rule.finish(moments[0], percentiles(counts[0], refined[0], q)), moments[0]


STATISTICS_VOXELS = READING_VOXELS
"""Voxels of a block of the statistics."""


def statistics_grid(source: Source) -> ChunkGrid:
    """Blocks of whole storage chunks, as large as `volproc.plan.storage.reading_grid` has them."""
    return reading_grid(source.shape, source.chunks, max_voxels=STATISTICS_VOXELS)


@dataclass(frozen=True, slots=True)
class _OverBlock:
    """Function of (source, region) as the work of a block."""

    source: Source
    grid: ChunkGrid
    function: Any

    def __call__(self, index: Index) -> Any:
        return self.function(self.source, self.grid[index].write)


def _over_grid(
    stage: str,
    source: Source,
    function: Any,
    combine: Any,
    result: list[Any],
    executor: Executor,
    observe: Observer,
) -> None:
    """Combine a function over all blocks into the only element of ``result``."""
    grid = statistics_grid(source)

    def collect(index: Index, part: Any) -> None:
        result[:] = [combine([*result, part])]

    run_stage(
        stage,
        grid.indices(),
        _OverBlock(source, grid, function),
        executor=executor,
        observe=observe,
        collect=collect,
        total=len(grid),
    )


def _moments(source: Source, region: Region, after: Any = None) -> Moments:
    del after
    return moments_block(source.read(region))


def _histogram(source: Source, region: Region, after: Any = None) -> KeyCounts:
    del after
    return histogram_block(source.read(region))


def _refine(source: Source, region: Region, bins: Any) -> KeyCounts:
    return refine_block(source.read(region), bins)
