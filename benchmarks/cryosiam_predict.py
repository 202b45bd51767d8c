"""CryoSiam's particle identification by its own command: memory from outside, and work.

A checkpoint of the published architecture with random weights and a tomogram of noise are made on
disk; ``volproc cryosiam semantic-predict`` predicts it in a process of its own, whose resident
memory is watched from here. One JSON line a case: ``ratio_to_plan`` is the peak over what the plan
had said, ``work`` the multiplications over those of one pass of the network over the volume, and
``ratio_to_cryosiam`` that over the same of CryoSiam's patches, which overlap by half.

The whole takes an hour on two cores. What a process takes is known soon after its first labels:
``--stop-s 600`` ends it then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil, prod
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import mrcfile
import numpy as np
import psutil
import yaml

from benchmarks.harness import ROOT, Case, commit, machine
from volproc.core.model import ModelSpec

PLANES = 16
"""Planes that are made at once."""

WATCH_S = 0.05
"""Time between two looks at the process."""

KEYS = {"block_type": "basic", "no_max_pool": True, "num_layers": [1, 1, 1, 1]}
"""Settings of the published network that its weights do not say."""


@dataclass(frozen=True)
class PredictCase(Case):
    """A tomogram to predict."""

    filters: tuple[int, int, int, int] = (64, 128, 256, 512)
    """Channels of the encoder's stages."""

    channels: int = 128
    """Channels of the pyramid."""

    features: int = 64
    """Channels of the projector's output."""

    classes: int = 14
    """Classes, the background included."""

    patch: int = 128
    """Side of a patch of the training, voxels."""


# Planned only, whatever is measured: the size of a tomogram of the preprint.
LARGE = PredictCase("tomogram", (464, 960, 928))

# The same network on a volume of an eighth of it, which is run.
EIGHTH = PredictCase("eighth", (232, 480, 464))

TINY = PredictCase("tiny", (24, 40, 32), (4, 4, 8, 8), 8, 4, 3, 16)


def describe_model(case: PredictCase) -> ModelSpec:
    """The network of a case, without weights."""
    from volproc.models.cryosiam_networks import SEMANTIC

    params = {
        "num_layers": KEYS["num_layers"],
        "num_filters": list(case.filters),
        "fpn_channels": case.channels,
        "projector": [case.channels, case.channels, case.features],
        "activation": "softmax",
    }
    classes = tuple(f"class-{number}" for number in range(case.classes))
    return ModelSpec(SEMANTIC, "", (case.patch,) * 3, classes, params)


def make_model(path: Path, case: PredictCase) -> None:
    """Write a checkpoint as CryoSiam's training does, of random weights."""
    import torch

    from volproc.models.networks import build
    from volproc.models.weights import build_arguments

    torch.manual_seed(0)
    spec = describe_model(case)
    network = build(spec.architecture, **build_arguments(spec))
    state = {
        f"{'_model.' if '_head.' in name else '_model_backbone.'}{name}": value
        for name, value in network.state_dict().items()
    }
    own = {**KEYS, "num_filters": list(case.filters), "fpn_channels": case.channels}
    data = {"patch_size": [case.patch] * 3, "min": 0, "max": 1, "mean": 0, "std": 1}
    task = {"parameters": {"data": data, "network": {"out_channels": case.classes}}}
    settings = {"config": task, "backbone_config": {"parameters": {"network": own}}}
    torch.save({"state_dict": state, "hyper_parameters": settings}, path)


def make_input(folder: Path, case: PredictCase) -> Path:
    """Write a tomogram, a checkpoint and CryoSiam's yaml; return the yaml."""
    (folder / "tomograms").mkdir()
    generator = np.random.default_rng(0)
    path = folder / "tomograms" / "noise.mrc"
    with mrcfile.new_mmap(path, case.shape, mrc_mode=2) as file:
        for first in range(0, case.shape[0], PLANES):
            planes = file.data[first : first + PLANES]
            planes[:] = generator.random(planes.shape, np.float32)
        file.voxel_size = 10.0
    make_model(folder / "model.ckpt", case)
    config = {
        "data_folder": str(folder / "tomograms"),
        "prediction_folder": str(folder / "predictions"),
        "trained_model": str(folder / "model.ckpt"),
        "file_extension": ".mrc",
        "test_files": None,
        "parameters": {
            "gpu_devices": 0,
            "data": {"patch_size": [case.patch] * 3, "min": 0, "max": 1, "mean": 0, "std": 1},
            "network": {
                "in_channels": 1,
                "spatial_dims": 3,
                "out_channels": case.classes,
                "threshold": 0.1,
            },
        },
        "hyper_parameters": {"batch_size": 2},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder / "config.yaml"


def plan(case: PredictCase) -> dict[str, Any]:
    """What the plan says of a case."""
    from volproc.graph.cut_tiles import MOST_BYTES, halo_tiles, process_bytes, tile_work

    spec = describe_model(case)
    tiles = halo_tiles(spec, case.shape, memory_bytes=MOST_BYTES, device="cpu", has_outputs=False)
    work = tile_work(spec, tiles)
    patches = prod(ceil(n / (case.patch // 2)) for n in case.shape)
    theirs = patches * case.patch**3 / case.num_voxels
    return {
        "planned_bytes": process_bytes(spec, tiles, on_device=False, has_outputs=False),
        "core": list(tiles.core),
        "slab": tiles.slab,
        "work": round(work.part, 4),
        "levels": [round(level, 4) for level in work.levels],
        "work_of_cryosiam": round(theirs, 4),
        "ratio_to_cryosiam": round(work.part / theirs, 4),
    }


def watch(command: list[str], stop_s: float) -> dict[str, Any]:
    """Run a command, and look at its resident memory from outside until it ends or is stopped."""
    start, peak = perf_counter(), 0
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as child:
        process = psutil.Process(child.pid)
        while child.poll() is None and perf_counter() - start < stop_s:
            try:
                family = [process, *process.children(recursive=True)]
                peak = max(peak, sum(member.memory_info().rss for member in family))
            except psutil.NoSuchProcess:
                break
            sleep(WATCH_S)
        is_whole = child.poll() is not None
        child.kill()
        said = child.communicate()[0]
    if is_whole and child.returncode:
        raise RuntimeError(said)
    return {
        "time_s": round(perf_counter() - start, 2),
        "is_whole": is_whole,
        "peak_bytes": peak,
    }


def measure(case: PredictCase, folder: Path, stop_s: float) -> dict[str, Any]:
    """Predict one case in a new process."""
    config = make_input(folder, case)
    main_line = "from volproc.cli.main import main; main()"
    command = [sys.executable, "-c", main_line, "cryosiam", "semantic-predict"]
    facts = watch([*command, "--config_file", str(config), "--quiet"], stop_s)
    planned = plan(case)
    return {
        **describe(case),
        **planned,
        **facts,
        "ratio_to_plan": round(facts["peak_bytes"] / planned["planned_bytes"], 3),
    }


def describe(case: PredictCase) -> dict[str, Any]:
    """Case, machine and commit."""
    return {"case": asdict(case), "machine": machine(), "commit": commit()}


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON line a case: the large tomogram is planned, the other one is run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stop-s", type=float, default=1e9, help="end the prediction after that")
    parser.add_argument("--tiny", action="store_true", help="seconds instead of an hour")
    parser.add_argument("--folder", type=Path, help="where files go; a temporary one if not given")
    options = parser.parse_args(argv)
    print(json.dumps({**describe(LARGE), **plan(LARGE)}), flush=True)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        case = TINY if options.tiny else EIGHTH
        print(json.dumps(measure(case, Path(name), options.stop_s)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
