"""A whole segmentation on a GPU against the bare network on the same patches in the GPU's memory.

The volume lies on disk as OME-Zarr; statistics, reading, scaling, copies, blending, argmax, writing
and the pyramid are all in the time. The baseline has all patches on the device already and throws
the outputs away. The figure to read is ``throughput``: the network's time over that of the run, 1
where everything else is hidden behind the network; at least 0.85 is asked for. Without a GPU only
``--tiny`` measures anything, on the CPU.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Case, compare, run
from volproc.core.model import ModelSpec
from volproc.graph.predict import Settings
from volproc.io.create import create
from volproc.models.loading import LoadedModel, load_model, read_spec, save_model
from volproc.models.networks import build
from volproc.models.sliding import Inference
from volproc.plan.patches import PatchGrid
from volproc.workflows.segment import SegmentTask, segment

LEAST = 0.85
"""Throughput of a whole run that is asked for, as a part of the bare network's."""


@dataclass(frozen=True)
class ThroughputCase(Case):
    """A volume to segment."""

    patch: tuple[int, int, int] = (96, 96, 96)
    """Size of a patch, voxels."""

    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels of the network's levels."""

    overlap: float = 0.25
    """Part of a patch that it shares with the next."""

    batch_size: int = 4
    """Patches per pass."""

    tta: str = "none"
    """Views of each patch."""

    probabilities: str = "none"
    """Type of stored probabilities."""

    chunks: tuple[int, ...] | None = None
    """Blocks; chosen by the plan if not given."""

    device: str = "cuda"
    """Where the network runs."""


CASES = [
    # what people run: one view, a class map
    ThroughputCase("usual", (384, 768, 768)),
    # four passes a patch: everything else has more time
    ThroughputCase("views", (256, 512, 512), tta="octopi4"),
    # ten bytes a voxel to write instead of one
    ThroughputCase("probabilities", (256, 512, 512), probabilities="float16"),
    # small blocks: the first patches and the last planes of each stay in the open
    ThroughputCase("small-blocks", (256, 512, 512), chunks=(128, 128, 128)),
    # a network that is over in no time
    ThroughputCase("small-network", (256, 512, 512), widths=(16, 32)),
]

TINY = [
    ThroughputCase("tiny", (24, 20, 16), (8, 8, 8), (2, 4), device="cpu"),
    ThroughputCase(
        "tiny-cut", (24, 20, 16), (8, 8, 8), (2, 4), 0.5, 3, "rot4", "float16", (16, 8, 16), "cpu"
    ),
]


def make_files(case: ThroughputCase, folder: Path) -> ModelSpec:
    """Write the volume, a few planes at a time, and a network of random weights."""
    generator = np.random.default_rng(0)
    sink = create(
        str(folder / "volume.zarr"), shape=case.shape, dtype="f4", voxel_size=(10.0,) * 3,
        kind="intensity",
    )  # fmt: skip
    for first in range(0, case.shape[0], sink.chunks[0]):
        planes = slice(first, min(first + sink.chunks[0], case.shape[0]))
        region = (planes, *(slice(0, n) for n in case.shape[1:]))
        shape = (planes.stop - planes.start, *case.shape[1:])
        sink.write(region, generator.standard_normal(shape, np.float32))
    sink.finish()
    torch.manual_seed(0)
    params = {"widths": list(case.widths)}
    classes = ("background", "a", "b", "c", "d")
    spec = ModelSpec("unet3d", "", case.patch, classes, params=params)
    network = build("unet3d", num_classes=len(classes), **params)
    save_model(folder / "model.pt", spec, network.state_dict())
    return read_spec(folder / "model.pt")


def make_task(case: ThroughputCase, folder: Path) -> SegmentTask:
    """Describe the run of a case."""
    settings = Settings(
        tta=case.tta, overlap=case.overlap, batch_size=case.batch_size, device=case.device
    )
    return SegmentTask(
        address=str(folder / "volume.zarr"),
        output=str(folder / "classes.zarr"),
        model=str(folder / "model.pt"),
        settings=settings,
        chunks=case.chunks,
        probabilities=case.probabilities,  # type: ignore[arg-type]
        overwrite=True,
    )


def pass_batches(model: LoadedModel, batches: Sequence[torch.Tensor], inference: Inference) -> None:
    """Send all patches through the network, view by view, and wait for the last one."""
    for batch in batches:
        for view in inference.views:
            model(view.forward(batch))
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def make_batches(case: ThroughputCase, task: SegmentTask, model: LoadedModel) -> list[torch.Tensor]:
    """All patches of the volume on the device, in batches; the last one is filled up."""
    source = task.open().source
    assert source is not None
    starts = list(PatchGrid(case.shape, case.patch, case.overlap))
    batches = []
    for first in range(0, len(starts), case.batch_size):
        batch = np.zeros((case.batch_size, 1, *case.patch), np.float32)
        for row, start in zip(batch, starts[first : first + case.batch_size], strict=False):
            region = tuple(slice(a, a + p) for a, p in zip(start, case.patch, strict=True))
            row[0] = source.read(region)
        batches.append(torch.from_numpy(batch).to(model.device))
    return batches


def measure(case: ThroughputCase, repeats: int) -> dict[str, Any]:
    """Compare the run of one case with its network."""
    with tempfile.TemporaryDirectory() as folder:
        spec = make_files(case, Path(folder))
        task = make_task(case, Path(folder))
        model = load_model(spec, case.device)
        batches = make_batches(case, task, model)
        network = partial(pass_batches, model, batches, task.settings.inference(spec))
        record = compare(case, lambda: segment(task), {"network": network}, repeats=repeats)
    return record | {
        "device": _device_name(model.device),
        "patches": len(PatchGrid(case.shape, case.patch, case.overlap)),
        "throughput": round(record["baselines"]["network"]["median_s"] / record["median_s"], 3),
        "asked": LEAST,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    words = sys.argv[1:] if argv is None else argv
    if not torch.cuda.is_available() and not {"--tiny", "--help", "-h"}.intersection(words):
        print("skipped: PyTorch finds no CUDA device here; --tiny runs on the CPU", file=sys.stderr)
        return 0
    return run(__doc__ or "", measure, CASES, TINY, argv)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


if __name__ == "__main__":
    sys.exit(main())
