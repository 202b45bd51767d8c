"""Semantic segmentation: a volume's address in, a class map on disk out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

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
from volproc.graph.predict import Settings, check_input, make_job
from volproc.graph.predict_job import Product, ProductKind
from volproc.graph.predict_work import PredictWork, read_batches
from volproc.graph.scaling import ScalingRule, run_scaling
from volproc.graph.spill import Spill
from volproc.io.chunk_files import write_bytes
from volproc.io.open import VoxelSize, open_
from volproc.models.devices import choose_device
from volproc.models.loading import DEFAULT_MODEL, read_spec
from volproc.models.normalization import Scaling
from volproc.plan.inference import Plan
from volproc.workflows.checksums import (
    collect_checksums,
    refuse_checksums,
    write_checksums,
)
from volproc.workflows.outputs import STAGE, STORY, Outputs
from volproc.workflows.plan import Head, SegmentPlan, plan_head, plan_run
from volproc.workflows.predict_stage import (
    revoke_damaged,
    run_blocks,
)
from volproc.workflows.record import named_beside, record_path, work_path, write_record
from volproc.workflows.unchanged import refuse_changed

Probabilities = Literal["none", "float16", "uint8"]

SCALING_FILE = "scaling.json"
"""File of a work folder with the statistics of the volume: they are found once a run."""

BATCHES_FILE = "batches.json"
"""File of a work folder with the batch sizes that were tried where memory was short."""


@dataclass(frozen=True, slots=True)
class SegmentTask:
    """A semantic segmentation, fully described.

    Parameters
    ----------
    address : str
        Volume to segment; see `volproc.open`.
    output : str
        Class map to write; the ending names the format.
    model : str
        Model file, or the name of embedded weights.
    trust_model : bool
        Also take a TorchScript program or a pickled network; loading one runs what is in it.
    settings : Settings
        How the network is slid.
    voxel_size : float or tuple of float
        Å per voxel, where the file gives none or a wrong one.
    override_voxel_size : bool
        Use ``voxel_size`` even where a valid header contradicts it.
    selection : dict
        ``t``, ``c``, ``level``, ``dataset`` of the input.
    probabilities : {"none", "float16", "uint8"}
        Also store a probability per class, as OME-Zarr.
    probabilities_output : str
        Where; by default ``<output>_probabilities.zarr``.
    chunks : tuple of int
        Blocks; by default as large as memory allows.
    host_limit : int
        Memory of one worker, bytes; by default what is free, shared by the workers.
    overwrite : bool
        Replace outputs that exist, once the new ones are whole; and throw away an unfinished
        run that was begun otherwise.
    resume : bool
        Take outputs that exist for the result, where their record says that they were made as
        they would be made now; they are refused otherwise.
    checksums : bool
        Keep a checksum of the stored chunks of each block, and look at it before a block of a
        killed run counts as finished. OME-Zarr only; sizes of chunk files are looked at always.
    """

    address: str
    output: str
    model: str = DEFAULT_MODEL
    settings: Settings = field(default_factory=Settings)
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    probabilities: Probabilities = "none"
    probabilities_output: str = ""
    chunks: Shape | None = None
    host_limit: int | None = None
    overwrite: bool = False
    resume: bool = False
    checksums: bool = False
    trust_model: bool = False

    def open(self) -> Volume:
        """Open the input; only its head is read."""
        return open_(
            self.address,
            voxel_size=self.voxel_size,
            on_conflict="override" if self.override_voxel_size else "error",
            **self.selection,
        )

    def read_model(self) -> ModelSpec:
        """Read what the model is; it is not loaded."""
        return read_spec(self.model, trust_model=self.trust_model)

    @property
    def probabilities_address(self) -> str:
        """Where probabilities go; empty if they are not wanted."""
        if self.probabilities == "none":
            return ""
        if self.probabilities_output:
            return self.probabilities_output
        return str(named_beside(self.output, "_probabilities.zarr"))


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """What a segmentation left behind."""

    output: str
    """Class map."""

    probabilities: str
    """Probabilities; empty where none were asked for."""

    record: Path
    """Settings, versions, hashes and statistics."""

    plan: Plan
    """How it was cut."""

    num_skipped: int
    """Blocks that an earlier, killed run had finished."""

    was_finished: bool = False
    """Whether an earlier run had finished all of it, and nothing was done now."""


def plan_segment(task: SegmentTask, *, num_workers: int = 1) -> SegmentPlan:
    """Say what a segmentation will take, from heads of files alone.

    Raises
    ------
    VolprocError
        What opening the input and reading the model raise, and if the network cannot take the
        volume. The plan is not validated.
    """
    volume, spec = task.open(), task.read_model()
    check_input(volume, spec)
    planned = replace(task, chunks=_chosen_chunks(task))
    return plan_run(planned, spec, Head.of(volume), num_workers=num_workers)


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
        If the output was finished or begun with other settings, weights or input.
    VolprocError
        If the input, the model, the plan or an output cannot be used; nothing is left behind
        then. Other errors inside a block leave the unfinished run, ready to go on.
    """
    runner = executor or SerialExecutor()
    if task.host_limit is None:
        task = replace(task, host_limit=memory_of_call(runner))
    volume, spec = task.open(), task.read_model()
    check_input(volume, spec)
    _say_voxel_size(volume, spec, observe)
    plan = _plan(task, volume, spec, runner.num_workers)
    plan.validate()
    outputs = _outputs(task, volume, spec)
    description = _describe(task, _source(volume), spec, plan)
    if task.resume and outputs.are_finished(_wanted(volume, description)):
        record = record_path(task.output)
        return SegmentReport(
            task.output, task.probabilities_address, record, plan, len(plan.grid), was_finished=True
        )
    if task.checksums:
        refuse_checksums(outputs.addresses.values())
    outputs.refuse(runner)
    known = _known_scaling(task, description) or _find_scaling(task, volume, spec, runner, observe)
    ledger = outputs.begin(description, observe)
    write_bytes(Path(ledger.folder) / SCALING_FILE, json.dumps(known).encode())
    sinks = outputs.create(plan.chunks, ledger, runner)
    try:
        job = make_job(
            _source(volume),
            spec,
            task.settings,
            plan,
            Spill(str(Path(ledger.folder) / "spill")),
            tuple(Product(kind, sink) for kind, sink in sinks.items()),
        )
        notes = Path(ledger.folder) / BATCHES_FILE
        work = PredictWork(job, Scaling(**known["scaling"]), task.checksums, str(notes))
        revoke_damaged(work, ledger, runner, observe)
        num_skipped = run_blocks(work, ledger, runner, observe)
        refuse_changed(task.open, _source(volume))
        batches = read_batches(notes)
        checksums = collect_checksums(STAGE, work, ledger) if task.checksums else {}
        observe(Event("note", STAGE, text="writing pyramids and attributes"))
        outputs.finish(sinks, ledger, runner, observe)
    except (ModelError, ConfigError, InputChangedError):
        outputs.abandon(sinks, ledger)
        raise
    facts = {**description, **_facts(task, volume, spec), **known}
    if batches:
        facts["smaller_batches"] = batches
    if checksums:
        write_checksums(task.output, checksums)
    record = write_record(task.output, STORY, facts)
    ledger.remove()
    return SegmentReport(task.output, task.probabilities_address, record, plan, num_skipped)


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


def _facts(task: SegmentTask, volume: Volume, spec: ModelSpec) -> dict[str, Any]:
    """What the record says beside the description of the run."""
    return {
        "address": task.address,
        "selection": task.selection,
        "output": task.output,
        "voxel_size_angstrom": volume.voxel_size,
        "classes": dict(zip(spec.classes, range(spec.num_classes), strict=True)),
        "radii_angstrom": spec.radii,
        "model_file": spec.weights,
        "device": str(choose_device(task.settings.device)),
        "probabilities": task.probabilities_address,
    }


def _plan(task: SegmentTask, volume: Volume, spec: ModelSpec, num_workers: int) -> Plan:
    chunks = _chosen_chunks(task)
    return plan_head(task, spec, Head.of(volume), num_workers=num_workers, chunks=chunks)


def _chosen_chunks(task: SegmentTask) -> Shape | None:
    """Blocks that the task or its unfinished run has; None where they are free."""
    if task.chunks is not None:
        return task.chunks
    # An unfinished run keeps its blocks, whatever memory and workers there are today.
    before = _unfinished(task).get("chunks")
    return tuple(before) if before else None


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


def _outputs(task: SegmentTask, volume: Volume, spec: ModelSpec) -> Outputs:
    addresses: dict[ProductKind, str] = {"classes": task.output}
    if task.probabilities != "none":
        addresses["probabilities"] = task.probabilities_address
    return Outputs(addresses, task.probabilities, volume, spec, task.overwrite)


def describe_settings(task: SegmentTask, spec: ModelSpec) -> dict[str, Any]:
    """Everything that the voxels of the outputs depend on, beside the input; JSON values."""
    settings = asdict(task.settings)
    settings["tta"] = [view.name for view in task.settings.views]
    settings["device"] = choose_device(task.settings.device).type
    return {
        "model_sha256": spec.sha256,
        "model": spec.fingerprint(),
        "settings": settings,
        "stored_probabilities": task.probabilities,
    }


def _describe(task: SegmentTask, source: Source, spec: ModelSpec, plan: Plan) -> dict[str, Any]:
    """Everything that the voxels of the outputs and the cut of the blocks depend on."""
    return {
        "input": source.identity(),
        **describe_settings(task, spec),
        "shape": list(plan.job.shape),
        "chunks": list(plan.chunks),
    }


def _wanted(volume: Volume, description: dict[str, Any]) -> dict[str, Any]:
    """What the record of a finished run has to say; how it was cut does not matter."""
    cut = ("chunks",)
    wanted = {key: value for key, value in description.items() if key not in cut}
    return {**wanted, "voxel_size_angstrom": volume.voxel_size}


def _source(volume: Volume) -> Source:
    if volume.source is None:
        msg = f"{os.fspath(volume.address)} has no source to read from. Open it with volproc.open."
        raise ConfigError(msg)
    return volume.source
