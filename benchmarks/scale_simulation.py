"""A run over very many blocks with a model that does nothing: what is left is the scheduler.

The real stage (`run_stage`: window, needs between neighbours, ledger) runs on a real Dask scheduler
with worker processes; only the network is missing. Figures: blocks a second over the run, resident
memory of client and scheduler (one process) over the run, processor time a block of that process
and of the workers, which a busy machine does not change, size of the ledger, and the seconds that a
resumed run takes to find its markers. The baseline is the same stage in this thread: scheduler
and processes are what is between the two. The graph of ``label`` and ``measure`` over as many
blocks is planned and, for fewer blocks, run. One JSON line a case; ``hours_for_million`` is
extrapolated from the last quarter of the blocks, ``cpu_hours_for_million`` from all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import dask
import dask.array as da
import numpy as np
import psutil

from benchmarks.harness import Case, commit, machine
from volproc.cluster import connect
from volproc.cluster.session import Session
from volproc.core.events import Event
from volproc.core.types import Index
from volproc.graph.label_and_measure import label_and_measure
from volproc.graph.ledger import Ledger
from volproc.graph.run import run_stage
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid

SIDE = 128
"""Voxels of a block along each axis; none is ever made."""

PATCH = 48
"""Voxels of a patch along each axis."""

SAMPLES = 20
"""Times that memory is looked at."""


@dataclass(frozen=True)
class ScaleCase(Case):
    """A number of blocks and what runs them."""

    where: str = "local"
    """Kind of cluster."""

    num_workers: int = 2
    """Worker processes."""

    num_graph_blocks: int = 0
    """Blocks of the lazy graph that is run."""


def make_case(name: str, num_blocks: int, **options: Any) -> ScaleCase:
    """Case of at least so many blocks, as near a cube as may be."""
    side = ceil(round(num_blocks ** (1 / 3), 6))
    planes = ceil(num_blocks / side**2)
    return ScaleCase(name, (planes * SIDE, side * SIDE, side * SIDE), **options)


@dataclass(frozen=True, slots=True)
class NoWork:
    """A block of a network that does nothing."""

    def __call__(self, index: Index) -> dict[str, Any]:
        """Say what a block says."""
        return {"patches": 27, "passes": 108, "bytes_read": 9_528_128, "time_s": 0.0}


@dataclass(frozen=True, slots=True)
class Needs:
    """Blocks whose strips a block waits for, as in a prediction."""

    patches: PatchGrid
    grid: ChunkGrid

    def __call__(self, index: Index) -> list[Index]:
        """Near neighbours."""
        return self.patches.neighbours(self.grid, index)[0]


class Watch:
    """Observer that looks at the clock and at memory now and then."""

    def __init__(self, total: int) -> None:
        self.every = max(1, total // SAMPLES)
        self.num_done = 0
        self.begin_s = perf_counter()
        self.samples = [(0, 0.0, psutil.Process().memory_info().rss)]

    def __call__(self, event: Event) -> None:
        """Count a block."""
        if event.kind != "block":
            return
        self.num_done += 1
        if self.num_done % self.every == 0:
            elapsed = perf_counter() - self.begin_s
            self.samples.append((self.num_done, elapsed, psutil.Process().memory_info().rss))

    def rate(self, first: float, last: float) -> float:
        """Blocks a second between two parts of the run."""
        low = self.samples[int(first * (len(self.samples) - 1))]
        high = self.samples[int(last * (len(self.samples) - 1))]
        return (high[0] - low[0]) / (high[1] - low[1])


def processor_s() -> tuple[float, float]:
    """Processor time so far of this process, and of its workers together, seconds."""
    children = psutil.Process().children(recursive=True)
    return process_time(), sum(sum(child.cpu_times()[:2]) for child in children)


def simulate(case: ScaleCase, session: Session, folder: Path) -> dict[str, Any]:
    """Run the stage of one case, resume it, and look at its ledger."""
    grid = ChunkGrid(case.shape, (SIDE,) * 3)
    needs = Needs(PatchGrid(case.shape, (PATCH,) * 3), grid)
    ledger = Ledger.begin(folder, {"case": case.name})
    # The first blocks load what a worker needs.
    run_stage("warm", ((number,) for number in range(8)), NoWork(), executor=session)
    watch, before = Watch(len(grid)), processor_s()
    run_stage(
        "predict",
        grid.indices(),
        NoWork(),
        executor=session,
        observe=watch,
        ledger=ledger,
        needs=needs,
        total=len(grid),
    )
    spent = [now - then for now, then in zip(processor_s(), before, strict=True)]
    begin = perf_counter()
    done = ledger.done("predict")
    done_s = perf_counter() - begin
    assert len(done) == len(grid)
    begin = perf_counter()
    with connect("serial") as executor:
        run_stage(
            "predict", grid.indices(), NoWork(), executor=executor, ledger=ledger, needs=needs
        )
    resumed_s = perf_counter() - begin
    files = [path.stat() for path in folder.glob("predict/*/*.json")]
    middle, last = watch.samples[len(watch.samples) // 2], watch.samples[-1]
    return {
        "blocks_per_s": round(watch.rate(0, 1), 1),
        "blocks_per_s_last_quarter": round(watch.rate(0.75, 1), 1),
        "hours_for_million": round(1e6 / watch.rate(0.75, 1) / 3600, 2),
        "cpu_ms_per_block": round(1e3 * spent[0] / len(grid), 2),
        "cpu_ms_per_block_workers": round(1e3 * spent[1] / len(grid), 2),
        "cpu_hours_for_million": round(1e6 * spent[0] / len(grid) / 3600, 2),
        "rss_mb": [round(rss / 1e6) for _, _, rss in watch.samples],
        "growth_bytes_per_block": round((last[2] - middle[2]) / (last[0] - middle[0]), 1),
        "done_s": round(done_s, 3),
        "resumed_s": round(resumed_s, 3),
        "ledger_files": len(files),
        "ledger_bytes": sum(stat.st_size for stat in files),
        "ledger_disk_bytes": sum(stat.st_blocks * 512 for stat in files),
    }


def plan_graph(case: ScaleCase) -> dict[str, Any]:
    """Make and optimise the graph of label and measure over the blocks of a case."""
    begin = perf_counter()
    before = psutil.Process().memory_info().rss
    lazy = label_and_measure(da.zeros(case.shape, chunks=SIDE, dtype=np.uint8))
    optimized = dask.optimize(*lazy)
    num_tasks = len({key for item in optimized for key in dict(item.__dask_graph__())})
    return {
        "graph_tasks": num_tasks,
        "graph_plan_s": round(perf_counter() - begin, 2),
        "graph_plan_mb": round((psutil.Process().memory_info().rss - before) / 1e6),
    }


def run_graph(case: ScaleCase) -> dict[str, Any]:
    """Run the graph of label and measure over few, tiny blocks on the cluster that is there."""
    side = ceil(round(case.num_graph_blocks ** (1 / 3), 6))
    rng = np.random.default_rng(0)
    mask = da.from_array((rng.random((8 * side,) * 3) < 0.1).astype(np.uint8), chunks=8)
    begin = perf_counter()
    dask.compute(*label_and_measure(mask))
    elapsed = perf_counter() - begin
    return {"graph_blocks": side**3, "graph_blocks_per_s": round(side**3 / elapsed, 1)}


def measure(case: ScaleCase, parent: Path | None) -> dict[str, Any]:
    """Measure one case beside the same stage in one thread."""
    record: dict[str, Any] = {"case": asdict(case), "machine": machine(), "commit": commit()}
    record["num_blocks"] = len(ChunkGrid(case.shape, (SIDE,) * 3))
    with tempfile.TemporaryDirectory(dir=parent) as folder, connect("serial") as session:
        serial = simulate(case, session, Path(folder))["blocks_per_s"]
    record["baselines"] = {"serial": {"blocks_per_s": serial}}
    with (
        tempfile.TemporaryDirectory(dir=parent) as folder,
        connect(case.where, num_workers=case.num_workers) as session,
    ):
        record |= simulate(case, session, Path(folder))
        if case.num_graph_blocks:
            record |= plan_graph(case) | run_graph(case)
    record["ratio"] = round(record["blocks_per_s"] / serial, 3)
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--blocks", type=int, nargs="+", default=(10_000, 100_000), metavar="N")
    parser.add_argument("--graph-blocks", type=int, default=1000, help="run lazily; 0: none")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where ledgers go; temporary by default")
    options = parser.parse_args(argv)
    sizes = (60,) if options.tiny else options.blocks
    graph = 8 if options.tiny else options.graph_blocks
    for size in sizes:
        case = make_case(
            f"blocks-{size}", size, num_workers=options.workers, num_graph_blocks=graph
        )
        print(json.dumps(measure(case, options.folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
