"""A raw tomogram becomes a denoised one, by CryoSiam's denoiser, tile by tile."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from volproc.core.arrays import PyramidSink, Sink, Source
from volproc.core.errors import (
    AddressError,
    ClusterError,
    InputChangedError,
    ModelError,
    ResumeError,
)
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, memory_of_call, pool_of
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.denoise import PERCENTILES, ScaledSource, percentile_rule
from volproc.graph.ledger import Ledger
from volproc.graph.predict import check_input
from volproc.graph.predict_job import Product
from volproc.graph.scaling import run_scaling
from volproc.graph.settings import Compat, Settings
from volproc.graph.tile_block_work import TileBlockWork
from volproc.graph.tile_settings import make_tile_job, plan_tiles
from volproc.io.chunk_files import write_bytes
from volproc.io.create import create
from volproc.io.open import VoxelSize, inspect, open_
from volproc.models.cryosiam import read_cryosiam_denoiser
from volproc.models.devices import choose_device, device_bytes
from volproc.models.normalization import Scaling
from volproc.plan.storage import storage_chunks
from volproc.plan.tile_plan import TilePlan
from volproc.plan.tiles import HaloTiles
from volproc.workflows.outputs import FINISH, STAGE
from volproc.workflows.plan import Head
from volproc.workflows.predict_stage import revoke_damaged, run_blocks
from volproc.workflows.pyramids import build_pyramid
from volproc.workflows.record import (
    file_number,
    is_gone,
    made_so,
    make_room,
    record_path,
    tidy_room,
    work_path,
    write_record,
)
from volproc.workflows.sole_run import WAIT_S, sole_run
from volproc.workflows.unchanged import refuse_changed

STORY = "denoise"
"""What records say that made such tomograms."""

SCALING_FILE = "scaling.json"
"""File of a work folder with the constants of the volume."""


@dataclass(frozen=True, slots=True)
class DenoiseTask:
    """Which tomogram, with which denoiser, and how.

    Parameters
    ----------
    address, output : str
        Tomogram to read, and to write; see `volproc.open`.
    model : str
        CryoSiam's checkpoint of a denoiser.
    is_inverted, percentiles, replace_nonfinite, compat, device
        As in `volproc.cryosiam_denoise`.
    chunks : tuple of int
        What a tile keeps, rounded up to the network's stride; by default as memory allows.
    host_limit : int
        Memory of one worker, bytes; by default what is free, shared by the workers.
    voxel_size, override_voxel_size, selection
        As in `volproc.workflows.convert.convert`.
    overwrite : bool
        Replace a tomogram that exists, and an unfinished run that was begun otherwise.
    resume : bool
        Take a finished tomogram that was made so for the result.
    """

    address: str
    output: str
    model: str
    is_inverted: bool = True
    percentiles: tuple[float, float] = PERCENTILES
    replace_nonfinite: float | None = None
    compat: Compat = "none"
    device: str = "auto"
    chunks: tuple[int, ...] | None = None
    host_limit: int | None = None
    voxel_size: VoxelSize | None = None
    override_voxel_size: bool = False
    selection: dict[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    resume: bool = False

    @property
    def settings(self) -> Settings:
        """How the network is run."""
        return Settings(device=self.device, compat=self.compat)

    def open(self) -> Volume:
        """Open the tomogram."""
        return open_(
            self.address,
            voxel_size=self.voxel_size,
            on_conflict="override" if self.override_voxel_size else "error",
            **self.selection,
        )


@dataclass(frozen=True, slots=True)
class DenoiseReport:
    """What a run left behind."""

    output: str
    """The denoised tomogram."""

    record: Path
    """Settings, versions, hashes and constants."""

    num_skipped: int = 0
    """Tiles that an earlier, killed run had finished."""

    was_finished: bool = False
    """Whether an earlier run had finished all of it, and nothing was done now."""


def denoise(
    task: DenoiseTask, *, executor: Executor | None = None, observe: Observer = ignore
) -> DenoiseReport:
    """Denoise one tomogram, tile by tile, into a file.

    Parameters
    ----------
    task : DenoiseTask
        What to do.
    executor, observe
        Where tiles are computed, and who watches.

    Returns
    -------
    report : DenoiseReport

    Raises
    ------
    ExistsError, ResumeError
        If the output is there, was begun otherwise, or is written by another process.
    VolprocError
        If the tomogram, the model or the output cannot be used; nothing is left behind then.

    Notes
    -----
    The tomogram is read three times for its percentiles. A killed run goes on with the tiles that
    are left when it is given again; the output has its name only when it is whole.
    """
    runner = executor or SerialExecutor()
    volume, spec = task.open(), read_cryosiam_denoiser(task.model)
    check_input(volume, spec)
    source = volume.source
    assert source is not None  # an opened volume has one
    rule = percentile_rule(task.percentiles, task.replace_nonfinite, volume.name)
    plan = _plan(task, volume, spec, runner)
    plan.validate()
    wanted = _wanted(task, volume, spec, source)
    with sole_run(record_path(task.output), wait_s=WAIT_S):
        if task.resume and _is_there(task, volume) and made_so(task.output, STORY, wanted):
            return DenoiseReport(task.output, record_path(task.output), was_finished=True)
        _refuse(task, volume, runner)
        description = {**wanted, "chunks": list(plan.chunks), "slab": _slab(plan)}
        scaling = _known_scaling(task, description)
        if scaling is None:
            scaling, _ = run_scaling(
                ScaledSource(source, task.is_inverted),
                rule,
                executor=pool_of(runner, "cpu"),
                observe=observe,
            )
        scaled = ScaledSource(source, task.is_inverted, scaling)
        num_skipped = _run(task, volume, spec, plan, scaled, description, runner, observe)
        facts = {**description, "output": task.output, "scaling": scaling.to_json()}
        record = write_record(task.output, STORY, facts)
        Ledger.begin(work_path(task.output), description).remove()
    return DenoiseReport(task.output, record, num_skipped)


def _run(
    task: DenoiseTask,
    volume: Volume,
    spec: ModelSpec,
    plan: TilePlan,
    scaled: ScaledSource,
    description: dict[str, Any],
    runner: Executor,
    observe: Observer,
) -> int:
    """Compute the tiles that are left; return how many were not."""
    ledger = Ledger.begin(work_path(task.output), description, restart=task.overwrite)
    named = ledger.result(FINISH, (0,))
    if named and named["file"] and named["file"] == file_number(task.output):
        return len(plan.grid)  # it was killed after that
    if ledger.has_any(STAGE) and is_gone(task.output):
        ledger.remove()  # markers without what they speak of
        ledger = Ledger.begin(work_path(task.output), description)
    path = Path(ledger.folder) / SCALING_FILE
    write_bytes(path, json.dumps(scaled.scaling.to_json()).encode())
    sink = _create(task, volume, plan, resume=ledger.has_any(STAGE))
    products = (Product("intensity", sink),)
    work = TileBlockWork(make_tile_job(scaled, spec, task.settings, plan, products))
    try:
        revoke_damaged(work, ledger, runner, observe)
        num_skipped = run_blocks(work, ledger, runner, observe)
        refuse_changed(task.open, scaled.source)
    except (ModelError, InputChangedError):
        sink.discard()
        ledger.remove()
        raise
    observe(Event("note", STAGE, text="writing pyramids and attributes"))
    record_path(task.output).unlink(missing_ok=True)  # it would speak for the new one
    if isinstance(sink, PyramidSink):
        build_pyramid(sink, "intensity", executor=runner, observe=observe)
    ledger.commit(FINISH, (0,), {"file": file_number(task.output, is_partial=True)})
    if isinstance(sink, PyramidSink):
        sink.seal()
    else:
        sink.finish()
    return num_skipped


def _plan(task: DenoiseTask, volume: Volume, spec: ModelSpec, runner: Executor) -> TilePlan:
    """Tiles that fit, or those of an unfinished run."""
    head, workers = Head.of(volume), runner.num_workers
    free = psutil.virtual_memory().available // workers
    before = _unfinished(task)
    chunks = task.chunks or before.get("chunks")
    slab = before.get("slab") if list(chunks or ()) == before.get("chunks") else None
    return plan_tiles(
        task.settings,
        spec,
        shape=head.shape,
        dtype=head.dtype,
        storage_chunks=head.decoded_chunks,
        chunks=None if chunks is None else tuple(chunks),
        slab=slab,
        stored={"intensity": np.dtype(np.float32).itemsize},
        host_limit=task.host_limit or memory_of_call(runner) or int(free),
        device_limit=device_bytes(choose_device(task.device)),
        num_workers=workers,
    )


def _unfinished(task: DenoiseTask) -> dict[str, Any]:
    """Description of the unfinished run of the same output, if it was of the same kind."""
    try:
        before = Ledger.unfinished(work_path(task.output))
    except ResumeError:
        if task.overwrite:
            return {}
        raise
    return before if before.get("compat") == task.compat else {}


def _slab(plan: TilePlan) -> int | None:
    """Planes that are computed at once: other planes are other bits."""
    tiles = plan.grid.tiles
    return tiles.slab if isinstance(tiles, HaloTiles) else None


def _wanted(task: DenoiseTask, volume: Volume, spec: ModelSpec, source: Source) -> dict[str, Any]:
    """What the result depends on; JSON values."""
    return {
        "input": source.identity(),
        "voxel_size_angstrom": list(volume.voxel_size),
        "model": spec.fingerprint(),
        "model_file": spec.weights,
        "is_inverted": task.is_inverted,
        "percentiles": list(task.percentiles),
        "replace_nonfinite": task.replace_nonfinite,
        "compat": task.compat,
        "device": choose_device(task.device).type,
    }


def _known_scaling(task: DenoiseTask, description: dict[str, Any]) -> Scaling | None:
    """Constants that an unfinished run of the same description has found."""
    path = work_path(task.output) / SCALING_FILE
    if not (path.is_file() and Ledger.is_begun(work_path(task.output), description)):
        return None
    try:
        return Scaling(**json.loads(path.read_text()))
    except (ValueError, TypeError):
        return None  # damaged: they are found again


def _refuse(task: DenoiseTask, volume: Volume, runner: Executor) -> None:
    """Refuse an output that cannot be written, before any work, by laying it out."""
    if work_path(task.output).exists():
        return  # an unfinished run: its ledger decides
    make_room(task.output)
    try:
        sink = _create(task, volume, None, resume=False)
        sink.discard()
        if not sink.is_parallel and getattr(runner, "has_processes", False):
            msg = (
                f"{task.output} can be written by one process only, and tiles run in several. "
                "Write OME-Zarr and convert it afterwards, or use --cluster serial or threads."
            )
            raise ClusterError(msg)
    finally:
        tidy_room(task.output)


def _create(task: DenoiseTask, volume: Volume, plan: TilePlan | None, *, resume: bool) -> Sink:
    return create(
        task.output,
        shape=volume.shape,
        dtype=np.dtype(np.float32),
        voxel_size=volume.voxel_size,
        origin=volume.origin,
        kind="intensity",
        chunks=None if plan is None else storage_chunks(plan.chunks),
        overwrite=task.overwrite,
        resume=resume,
    )


def _is_there(task: DenoiseTask, volume: Volume) -> bool:
    try:
        return inspect(task.output).source.shape == volume.shape
    except AddressError:
        return False
