"""Semantic segmentation: a volume's address in, a class map on disk out."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from volproc.core.arrays import Source
from volproc.core.errors import (
    ConfigError,
    InputChangedError,
    ModelError,
    ResumeError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, memory_of_call, pool_of
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.ledger import Ledger
from volproc.graph.mask_input import check_mask, open_mask
from volproc.graph.physical_mask import PhysicalMask
from volproc.graph.predict import check_input, make_job
from volproc.graph.predict_job import Product
from volproc.graph.predict_work import PredictWork, read_batches
from volproc.graph.scaling import ScalingRule, run_scaling
from volproc.graph.spill import Spill
from volproc.graph.tile_block_work import TileBlockWork
from volproc.graph.tile_settings import make_tile_job
from volproc.io.chunk_files import write_bytes
from volproc.models.cryosiam_options import is_cryosiam
from volproc.models.normalization import Scaling
from volproc.plan.tile_plan import TilePlan
from volproc.workflows.checksums import (
    collect_checksums,
    refuse_checksums,
    write_checksums,
)
from volproc.workflows.contrast import contrast_outside
from volproc.workflows.outputs import STAGE, STORY, Outputs, Sinks
from volproc.workflows.plan import AnyPlan, Head, SegmentPlan, plan_head, plan_run
from volproc.workflows.predict_stage import (
    BlockWork,
    revoke_damaged,
    run_blocks,
)
from volproc.workflows.record import record_path, work_path, write_record
from volproc.workflows.segment_record import describe_run, facts_of, wanted_of
from volproc.workflows.segment_task import SegmentTask
from volproc.workflows.sole_run import WAIT_S, sole_run
from volproc.workflows.unchanged import refuse_changed

SCALING_FILE = "scaling.json"
"""File of a work folder with the statistics of the volume: they are found once a run."""

BATCHES_FILE = "batches.json"
"""File of a work folder with the batch sizes that were tried where memory was short."""


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """What a segmentation left behind."""

    output: str
    """Class map."""

    probabilities: str
    """Probabilities; empty where none were asked for."""

    record: Path
    """Settings, versions, hashes and statistics."""

    plan: AnyPlan
    """How it was cut."""

    num_skipped: int
    """Blocks that an earlier, killed run had finished."""

    maps: dict[str, str] = field(default_factory=dict)
    """Other maps that were asked for, by kind."""

    was_finished: bool = False
    """Whether an earlier run had finished all of it, and nothing was done now."""

    tiles: dict[str, int] = field(default_factory=dict)
    """Of a network of CryoSiam: tiles that were ``computed``, and those ``outside`` the mask; of
    earlier, killed runs too."""


def plan_segment(task: SegmentTask, *, num_workers: int = 1) -> SegmentPlan:
    """Say what a segmentation will take, from heads of files alone.

    Raises
    ------
    VolprocError
        What opening the input and reading the model raise, and if the network cannot take the
        volume. The plan is not validated.
    """
    volume, specs = task.open(), task.read_models()
    check_input(volume, specs[0])
    planned = replace(task, chunks=_chosen_chunks(task))
    return plan_run(planned, specs, Head.of(volume), num_workers=num_workers)


def segment(
    task: SegmentTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> SegmentReport:
    """Segment a volume, block by block, into files.

    A killed run goes on when the same task is run again: finished blocks are known by their
    markers. Outputs have their names only when they are whole.

    Parameters
    ----------
    task : SegmentTask
        What is to be done.
    executor : Executor
        Where blocks run; in this thread by default.
    observe : callable
        Takes events.

    Returns
    -------
    report : SegmentReport

    Raises
    ------
    ResumeError
        If the output was finished or begun with other settings, weights or input, or if another
        process is at it.
    VolprocError
        If the input, the model, the plan or an output cannot be used; nothing is left behind
        then. Other errors inside a block leave the unfinished run, ready to go on.
    """
    runner = executor or SerialExecutor()
    if task.host_limit is None:
        task = replace(task, host_limit=memory_of_call(runner))
    volume, specs = task.open(), task.read_models()
    spec = specs[0]
    check_input(volume, spec)
    _say_voxel_size(volume, spec, observe)
    plan = _plan(task, volume, specs, runner.num_workers)
    plan.validate()
    mask = open_mask(task.mask, volume.shape, volume.voxel_size) if task.mask else None
    outputs = Outputs(task.addresses, task.stored, volume, spec, task.overwrite)
    description = describe_run(task, _source(volume), specs, plan, mask)
    if task.checksums:
        refuse_checksums(outputs.addresses.values())
    with sole_run(record_path(task.output), wait_s=WAIT_S):
        if task.resume and outputs.are_finished(wanted_of(volume, description)):
            record = record_path(task.output)
            return SegmentReport(
                task.output,
                task.probabilities_address,
                record,
                plan,
                len(plan.grid),
                _maps_of(task),
                was_finished=True,
            )
        outputs.refuse(runner)
        if mask is not None:
            check_mask(mask, executor=pool_of(runner, "cpu"), observe=observe)
        return _run(task, volume, specs, plan, mask, outputs, description, runner, observe)


def _run(
    task: SegmentTask,
    volume: Volume,
    specs: tuple[ModelSpec, ...],
    plan: AnyPlan,
    mask: PhysicalMask | None,
    outputs: Outputs,
    description: dict[str, Any],
    runner: Executor,
    observe: Observer,
) -> SegmentReport:
    """Do what is planned, as the only process that does."""
    known = _known_scaling(task, description) or _find_scaling(
        task, volume, specs[0], runner, observe
    )
    _say_contrast(task, specs[0], known["statistics"], observe)
    ledger = outputs.begin(description, observe)
    write_bytes(Path(ledger.folder) / SCALING_FILE, json.dumps(known).encode())
    sinks = outputs.create(plan.chunks, ledger, runner)
    try:
        notes = Path(ledger.folder) / BATCHES_FILE
        work = _make_work(task, volume, specs, plan, mask, sinks, known, str(notes))
        revoke_damaged(work, ledger, runner, observe)
        num_skipped = run_blocks(work, ledger, runner, observe)
        refuse_changed(task.open, _source(volume))
        batches, counts = read_batches(notes), _count_tiles(ledger, plan)
        checksums = collect_checksums(STAGE, work, ledger) if task.checksums else {}
        observe(Event("note", STAGE, text="writing pyramids and attributes"))
        outputs.finish(sinks, ledger, runner, observe)
    except (ModelError, ConfigError, InputChangedError):
        outputs.abandon(sinks, ledger)
        raise
    facts = {**description, **facts_of(task, volume, specs), **known}
    if batches:
        facts["smaller_batches"] = batches
    if counts:
        facts["tiles"] = counts
    if checksums:
        write_checksums(task.output, checksums)
    record = write_record(task.output, STORY, facts)
    ledger.remove()
    return SegmentReport(
        task.output,
        task.probabilities_address,
        record,
        plan,
        num_skipped,
        _maps_of(task),
        tiles=counts,
    )


def _make_work(
    task: SegmentTask,
    volume: Volume,
    specs: tuple[ModelSpec, ...],
    plan: AnyPlan,
    mask: PhysicalMask | None,
    sinks: Sinks,
    known: dict[str, Any],
    notes: str,
) -> BlockWork:
    """Bind the blocks of a run to what they need."""
    source = _source(volume)
    products = tuple(Product(kind, sink) for kind, sink in sinks.items())
    if isinstance(plan, TilePlan):
        tiles = make_tile_job(source, specs, task.settings, plan, products, mask=mask)
        return TileBlockWork(tiles, task.checksums)
    spill = Spill(str(Path(notes).parent / "spill"))
    job = make_job(source, specs, task.settings, plan, spill, products)
    return PredictWork(job, Scaling(**known["scaling"]), task.checksums, notes)


def _maps_of(task: SegmentTask) -> dict[str, str]:
    """Addresses of what is stored beside classes and probabilities."""
    return {kind: task.addresses[kind] for kind in task.stored if kind != "probabilities"}


def _count_tiles(ledger: Ledger, plan: AnyPlan) -> dict[str, int]:
    """Tiles that were computed and that were not, of all runs; empty of blended patches."""
    if not isinstance(plan, TilePlan):
        return {}
    facts = [found for _, found in ledger.finished(STAGE)]
    return {
        "computed": sum(found["tiles"] for found in facts),
        "outside": sum(found["outside"] for found in facts),
    }


def _find_scaling(
    task: SegmentTask, volume: Volume, spec: ModelSpec, runner: Executor, observe: Observer
) -> dict[str, Any]:
    """Statistics of the whole volume, and the scaling that follows; JSON values."""
    rule = ScalingRule(spec, task.settings.replace_nonfinite, volume.name)
    scaling, moments = run_scaling(
        _source(volume), rule, executor=pool_of(runner, "cpu"), observe=observe
    )
    statistics = {
        "mean": moments.mean,
        "std": moments.std,
        "min": moments.least,
        "max": moments.greatest,
        "num_nan": moments.num_nan,
        "num_inf": moments.num_inf,
    }
    return {"statistics": statistics, "scaling": scaling.to_json()}


def _known_scaling(task: SegmentTask, description: dict[str, Any]) -> dict[str, Any]:
    """What an unfinished run of the same description has found; empty where there is none."""
    folder = work_path(task.output)
    path = folder / SCALING_FILE
    if not (path.is_file() and Ledger.is_begun(folder, description)):
        return {}
    try:
        return dict(json.loads(path.read_text()))
    except ValueError:
        return {}  # damaged: they are found again


def _plan(
    task: SegmentTask, volume: Volume, specs: tuple[ModelSpec, ...], num_workers: int
) -> AnyPlan:
    chunks, before = _chosen_chunks(task), _unfinished(task)
    # Other planes at once are other bits: an unfinished run keeps them too.
    slab = before.get("slab") if list(chunks or ()) == before.get("chunks") else None
    return plan_head(
        task, specs, Head.of(volume), num_workers=num_workers, chunks=chunks, slab=slab
    )


def _chosen_chunks(task: SegmentTask) -> Shape | None:
    """Blocks that the task or its unfinished run has; None where they are free."""
    if task.chunks is not None:
        return task.chunks
    # An unfinished run keeps its blocks, whatever memory and workers there are today.
    before = _unfinished(task)
    if before.get("settings", {}).get("compat", "none") != task.settings.compat:
        return None  # patches of CryoSiam are cut by themselves
    return tuple(before["chunks"]) if before.get("chunks") else None


def _unfinished(task: SegmentTask) -> dict[str, Any]:
    """Description of the unfinished run of the same output; empty where there is none."""
    try:
        return Ledger.unfinished(work_path(task.output))
    except ResumeError:
        if task.overwrite:
            return {}
        raise


def _say_voxel_size(volume: Volume, spec: ModelSpec, observe: Observer) -> None:
    """Warn where a model was trained at another scale; that is no error, but rarely wanted."""
    if spec.voxel_size and any(abs(v / spec.voxel_size - 1) > 0.05 for v in volume.voxel_size):
        size = " × ".join(f"{v:g}" for v in volume.voxel_size)
        text = (
            f"the model was trained at {spec.voxel_size:g} Å per voxel, the volume has {size} Å: "
            "rescale the volume for good results"
        )
        observe(Event("note", STAGE, text=text))


def _say_contrast(
    task: SegmentTask, spec: ModelSpec, statistics: dict[str, Any], observe: Observer
) -> None:
    """Warn where a network of CryoSiam clips voxels: the volume may not be scaled for it."""
    if not is_cryosiam(spec):
        return
    wanted = task.settings.intensity or spec.params["intensity"]
    if text := contrast_outside(statistics["min"], statistics["max"], wanted):
        text += (
            " is clipped. Denoise and scale the tomogram first, white on black, or give "
            "--intensity."
        )
        observe(Event("note", STAGE, text=text))


def _source(volume: Volume) -> Source:
    if volume.source is None:
        msg = f"{os.fspath(volume.address)} has no source to read from. Open it with volproc.open."
        raise ConfigError(msg)
    return volume.source
