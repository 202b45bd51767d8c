"""What it takes to plan labelling and measuring: time, memory and tasks on the client, nothing run.

Planned means: the lazy arrays are made and Dask's optimisation is done, as `dask.compute` does it
before it hands the tasks to a scheduler. The baseline, dask-image's label, has a graph that is
quadratic in the number of blocks and is planned where it finishes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import dask
import dask.array as da
import numpy as np

from benchmarks.harness import Case, Contender, compare, run
from volproc.graph.label import label
from volproc.graph.measure import measure

try:
    from dask_image.ndmeasure import label as label_dask_image
except ImportError:  # a baseline only: the others say enough
    label_dask_image = None

SIDE = 128
"""Voxels of a block along each axis; no voxel is ever made."""


@dataclass(frozen=True)
class PlanCase(Case):
    """A grid of blocks; ``shape`` counts voxels."""

    verb: str = "label"
    """What is planned."""

    with_dask_image: bool = False
    """Whether dask-image's graph is planned beside it."""

    @property
    def num_blocks(self) -> int:
        """Blocks of the volume."""
        return prod(-(-n // SIDE) for n in self.shape)


def _cube(side: int) -> tuple[int, int, int]:
    return (side * SIDE,) * 3


CASES = (
    # where the baseline finishes
    PlanCase("label-125", _cube(5), with_dask_image=True),
    # the promise: under 2 s and 200 MB
    PlanCase("label-10648", _cube(22)),
    PlanCase("measure-10648", _cube(22), verb="measure"),
    PlanCase("label+measure-10648", _cube(22), verb="label+measure"),
    # under a minute
    PlanCase("label-103823", _cube(47)),
    PlanCase("label+measure-103823", _cube(47), verb="label+measure"),
)

TINY = (
    PlanCase("tiny", _cube(2), with_dask_image=True),
    PlanCase("tiny-label+measure", _cube(3), verb="label+measure"),
)


def plan_own(case: PlanCase) -> tuple[Any, ...]:
    """Lazy results of one case."""
    mask = da.zeros(case.shape, chunks=SIDE, dtype=np.uint8)
    if case.verb == "measure":
        return (measure(mask),)
    labels, count = label(mask)
    return (labels, count) if case.verb == "label" else (labels, count, measure(labels))


def count_tasks(lazy: tuple[Any, ...]) -> int:
    """Tasks of lazy results that were optimised."""
    return len({key for item in lazy for key in dict(item.__dask_graph__())})


def measure_plan(case: PlanCase, repeats: int) -> dict[str, Any]:
    """Compare the planning of one case with its baseline."""
    plans: dict[str, Callable[[], tuple[Any, ...]]] = {"own": lambda: plan_own(case)}
    if case.with_dask_image and label_dask_image is not None:
        mask = da.zeros(case.shape, chunks=SIDE, dtype=np.uint8)
        plans["dask_image"] = lambda: label_dask_image(mask)
    contenders: dict[str, Contender] = {
        name: (lambda plan=plan: dask.optimize(*plan())) for name, plan in plans.items()
    }
    tasks = {name: count_tasks(contender()) for name, contender in contenders.items()}
    record = compare(case, contenders.pop("own"), contenders, repeats=repeats)
    per_block = {name: round(n / case.num_blocks, 2) for name, n in tasks.items()}
    return record | {"num_blocks": case.num_blocks, "tasks": tasks, "tasks_a_block": per_block}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure_plan, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
