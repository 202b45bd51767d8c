"""One worker process against several on the same prediction.

A noise volume goes through the embedded model, each worker with one thread and in the blocks that
the plan chooses for so many workers. Workers are started and have loaded the network before the
clock starts; strips between neighbouring blocks, the ledger and writing are inside. ``speedup`` is
the figure to read, beside ``load``: how many processes wanted the processor before the run began.
One JSON line a case.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.harness import Case, commit, machine
from benchmarks.segment_memory import make_input
from volproc.cluster import connect
from volproc.cluster.local import THREAD_VARIABLES
from volproc.core.events import Event
from volproc.workflows.segment import SegmentTask, plan_segment, segment


@dataclass(frozen=True)
class ScalingCase(Case):
    """A volume and the workers that share it."""

    num_workers: int = 2
    """Workers that are held against one."""

    side: int = 0
    """Side of a block, voxels; 0 for the blocks that the plan chooses for so many workers."""


class StageTime:
    """Observer that takes the time of the prediction alone."""

    def __init__(self) -> None:
        self.begin_s = self.end_s = 0.0

    def __call__(self, event: Event) -> None:
        """Note the beginning and the end."""
        if event.stage == "predict" and event.kind == "stage":
            self.begin_s = perf_counter()
        elif event.stage == "predict" and event.kind == "block":
            self.end_s = perf_counter()


def predict_time(task: SegmentTask, num_workers: int, small: SegmentTask) -> float:
    """Seconds of the prediction on warm workers of one thread each."""
    for name in THREAD_VARIABLES:  # one worker alone would use all cores by its threads
        os.environ[name] = "1"
    with connect("local", num_workers=num_workers) as executor:
        segment(small, executor=executor)  # loads the network in the workers that get a block
        watch = StageTime()
        segment(task, executor=executor, observe=watch)
    return watch.end_s - watch.begin_s


def measure(case: ScalingCase, parent: Path | None) -> dict[str, Any]:
    """Measure one case."""
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        make_input(Path(folder) / "volume.npy", case.shape)
        make_input(Path(folder) / "small.npy", (48, 48, 48 * 2 * case.num_workers))
        task = SegmentTask(
            address=f"{folder}/volume.npy",
            output=f"{folder}/classes.zarr",
            voxel_size=10.0,
            chunks=(case.side,) * 3 if case.side else None,
            overwrite=True,
        )
        small = replace(
            task,
            address=f"{folder}/small.npy",
            output=f"{folder}/small.zarr",
            chunks=(48, 48, 48),
        )
        load = os.getloadavg()[0]
        counts = (1, case.num_workers)
        times = {n: predict_time(task, n, small) for n in counts}
        cuts = {n: plan_segment(task, num_workers=n).plan.grid.numblocks for n in counts}
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        "load": round(load, 2),
        "time_s": round(times[case.num_workers], 2),
        "blocks": list(cuts[case.num_workers]),
        "baselines": {"one_worker": {"time_s": round(times[1], 2), "blocks": list(cuts[1])}},
        "speedup": round(times[1] / times[case.num_workers], 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 192, 256), metavar="N")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--side", type=int, default=0, help="side of a block, voxels")
    parser.add_argument("--folder", type=Path, help="where files go; temporary by default")
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(argv)
    shape = (48, 48, 96) if options.tiny else tuple(options.shape)
    case = ScalingCase("prediction", shape, options.workers, options.side)
    print(json.dumps(measure(case, options.folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
