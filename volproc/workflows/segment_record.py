"""What a segmentation depends on, as its markers and its record say it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from volproc.core.arrays import Source
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.settings import Models, as_models
from volproc.models.devices import choose_device
from volproc.plan.tile_plan import TilePlan
from volproc.plan.tiles import HaloTiles
from volproc.workflows.plan import AnyPlan
from volproc.workflows.segment_task import SegmentTask

LATER = {"tta_grid": "patch", "compat": "none", "threshold": None, "intensity": None}
"""Settings that the first version did not have, and what they are where they are not said."""


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
    for name, usual in LATER.items():
        if settings[name] == usual:
            del settings[name]
    if task.settings.intensity is not None:
        settings["intensity"] = list(task.settings.intensity)
    if task.mask:
        settings["is_masked"] = True
    stored = {f"stored_{kind}": dtype for kind, dtype in task.stored.items()}
    return {
        "model_sha256": one_or_all([spec.sha256 for spec in specs]),
        "model": one_or_all([spec.fingerprint() for spec in specs]),
        "settings": settings,
        "stored_probabilities": task.probabilities,
        **stored,
    }


def describe_run(
    task: SegmentTask,
    source: Source,
    model: Models,
    plan: AnyPlan,
    mask: PhysicalMask | None = None,
) -> dict[str, Any]:
    """Everything that the voxels of the outputs and the cut of the blocks depend on."""
    return {
        "input": source.identity(),
        **describe_settings(task, model),
        "shape": list(plan.grid.shape),
        "chunks": list(plan.chunks),
        **_planes_of(plan),
        **({} if mask is None else {"mask": mask.source.identity()}),
    }


def _planes_of(plan: AnyPlan) -> dict[str, int]:
    """Planes that are computed at once, on which the last bits of tiles depend."""
    tiles = plan.grid.tiles if isinstance(plan, TilePlan) else None
    return {"slab": tiles.slab} if isinstance(tiles, HaloTiles) else {}


def wanted_of(volume: Volume, description: dict[str, Any]) -> dict[str, Any]:
    """What the record of a finished run has to say; how it was cut does not matter."""
    cut = ("chunks", "slab")
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
    if task.mask:
        facts["mask_address"] = task.mask
    return {**facts, **{str(kind): task.addresses[kind] for kind in task.stored}}


def model_files(specs: tuple[ModelSpec, ...]) -> str | list[str]:
    """Files of weights: of one model, or of each of several."""
    return one_or_all([spec.weights for spec in specs])


def one_or_all(values: list[str]) -> str | list[str]:
    """Text of one model, or a list of those of several."""
    return values[0] if len(values) == 1 else values
