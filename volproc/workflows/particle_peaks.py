"""Particles from stored probabilities: the peaks of all classes in one pass over the blocks."""

from __future__ import annotations

from dataclasses import dataclass

from volproc.core.points import Points
from volproc.core.types import Index
from volproc.graph.class_maps import ClassMaps
from volproc.graph.class_peaks import Candidates, block_peaks, merge_candidates, peak_points
from volproc.graph.scaling import statistics_grid
from volproc.plan.blocks import ChunkGrid
from volproc.reduce.particle_rule import ParticleRule
from volproc.workflows.particle_stages import STAGE, Stages


@dataclass(frozen=True, slots=True)
class PeakWork:
    """Finds the candidates of all classes in one block."""

    scores: ClassMaps
    grid: ChunkGrid
    rule: ParticleRule
    voxel_size: tuple[float, ...]

    def __call__(self, index: Index) -> Candidates:
        """Read one block with its halo, of one class after the other."""
        values = {name: value for name, (value, _) in self.rule.classes.items()}
        return block_peaks(
            lambda name, region: self.scores.read(values[name], region),
            self.grid[index].write,
            self.scores.shape,
            rule=self.rule,
            voxel_size=self.voxel_size,
        )


def find_score_peaks(
    scores: ClassMaps,
    rule: ParticleRule,
    stages: Stages,
    *,
    voxel_size: tuple[float, ...],
    name: str,
    grid: ChunkGrid | None = None,
) -> Points:
    """Peaks of all classes, each with the probability of its voxel as score.

    Returns
    -------
    points : Points
        By class in the order of the rule, then the highest first; equal for every chunking.
    """
    grid = grid or statistics_grid(scores.sources[0])
    parts: dict[Index, Candidates] = {}
    work = PeakWork(scores, grid, rule, voxel_size)
    stages.run(STAGE, list(grid.indices()), work, parts.__setitem__)
    found = merge_candidates([parts[index] for index in sorted(parts)])
    return peak_points(found, rule=rule, voxel_size=voxel_size, shape=scores.shape, name=name)
