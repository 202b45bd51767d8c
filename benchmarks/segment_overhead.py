"""What a whole ``segment semantic`` takes beside the network.

A noise volume goes through the embedded model, in this thread, with reading, normalising, blending,
strips, writing, pyramids and records. The time inside the network is taken out at its door; what is
left, as a part of the whole, is the figure: ``part_outside``. The baseline is the bare network on
as many patches that are in memory already. Seconds of the processor are given too
(``cpu_part_outside``): on a busy machine they say more. One JSON line a case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

import torch

from benchmarks.harness import Case, commit, machine
from benchmarks.segment_memory import make_input
from volproc.graph.predict import Settings
from volproc.models import loading
from volproc.models.loading import LoadedModel, load_model
from volproc.workflows.segment import SegmentTask, plan_segment, segment


@dataclass(frozen=True)
class OverheadCase(Case):
    """A volume to segment."""

    tta: str = "none"
    """Views of each patch."""

    probabilities: str = "none"
    """Type of stored probabilities."""


@dataclass
class Clock:
    """Seconds spent inside the network."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    num_passes: int = 0

    def watch(self) -> Any:
        """Let every pass be timed; returns what puts things back."""
        inner = LoadedModel.__call__

        def timed(model: LoadedModel, batch: torch.Tensor) -> torch.Tensor:
            wall, cpu = perf_counter(), thread_time()
            output = inner(model, batch)
            if model.device.type == "cuda":
                torch.cuda.synchronize(model.device)
            self.wall_s += perf_counter() - wall
            self.cpu_s += thread_time() - cpu
            self.num_passes += 1
            return output

        loading.LoadedModel.__call__ = timed  # type: ignore[method-assign]
        return lambda: setattr(loading.LoadedModel, "__call__", inner)


def measure(case: OverheadCase, parent: Path | None) -> dict[str, Any]:
    """Segment one volume, with the network's own time taken apart.

    On the CPU the network has one thread: what others read and write meanwhile is not its time.
    """
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        make_input(Path(folder) / "volume.npy", case.shape)
        task = SegmentTask(
            address=f"{folder}/volume.npy",
            output=f"{folder}/classes.zarr",
            voxel_size=10.0,
            settings=Settings(tta=case.tta),
            probabilities=case.probabilities,  # type: ignore[arg-type]
        )
        plan = plan_segment(task).plan
        (spec,) = task.read_models()
        model = load_model(spec)
        batch = torch.zeros((1, spec.channels, *spec.patch), device=model.device)
        model(batch)  # chooses kernels
        begin = perf_counter()
        num_bare = max(1, plan.num_passes // 10)
        for _ in range(num_bare):
            model(batch)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        bare_s = (perf_counter() - begin) / num_bare
        clock = Clock()
        put_back = clock.watch()
        wall, cpu = perf_counter(), process_time()
        try:
            segment(task)
        finally:
            put_back()
        wall, cpu = perf_counter() - wall, process_time() - cpu
    assert clock.num_passes == plan.num_passes
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        "time_s": round(wall, 2),
        "network_s": round(clock.wall_s, 2),
        "part_outside": round(1 - clock.wall_s / wall, 4),
        "cpu_part_outside": round(1 - clock.cpu_s / cpu, 4),
        "passes": clock.num_passes,
        "blocks": len(plan.grid),
        "voxels_per_s": round(case.num_voxels / wall),
        "baselines": {"bare_network": {"pass_s": round(bare_s, 5)}},
        "ratio": round(wall / (bare_s * clock.num_passes), 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(128, 384, 384), metavar="N")
    parser.add_argument("--tta", default="none", help="views of each patch")
    parser.add_argument("--probabilities", default="none", help="none, uint8 or float16")
    parser.add_argument("--folder", type=Path, help="where files go; temporary by default")
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    options = parser.parse_args(argv)
    shape = (48, 60, 50) if options.tiny else tuple(options.shape)
    case = OverheadCase("whole-run", shape, options.tta, options.probabilities)
    print(json.dumps(measure(case, options.folder)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
