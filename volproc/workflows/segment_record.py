"""What a segmentation depends on, as its markers and its record say it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from volproc.core.arrays import Source
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.settings import Models, as_models
from volproc.models.devices import choose_device
from volproc.plan.inference import Plan
from volproc.workflows.segment_task import SegmentTask


def describe_settings(task: SegmentTask, model: Models) -> dict[str, Any]:
    """Everything that the voxels of the outputs depend on, beside the input; JSON values.

    Notes
    -----
    What an earlier version did not know is said only where it is used, so that its unfinished runs
    go on and its finished ones can be verified.
    """
    specs = as_models(model)
    settings = asdict(task.settings)
    settings["tta"] = [view.name for view in task.settings.views]
    settings["device"] = choose_device(task.settings.device).type
    if settings["tta_grid"] == "patch":
        del settings["tta_grid"]
    stored = {f"stored_{kind}": dtype for kind, dtype in task.stored.items()}
    return {
        "model_sha256": one_or_all([spec.sha256 for spec in specs]),
        "model": one_or_all([spec.fingerprint() for spec in specs]),
        "settings": settings,
        "stored_probabilities": task.probabilities,
        **stored,
    }


def describe_run(task: SegmentTask, source: Source, model: Models, plan: Plan) -> dict[str, Any]:
    """Everything that the voxels of the outputs and the cut of the blocks depend on."""
    return {
        "input": source.identity(),
        **describe_settings(task, model),
        "shape": list(plan.job.shape),
        "chunks": list(plan.chunks),
    }


def wanted_of(volume: Volume, description: dict[str, Any]) -> dict[str, Any]:
    """What the record of a finished run has to say; how it was cut does not matter."""
    cut = ("chunks",)
    wanted = {key: value for key, value in description.items() if key not in cut}
    return {**wanted, "voxel_size_angstrom": volume.voxel_size}


def facts_of(task: SegmentTask, volume: Volume, specs: tuple[ModelSpec, ...]) -> dict[str, Any]:
    """What the record says beside the description of the run."""
    spec = specs[0]
    facts = {
        "address": task.address,
        "selection": task.selection,
        "output": task.output,
        "voxel_size_angstrom": volume.voxel_size,
        "classes": dict(zip(spec.classes, range(spec.num_classes), strict=True)),
        "radii_angstrom": spec.radii,
        "model_file": model_files(specs),
        "device": str(choose_device(task.settings.device)),
        "probabilities": task.probabilities_address,
    }
    if any(one.config for one in specs):
        facts["model_config"] = one_or_all([one.config for one in specs])
    if task.labels:
        facts["labels"] = task.labels
    return {**facts, **{str(kind): task.addresses[kind] for kind in task.stored}}


def model_files(specs: tuple[ModelSpec, ...]) -> str | list[str]:
    """Files of weights: of one model, or of each of several."""
    return one_or_all([spec.weights for spec in specs])


def one_or_all(values: list[str]) -> str | list[str]:
    """Text of one model, or a list of those of several."""
    return values[0] if len(values) == 1 else values
