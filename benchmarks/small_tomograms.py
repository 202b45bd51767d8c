"""Time beside the network when many small tomograms are segmented.

Tomograms of noise are segmented into OME-Zarr by ``run_dataset``, in one process and in worker
processes. The time in the network is summed where it is called; what is left of the run's time
(of all processes), over the number of tomograms, is the figure to read: it holds opening, reading,
statistics, normalisation, blending, writing, records and scheduling. The same in seconds of the
processor, which say more on a busy machine, is beside it. One JSON line a case.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any

import numpy as np

from benchmarks.harness import Case, commit, machine

SPENT = {"wall": 0.0, "processor": 0.0}
"""Seconds that this process has spent in networks since `watch_network`."""


@dataclass(frozen=True)
class SmallCase(Case):
    """Tomograms to segment."""

    num_tomograms: int = 200
    """How many."""

    num_processes: int = 0
    """Worker processes; 0 is this process alone."""

    patch: tuple[int, int, int] = (64, 64, 64)
    """Size of a patch, voxels."""

    widths: tuple[int, ...] = (2, 4)
    """Channels of the network's levels."""


SHAPE = (64, 128, 128)

CASES = (
    # Everything but the network and the scheduler.
    SmallCase("one-process", SHAPE),
    # The same in workers: whole tomograms go to each, several one after another.
    SmallCase("two-processes", SHAPE, num_processes=2),
)

TINY = (
    SmallCase("one-process", (16, 32, 32), num_tomograms=3, patch=(16, 16, 16)),
    SmallCase("two-processes", (16, 32, 32), num_tomograms=4, num_processes=2, patch=(16, 16, 16)),
)


def watch_network() -> None:
    """Sum the seconds that this process spends in networks, from now on.

    They have one thread of their own: the processor's time of others, which read and write
    meanwhile, is not theirs.
    """
    import torch

    from benchmarks import small_tomograms
    from volproc.models.loading import LoadedModel

    torch.set_num_threads(1)
    call: Callable[..., torch.Tensor] = LoadedModel.__call__

    def timed(self: LoadedModel, batch: torch.Tensor) -> torch.Tensor:
        begin_s, begun_s = perf_counter(), thread_time()
        try:
            return call(self, batch)
        finally:
            small_tomograms.SPENT["wall"] += perf_counter() - begin_s
            small_tomograms.SPENT["processor"] += thread_time() - begun_s

    LoadedModel.__call__ = timed  # type: ignore[method-assign]


def spent() -> np.ndarray:
    """Seconds of this process in networks by the clock and by the processor, and in all."""
    from benchmarks import small_tomograms

    return np.array([*small_tomograms.SPENT.values(), process_time()])


def make_inputs(folder: Path, case: SmallCase) -> Path:
    """Noise in ``.npy`` files, and a network of random weights."""
    import torch

    from volproc.core.model import ModelSpec
    from volproc.models.loading import save_model
    from volproc.models.networks import build

    generator = np.random.default_rng(0)
    for number in range(case.num_tomograms):
        voxels = generator.standard_normal(case.shape, np.float32)
        np.save(folder / f"TS_{number}.npy", voxels)
    torch.manual_seed(0)
    params = {"widths": list(case.widths)}
    spec = ModelSpec("unet3d", "", case.patch, ("background", "a", "b"), params=params)
    save_model(folder / "model.pt", spec, build("unet3d", num_classes=3, **params).state_dict())
    return folder / "model.pt"


def measure(case: SmallCase, folder: Path) -> dict[str, Any]:
    """Segment the tomograms of one case in a folder."""
    from volproc.cluster import connect
    from volproc.workflows.dataset import run_dataset
    from volproc.workflows.segment import SegmentTask

    model = str(make_inputs(folder, case))
    tasks = [
        SegmentTask(
            str(folder / f"TS_{number}.npy"), str(folder / "out" / f"TS_{number}.zarr"), model,
            voxel_size=10.0,
        )
        for number in range(case.num_tomograms)
    ]  # fmt: skip
    warm = [
        SegmentTask(task.address, str(folder / "warm" / f"{number}.zarr"), model, voxel_size=10.0)
        for number, task in enumerate(tasks[: 2 * max(1, case.num_processes)])
    ]
    kind = "local" if case.num_processes else "serial"
    with connect(kind, num_workers=case.num_processes or None) as session:
        run_dataset(warm, executor=session)  # imports, compiled loops, the model
        everywhere = _everywhere(session, case)
        everywhere(watch_network)
        before, begin_s = sum(everywhere(spent)), perf_counter()
        report = run_dataset(tasks, executor=session)
        time_s = perf_counter() - begin_s
        network_s, network_processor_s, processor_s = sum(everywhere(spent)) - before
    assert report.counts["done"] == case.num_tomograms, report.entries
    processes = max(1, case.num_processes)
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        "time_s": round(time_s, 3),
        "network_s": round(network_s, 3),
        "overhead_s": round((processes * time_s - network_s) / case.num_tomograms, 4),
        "network_processor_s": round(network_processor_s, 3),
        "overhead_processor_s": round((processor_s - network_processor_s) / case.num_tomograms, 4),
        "tomograms_per_s": round(case.num_tomograms / time_s, 2),
        "voxels_per_s": round(case.num_tomograms * case.num_voxels / time_s),
    }


def _everywhere(session: Any, case: SmallCase) -> Callable[[Callable[[], Any]], list[Any]]:
    """What calls a function in each process that works, and returns the results."""
    if case.num_processes:
        return lambda function: list(session.client.run(function).values())
    return lambda function: [function()]


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--only", metavar="WORD", default="", help="cases whose name has this")
    parser.add_argument("--number", type=int, help="tomograms, instead of those of the case")
    parser.add_argument(
        "--folder", type=Path, help="where the files go; a temporary one if not given"
    )
    options = parser.parse_args(argv)
    for case in TINY if options.tiny else CASES:
        if options.only not in case.name:
            continue
        chosen = case
        if options.number:
            chosen = SmallCase(**{**asdict(case), "num_tomograms": options.number})
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            print(json.dumps(measure(chosen, Path(folder))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
