"""A whole run of Octopi's segmentation: memory seen from outside, and time beside the windows.

A noise volume goes through ``segment semantic --preset octopi`` in a process of its own, with a
network of Octopi that has random weights: seven classes, windows of 96, four views with grids.
The highest resident memory is what the kernel tells the parent when that process has ended. It has
to stay when the volume grows: Octopi holds the volume and seven logits of it several times.

The baseline of the time is the bare windows: the same passes through the network, and nothing else.
``ratio`` is of the clock on the wall, ``cpu_ratio`` of the processor. The last says more on a busy
machine. With ``--stop-s`` a run is ended after so many seconds: what it took until then is its
memory, and ``batches`` of its ``passes`` are how far it came. ``ratio_to_plan`` is of the memory.
One JSON line a case.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

from benchmarks.harness import ROOT, Case, commit, machine
from benchmarks.segment_memory import make_input
from benchmarks.segment_overhead import Clock

NUM_CLASSES = 7

LOOK_S = 0.2
"""Seconds between two looks at a process."""


@dataclass(frozen=True)
class OctopiCase(Case):
    """A volume to segment."""

    channels: tuple[int, ...] = (4, 8)
    """Channels of the network's levels."""

    window: int = 96
    """Side of a window, voxels."""

    preset: str = "octopi"
    """Settings by name."""

    num_views: int = 4
    """Views of the volume."""


CASES = (
    # Octopi's usual tomogram; the network is small, since memory is what counts.
    OctopiCase("usual-size", (184, 630, 630)),
    # Sixteen times what Octopi held of it would not fit into most machines.
    OctopiCase("large", (512, 1024, 1024)),
    # Octopi's own default network: what stands beside it is what counts.
    OctopiCase("own-network", (96, 192, 192), channels=(32, 64, 96, 96)),
)
TINY = OctopiCase("tiny", (12, 20, 16), channels=(2, 4), window=8)


def make_model(folder: Path, case: OctopiCase) -> None:
    """Octopi's two files, with random weights."""
    import torch

    from volproc.core.model import ModelSpec
    from volproc.models.networks import build
    from volproc.models.octopi_saving import save_octopi_model

    torch.manual_seed(0)
    strides = [2] * (len(case.channels) - 1)
    params = {"channels": list(case.channels), "strides": strides, "num_res_units": 1}
    network = build("octopi-unet", in_channels=1, num_classes=NUM_CLASSES, **params)
    classes = ("background", *(f"particle-{n}" for n in range(1, NUM_CLASSES)))
    spec = ModelSpec("octopi-unet", "", (case.window,) * 3, classes, params=params)
    save_octopi_model(folder, spec, network.state_dict())


def work(folder: Path, case: OctopiCase) -> dict[str, Any]:
    """Segment what is in a folder, in this process, with the network's own time taken apart."""
    import torch

    from volproc.core.events import Event
    from volproc.graph.settings import Settings
    from volproc.workflows.segment import SegmentTask, plan_segment, segment

    torch.set_num_threads(1)  # what others read and write meanwhile is not the network's time
    settings = Settings.preset(case.preset)
    if case.preset == "octopi":
        settings = settings.changed({"tta": f"octopi{case.num_views}"})
    make_input(folder / "first.npy", (8, 8, 8))
    first = SegmentTask(
        str(folder / "first.npy"),
        str(folder / "first.zarr"),
        model=str(folder),
        voxel_size=10.0,
        settings=settings.changed({"tta": "none"}),
    )
    segment(first)  # loads what is compiled
    task = SegmentTask(
        address=str(folder / "volume.npy"),
        output=str(folder / "classes.zarr"),
        model=str(folder),
        voxel_size=10.0,
        settings=settings,
    )
    plan = plan_segment(task).plan
    chunks = list(plan.chunks)
    tell({"planned_bytes": plan.host_bytes, "chunks": chunks, "passes": plan.num_passes})
    clock = Clock()

    def count(event: Event) -> None:
        if event.kind == "block" and event.stage == "predict":
            tell({"batches": clock.num_passes})

    put_back = clock.watch()
    wall_s, cpu_s = perf_counter(), process_time()
    try:
        segment(task, observe=count)
    finally:
        put_back()
    wall_s, cpu_s = perf_counter() - wall_s, process_time() - cpu_s
    return {
        "time_s": round(wall_s, 2),
        "network_s": round(clock.wall_s, 2),
        "ratio": round(wall_s / clock.wall_s, 4),
        "cpu_ratio": round(cpu_s / clock.cpu_s, 4),
    }


def tell(facts: dict[str, Any]) -> None:
    """Say something to who watches, now: this process may be ended any time."""
    print(json.dumps(facts), flush=True)


def measure(case: OctopiCase, folder: Path, stop_s: float | None) -> dict[str, Any]:
    """Make the input of one case, segment it in a new process, and look at that from outside."""
    make_input(folder / "volume.npy", case.shape)
    make_model(folder, case)
    (folder / "case.json").write_text(json.dumps(asdict(case)))
    command = [sys.executable, "-m", "benchmarks.octopi_segment", "--work", str(folder)]
    with (folder / "out").open("w+") as out, (folder / "errors").open("w+") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=errors)
        begin = monotonic()
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        while not ended:
            if stop_s is not None and monotonic() - begin > stop_s:
                process.kill()
            sleep(LOOK_S)
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here
        out.seek(0)
        errors.seek(0)
        is_stopped = stop_s is not None and os.WIFSIGNALED(status)
        if status and not is_stopped:
            raise RuntimeError(errors.read())
        facts: dict[str, Any] = {"stopped": True} if is_stopped else {}
        for line in out.read().splitlines(keepends=True):
            if line.endswith("\n"):  # the last one may be a part of what was to be said
                facts |= json.loads(line)
    if "planned_bytes" in facts:
        facts["ratio_to_plan"] = round(usage.ru_maxrss * 1024 / facts["planned_bytes"], 3)
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        "peak_bytes": usage.ru_maxrss * 1024,
        **facts,
        "ratio_to_volume": round(usage.ru_maxrss * 1024 / (4 * case.num_voxels), 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=[case.name for case in CASES], action="append")
    parser.add_argument("--preset", choices=["octopi", "guide", "volproc"], default="octopi")
    parser.add_argument("--stop-s", type=float, help="end a run after so many seconds")
    parser.add_argument("--folder", type=Path, help="where the files go; a temporary one if none")
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        values = json.loads((options.work / "case.json").read_text())
        values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        tell(work(options.work, OctopiCase(**values)))
        return 0
    chosen = [case for case in CASES if not options.case or case.name in options.case]
    # In a process by itself: compiling takes memory, and is done once on a machine.
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        record = measure(TINY, Path(folder), None)
    if options.tiny:
        print(json.dumps(record))
        return 0
    for case in chosen:
        own = OctopiCase(**{**asdict(case), "preset": options.preset})
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(measure(own, Path(folder), options.stop_s)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
