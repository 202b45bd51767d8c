"""Sliding-window inference against MONAI's and against the bare forward passes, in one process.

The same network, patches, overlap and window everywhere. ``engine`` is what a block does: views,
fixed-point sums, weights from the grid. ``lazy`` is all of `volproc.predict`: statistics of the
volume, scratch on disk, probabilities. Before anything is timed, the result is compared with
MONAI's. The figure to read is the ratio to ``forward``: what blending costs beside the network.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import numpy.typing as npt
import torch

from benchmarks.harness import Case, Contender, compare, run
from volproc.core.model import ModelSpec
from volproc.core.types import whole
from volproc.core.volume import Volume
from volproc.graph.predict import predict
from volproc.models.loading import LoadedModel, load_model, read_spec, save_model
from volproc.models.networks import build
from volproc.models.sliding import Accumulator, Inference, to_probabilities
from volproc.models.views import find_views
from volproc.models.windows import sum_windows
from volproc.plan.patches import PatchGrid

with warnings.catch_warnings():
    # MONAI warns of its own deprecated imports.
    warnings.simplefilter("ignore")
    from monai.inferers import sliding_window_inference

TOLERANCE = {"cpu": 1e-5, "cuda": 2e-2}
"""Largest difference from MONAI's probabilities; on a GPU the network computes in bfloat16."""


@dataclass(frozen=True)
class WindowCase(Case):
    """A network slid over noise."""

    patch: tuple[int, int, int]
    """Size of a patch, voxels."""

    widths: tuple[int, ...] = (8, 16, 32)
    """Channels of the U-Net's levels."""

    overlap: float = 0.25
    """Part of a patch that it shares with the next."""

    batch_size: int = 1
    """Patches per pass."""

    device: str = "cpu"
    """Where the network runs."""


CASES = [
    # the shipped network at its usual overlap
    WindowCase("usual", (96, 192, 160), (48, 64, 64)),
    # eight times as many passes a voxel: blending costs most
    WindowCase("half-overlap", (96, 128, 128), (48, 64, 64), overlap=0.5),
    # a network so small that everything else shows
    WindowCase("tiny-network", (96, 192, 160), (48, 64, 64), widths=(4,)),
    WindowCase("batches", (96, 192, 160), (48, 64, 64), batch_size=4),
]
if torch.cuda.is_available():
    CASES += [
        WindowCase("gpu", (256, 512, 512), (96, 96, 96), (32, 64, 128), device="cuda"),
        WindowCase(
            "gpu-half-overlap", (192, 384, 384), (96, 96, 96), (32, 64, 128), 0.5, 4, "cuda"
        ),
    ]

TINY = [
    WindowCase("tiny", (9, 13, 11), (4, 8, 6), (2, 4)),
    WindowCase("tiny-batches", (9, 13, 11), (4, 8, 6), (2, 4), 0.5, 3),
]


class Engine:
    """The contenders of one case, which share patches and network."""

    def __init__(self, case: WindowCase, model: LoadedModel, scaled: npt.NDArray[Any]) -> None:
        self.case, self.model, self.scaled = case, model, scaled
        self.grid = PatchGrid(case.shape, case.patch, case.overlap)
        self.inference = Inference(
            case.patch, model.spec.num_classes, find_views("none"), case.batch_size
        )

    def patches(self) -> list[npt.NDArray[np.float32]]:
        """Views of the patches."""
        return [
            self.scaled[tuple(slice(a, a + p) for a, p in zip(start, self.case.patch, strict=True))]
            for start in self.grid
        ]

    def own(self) -> npt.NDArray[np.float32]:
        """Blended outputs, as a block of `volproc` makes them."""
        region = whole(self.case.shape)
        sums = Accumulator(region, self.inference, self.model.device)
        outputs = self.inference.run(self.model, self.patches(), self.model.device)
        for start, output in zip(self.grid, outputs, strict=True):
            sums.add(start, output)
        mean = np.empty((self.inference.num_classes, *self.case.shape), np.float32)
        for first in range(0, self.case.shape[0], 8):
            slab = (slice(first, min(first + 8, self.case.shape[0])), *region[1:])
            weights = sum_windows(self.grid, slab, kind="gaussian", sigma_scale=0.125)
            mean[(slice(None), *slab)] = sums.mean(slab, weights)
        return mean

    def forward(self) -> None:
        """All patches through the network, and nothing else."""
        patches, size = self.patches(), self.case.batch_size
        for first in range(0, len(patches), size):
            batch = torch.from_numpy(np.stack(patches[first : first + size])[:, None])
            self.model(batch.to(self.model.device))
        if self.model.device.type == "cuda":
            torch.cuda.synchronize()

    def monai(self) -> npt.NDArray[np.float32]:
        """Blended outputs of MONAI."""
        output = sliding_window_inference(
            torch.from_numpy(self.scaled)[None, None].to(self.model.device),
            roi_size=self.case.patch,
            sw_batch_size=self.case.batch_size,
            predictor=self.model,
            overlap=self.case.overlap,
            mode="gaussian",
            sigma_scale=0.125,
        )
        return output[0].cpu().numpy()


def make_model(case: WindowCase, folder: Path) -> LoadedModel:
    """Network of random weights, saved and loaded as any other."""
    torch.manual_seed(0)
    params = {"widths": list(case.widths)}
    spec = ModelSpec(
        architecture="unet3d",
        weights="",
        patch=case.patch,
        classes=("background", "a", "b", "c"),
        params=params,
    )
    save_model(folder / "model.pt", spec, build("unet3d", num_classes=4, **params).state_dict())
    return load_model(read_spec(folder / "model.pt"), case.device)


def measure(case: WindowCase, repeats: int) -> dict[str, Any]:
    """Compare the blending of one case with its baselines."""
    voxels = np.random.default_rng(0).normal(100, 20, case.shape).astype(np.float32)
    shift, scale = np.float32(voxels.mean(dtype=float)), np.float32(voxels.std(dtype=float))
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(case, Path(folder))
        engine = Engine(case, model, (voxels - shift) / scale)
        volume = Volume(da.from_array(voxels, chunks=-1), (10.0,) * 3)

        def lazy() -> npt.NDArray[np.float32]:
            result = predict(
                volume,
                model.spec,
                output="probabilities",
                dtype="float32",
                overlap=case.overlap,
                batch_size=case.batch_size,
                device=case.device,
                scratch=folder,
            )
            return result.data.compute(scheduler="sync")

        expected = to_probabilities(engine.monai(), blend="logits")
        differences = {
            "engine": float(
                np.abs(to_probabilities(engine.own(), blend="logits") - expected).max()
            ),
            "lazy": float(np.abs(lazy() - expected).max()),
        }
        limit = TOLERANCE[model.device.type]
        if max(differences.values()) > limit:
            msg = f"{case.name}: probabilities differ from MONAI's by {differences}, above {limit}."
            raise AssertionError(msg)
        baselines: dict[str, Contender] = {
            "forward": engine.forward,
            "monai": engine.monai,
            "lazy": lazy,
        }
        record = compare(case, engine.own, baselines, repeats=repeats)
    forward = record["baselines"]["forward"]["median_s"]
    return record | {
        "difference_from_monai": differences,
        "ratio_to_forward": {
            "engine": record["ratio"]["forward"],
            **{
                name: round(record["baselines"][name]["median_s"] / forward, 3)
                for name in ("monai", "lazy")
            },
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case."""
    return run(__doc__ or "", measure, CASES, TINY, argv)


if __name__ == "__main__":
    sys.exit(main())
