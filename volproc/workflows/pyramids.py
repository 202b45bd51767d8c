"""The coarser levels of an output, made by the workers that made the finest one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from volproc.core.arrays import PyramidPart, PyramidSink
from volproc.core.events import Observer, ignore
from volproc.core.executor import Executor, pool_of
from volproc.core.types import Index
from volproc.graph.run import run_stage

STAGE = "pyramid"
"""First word of the stages, one a level."""


@dataclass(frozen=True, slots=True)
class LevelWork:
    """Makes the parts of one level; picklable, however many parts there are.

    Parameters
    ----------
    sink : PyramidSink
        The output.
    level : int
        From 1; the level below is whole.
    """

    sink: PyramidSink
    level: int

    def __call__(self, bounds: Index) -> dict[str, Any]:
        """Make one part, see `bounds_of`."""
        part = _part_of(bounds)
        self.sink.build(self.level, part)
        return {"shape": [s.stop - s.start for s in part.region]}

    def place(self, bounds: Index) -> str:
        """Voxels of a part, for people."""
        region = _part_of(bounds).region
        return f"level {self.level}, voxels " + ", ".join(f"{s.start}:{s.stop}" for s in region)


def build_pyramid(
    sink: PyramidSink, name: str, *, executor: Executor, observe: Observer = ignore
) -> None:
    """Make all coarser levels of an output whose finest level is written; `seal` ends it then.

    Parameters
    ----------
    sink : PyramidSink
        The output.
    name : str
        What people call it.
    executor : Executor
        Where parts are made: several at a time if several processes may write.
    observe : callable
        Takes events: a stage a level.

    Notes
    -----
    Each level is read once, to make the next one of an eighth of its size. A part takes some four
    million voxels of the level below. Parts are cut when they are begun: memory does not grow
    with them.
    """
    pool = pool_of(executor, "cpu")
    for level, parts in enumerate(sink.pyramid(), start=1):
        run_stage(
            f"{STAGE} of {name}, level {level}",
            map(bounds_of, parts),
            LevelWork(sink, level),
            executor=pool,
            observe=observe,
            total=len(parts),
        )


def bounds_of(part: PyramidPart) -> Index:
    """Write a part as one row of numbers: what stages know their blocks by.

    >>> bounds_of(PyramidPart((slice(0, 4), slice(4, 7)), (slice(0, 8), slice(8, 13))))
    (0, 4, 4, 7, 0, 8, 8, 13)
    """
    return tuple(bound for s in (*part.region, *part.source) for bound in (s.start, s.stop))


def _part_of(bounds: Index) -> PyramidPart:
    cuts = tuple(slice(*pair) for pair in zip(bounds[::2], bounds[1::2], strict=True))
    half = len(cuts) // 2
    return PyramidPart(cuts[:half], cuts[half:])
