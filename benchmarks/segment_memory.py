"""Peak memory of a segmentation, in a process of its own, for one size and twice that.

A float32 volume is made block by block on disk and goes through ``segment semantic`` with a very
small network: class map and float16 probabilities of three classes. The kernel's high-water mark
of the worker's resident memory is the figure; it has to stay when z doubles. One JSON line a case;
the ratio of the last line to the first is the one to read.

With ``--sides 64 128 192`` the blocks have these sides instead, and the embedded model is used: the
ratio of the peak to what the plan had said is the one to read, and has to stay below 1.2.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.harness import ROOT, Case, commit, high_water_bytes, machine

PLANES = 16
"""Planes that are made at once."""


@dataclass(frozen=True)
class MemoryCase(Case):
    """A volume to segment."""

    patch: tuple[int, int, int] = (64, 64, 64)
    """Size of a patch, voxels."""

    widths: tuple[int, ...] = (2,)
    """Channels of the network's levels; none for the embedded model."""

    side: int = 0
    """Longest side of a block; chosen by the plan if 0."""


def make_input(path: Path, shape: tuple[int, ...]) -> None:
    """Noise in an ``.npy`` file, a few planes at a time."""
    generator = np.random.default_rng(0)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, shape[0], PLANES):
            planes = min(PLANES, shape[0] - first)
            file.write(generator.standard_normal((planes, *shape[1:]), np.float32).tobytes())


def make_model(path: Path, case: MemoryCase) -> None:
    """Network of random weights."""
    import torch

    from volproc.core.model import ModelSpec
    from volproc.models.loading import save_model
    from volproc.models.networks import build

    torch.manual_seed(0)
    params = {"widths": list(case.widths)}
    classes = ("background", "a", "b")
    spec = ModelSpec("unet3d", "", case.patch, classes, params=params)
    save_model(path, spec, build("unet3d", num_classes=3, **params).state_dict())


def work(folder: Path, host_limit: int | None, side: int) -> dict[str, Any]:
    """Segment what is in a folder, in this process; its peak and its plan's promise."""
    from volproc.models.loading import DEFAULT_MODEL
    from volproc.workflows.segment import SegmentTask, segment

    model = folder / "model.pt"
    task = SegmentTask(
        address=str(folder / "volume.npy"),
        output=str(folder / "classes.zarr"),
        model=str(model) if model.exists() else DEFAULT_MODEL,
        chunks=(side,) * 3 if side else None,
        voxel_size=10.0,
        probabilities="float16",
        host_limit=host_limit,
        overwrite=True,
    )
    start = perf_counter()
    report = segment(task)
    return {
        "time_s": round(perf_counter() - start, 2),
        "peak_bytes": high_water_bytes(),
        "planned_bytes": report.plan.host_bytes,
        "planned_parts": report.plan.host_parts,
        "blocks": list(report.plan.grid.numblocks),
        "chunks": list(report.plan.chunks),
    }


def measure(case: MemoryCase, folder: Path, host_limit: int | None) -> dict[str, Any]:
    """Make the input of one case and segment it in a new process."""
    make_input(folder / "volume.npy", case.shape)
    if case.widths:
        make_model(folder / "model.pt", case)
    command = [sys.executable, "-m", "benchmarks.segment_memory", "--work", str(folder)]
    command += ["--side", str(case.side)]
    if host_limit is not None:
        command += ["--host-limit", str(host_limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    facts = json.loads(done.stdout.splitlines()[-1])
    return {
        "case": asdict(case),
        "machine": machine(),
        "commit": commit(),
        **facts,
        "voxels_per_s": round(case.num_voxels / facts["time_s"]),
        "ratio_to_plan": round(facts["peak_bytes"] / facts["planned_bytes"], 3),
        "ratio_to_volume": round(facts["peak_bytes"] / (4 * case.num_voxels), 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line for the size and one for twice as many planes, or one a block size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 1024, 1024), metavar="N")
    parser.add_argument("--patch", type=int, nargs=3, default=(64, 64, 64), metavar="N")
    parser.add_argument("--host-limit", type=int, help="memory of the worker, bytes")
    parser.add_argument("--sides", type=int, nargs="+", metavar="N", help="sides of blocks")
    parser.add_argument(
        "--folder", type=Path, help="where the files go; a temporary one if not given"
    )
    parser.add_argument("--tiny", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.work:
        print(json.dumps(work(options.work, options.host_limit, options.side)))
        return 0
    shape, patch = tuple(options.shape), tuple(options.patch)
    if options.tiny:
        shape, patch = (24, 40, 32), (16, 16, 16)
    if options.sides:
        embedded: dict[str, Any] = {"patch": (48, 48, 48), "widths": ()}
        cases = [MemoryCase(f"side-{n}", shape, side=n, **embedded) for n in options.sides]
    else:
        sizes = enumerate((shape[0], 2 * shape[0]), 1)
        cases = [MemoryCase(f"z-times-{n}", (z, *shape[1:]), patch) for n, z in sizes]
    first = 0
    for case in cases:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            record = measure(case, Path(folder), options.host_limit)
        first = first or record["peak_bytes"]
        record["ratio_to_first"] = round(record["peak_bytes"] / first, 3)
        print(json.dumps(record), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
