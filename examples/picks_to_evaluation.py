"""From picks to a score: targets, training, segmentation, localization, evaluation, on phantoms.

    python examples/picks_to_evaluation.py --output demonstration
    python examples/picks_to_evaluation.py --output tried --quick

Makes a copick project of phantoms whose particles are known, and runs the commands that are
printed. The network is trained in about three minutes of one processor; ``--quick`` takes
seconds and learns nothing. The score is that of phantoms that training has not seen: F4, where a
pick is right within half of the particle's radius. It goes to ``OUTPUT/figures.json``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path

from volproc.cli.main import run
from volproc.io.copick_project import ProjectObject, add_tomogram, create_project
from volproc.io.points import write_points
from volproc.phantoms.phantom import Phantom
from volproc.phantoms.spec import DEFAULT_CLASSES, PhantomSpec

CLASSES = tuple(c for c in DEFAULT_CLASSES if c.name != "proteasome")
SPEC = PhantomSpec((64, 96, 96), noise=0.4, crowding=8.0, membranes=0.3, classes=CLASSES)
RUNS = {"train": 6, "validate": 2, "unseen": 2}
SCHEDULE = "--num-epochs 12 --steps-per-epoch 30 --val-interval 3"

QUICK_SPEC = replace(SPEC, shape=(40, 56, 56))
QUICK_RUNS = {"train": 1, "validate": 1, "unseen": 1}
QUICK_SCHEDULE = "--num-epochs 1 --steps-per-epoch 2 --dim-in 16 --channels 4,8 --strides 2"


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Sizes of the demonstration."""

    spec: PhantomSpec
    runs: dict[str, int]
    schedule: str


def main() -> None:
    """Make the project, run the commands, print the score."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="seconds; learns nothing")
    options = parser.parse_args()
    sizes = (
        Demonstration(QUICK_SPEC, QUICK_RUNS, QUICK_SCHEDULE)
        if options.quick
        else Demonstration(SPEC, RUNS, SCHEDULE)
    )
    project, runs = make_project(options.output, sizes)
    model, scores = options.output / "model", options.output / "scores"
    train, validate, unseen = (",".join(runs[part]) for part in RUNS)
    seconds = {}
    for command in (
        f"create-targets --config {project} --picks-user-id truth --picks-session-id 1",
        f"train semantic --config {project} --train-run-ids {train} --validate-run-ids {validate} "
        f"{sizes.schedule} --output {model}",
        f"segment semantic {project}:*/wbp@10 --run-ids {unseen} --model {model}/best.pt "
        f"--output {project}:*/predict:volproc/1@10 --tta octopi4 --overlap 0.5",
        f"localize {project}:*/predict:volproc/1@10 --run-ids {unseen} "
        f"--output {project}:*/:volproc/1",
        f"evaluate --config {project} --run-ids {unseen} --ground-truth-user-id truth "
        f"--predict-user-id volproc --distance-threshold-scale 0.5 --fbeta 4 --output {scores}",
    ):
        if command.startswith("evaluate") and not found_any(options.output, unseen):
            print("no particle was found in what training has not seen: there is nothing to score")
            return
        print(f"volproc {command}", flush=True)
        begun = time.process_time()
        if run([*shlex.split(command), "--quiet"]):
            raise SystemExit(1)
        seconds[command.split()[0]] = round(time.process_time() - begun, 1)
    figures = {"cpu_seconds": seconds, "scores": json.loads((scores / "scores.json").read_text())}
    (options.output / "figures.json").write_text(json.dumps(figures, indent=2) + "\n")
    print("CPU seconds:", ", ".join(f"{name} {value}" for name, value in seconds.items()))


def make_project(folder: Path, sizes: Demonstration) -> tuple[Path, dict[str, list[str]]]:
    """Make a copick project with a tomogram and true picks in each run.

    Returns
    -------
    project : Path
        The configuration file.
    runs : dict of str to list of str
        Names of the runs that are trained on, validated and kept unseen.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects = [
        ProjectObject(item.name, number, item.radius_angstrom)
        for number, item in enumerate(sizes.spec.classes, 1)
    ]
    project = create_project(folder / "project.json", objects=objects)
    runs: dict[str, list[str]] = {}
    seed = 7000
    for part, count in sizes.runs.items():
        runs[part] = []
        for _ in range(count):
            seed += 1
            name = f"TS-{seed}"
            runs[part].append(name)
            phantom = Phantom(replace(sizes.spec, seed=seed))
            add_tomogram(project, name, "wbp", phantom.read(), voxel_size=10.0)
            write_points(phantom.points(), f"{project}:{name}/:truth/1")
    return project, runs


def found_any(folder: Path, unseen: str) -> bool:
    """Whether there are picks of volproc in any of the runs that training has not seen."""
    runs = folder / "project" / "ExperimentRuns"
    return any(any(runs.glob(f"{run}/Picks/volproc_1_*.json")) for run in unseen.split(","))


if __name__ == "__main__":
    main()
