"""Verification: regions of a finished run computed again, compared bit by bit, and certified."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volproc.core.arrays import Source, decoded_chunks
from volproc.core.errors import ConfigError, VerifyError
from volproc.core.events import Event, Observer, ignore
from volproc.core.executor import Executor, SerialExecutor, pool_of
from volproc.core.model import ModelSpec
from volproc.core.volume import Volume
from volproc.graph.predict import Settings, class_type, make_job
from volproc.graph.predict_job import ProductKind
from volproc.graph.run import run_stage
from volproc.graph.scaling import ScalingRule, run_scaling
from volproc.graph.spill import Spill
from volproc.graph.tile_settings import is_tiled
from volproc.io.open import open_
from volproc.models.normalization import Scaling
from volproc.models.views import VIEW_SETS
from volproc.plan.inference import Plan
from volproc.reduce.seam_report import SeamReport
from volproc.workflows.certificate import VerifyReport, certify
from volproc.workflows.checksums import refuse_damaged
from volproc.workflows.record import read_record, record_path, recorded_output, work_path
from volproc.workflows.regions import (
    RegionWork,
    covered,
    differences,
    random_regions,
    shifted_regions,
)
from volproc.workflows.seams import check_seams
from volproc.workflows.segment_record import one_or_all
from volproc.workflows.segment_task import SegmentTask
from volproc.workflows.verify_picks import is_picks, verify_picks

STAGE = "verify"

STORY = "volproc segment semantic"
"""What makes runs that can be verified."""


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run as its record describes it, with input and model as they are now."""

    output: str
    record: dict[str, Any]
    volume: Volume
    source: Source
    specs: tuple[ModelSpec, ...]
    settings: Settings
    plan: Plan

    @property
    def kinds(self) -> dict[ProductKind, str]:
        """Where each output is, the class map first."""
        maps: tuple[ProductKind, ...] = ("probabilities", "maximum", "variance")
        others = {kind: self.record[kind] for kind in maps if self.record.get(kind)}
        return {"classes": self.output, **others}


def verify(
    run: str | os.PathLike[str],
    *,
    regions: int | Literal["all"] = 8,
    seed: int = 0,
    input_address: str = "",
    model: str = "",
    trust_model: bool = False,
    executor: Executor | None = None,
    observe: Observer = ignore,
) -> VerifyReport:
    """Compute a finished run again, under another chunking, and compare what it wrote.

    Regions of a segmentation are compared bit by bit; picks all of them, see `verify_picks`.

    The regions lie otherwise than the blocks of the run, and each is computed for itself from all
    the patches that touch it: another chunking, without anything that blocks hand to each other.
    Constants of the whole volume are found again too. A certificate is written beside the output.

    Parameters
    ----------
    run : str or path
        Class map that ``volproc segment semantic`` wrote, the record beside it, or a folder with
        one such record; or picks of ``volproc localize``.
    regions : int or "all"
        Random regions, each as large as a block; or the whole volume.
    seed : int
        Of the places of the regions.
    input_address, model : str
        Where the input and the model are now, if not where they were.
    trust_model : bool
        As in `volproc.workflows.segment.SegmentTask`.
    executor : Executor
        Where regions run; in this thread by default.
    observe : callable
        Takes events.

    Returns
    -------
    report : VerifyReport

    Raises
    ------
    VerifyError
        If there is no record of a finished run, if the input or the model is not the same any
        more, or if chunk files differ from the checksums that the run kept.
    ConfigError
        If the number of regions makes no sense.

    Notes
    -----
    Reads the input once for its statistics and the class map once for its seams. A region reads
    a patch more on each side, and computes the patches that reach over its border whole: with
    ``"all"`` patches go through the network several times, about
    ``((block + patch) / stride)**3`` for each block instead of ``(block / stride)**3``. Memory is
    that of a block of the run. An older certificate of the same run is replaced.

    Points that were derived from the class map are a run of their own.
    """
    _check_regions(regions)
    runner = executor or SerialExecutor()
    if is_picks(run):
        return verify_picks(run, input_address=input_address, executor=runner, observe=observe)
    found = open_run(run, input_address=input_address, model=model, trust_model=trust_model)
    refuse_damaged({str(k): address for k, address in found.kinds.items()}, found.plan.grid)
    rule = ScalingRule(found.specs[0], found.settings.replace_nonfinite, found.volume.name)
    scaling, _ = run_scaling(found.source, rule, executor=pool_of(runner, "cpu"), observe=observe)
    chunks, shape = found.plan.chunks, found.plan.job.shape
    boxes = (
        shifted_regions(shape, chunks)
        if regions == "all"
        else random_regions(shape, chunks, regions, seed=seed)
    )
    job = make_job(
        found.source,
        found.specs,
        found.settings,
        found.plan,
        Spill(""),
        (),
        has_variance="variance" in found.kinds,
    )
    written, dtypes = _open_outputs(found)
    results: dict[int, dict[str, Any]] = {}
    run_stage(
        STAGE,
        ((i,) for i in range(len(boxes))),
        RegionWork(job, scaling, tuple(boxes), written, dtypes),
        executor=runner,
        observe=observe,
        collect=lambda index, facts: results.__setitem__(index[0], facts),
        total=len(boxes),
    )
    compared = [{k: v for k, v in results[i].items() if k != "time_s"} for i in sorted(results)]
    classes = open_(found.output, voxel_size=found.volume.voxel_size)
    seams = check_seams(classes, chunks=chunks, seed=seed, executor=runner, observe=observe)
    facts = _facts(found, scaling, compared, seams)
    facts |= {"covered": covered(boxes, shape), "regions_wanted": regions, "seed": seed}
    facts["summary"] = summarize(facts)
    observe(Event("note", STAGE, text=facts["summary"]))
    return certify(found.output, facts)


def _facts(
    found: FinishedRun, scaling: Scaling, compared: list[dict[str, Any]], seams: SeamReport
) -> dict[str, Any]:
    """What a certificate says."""
    constants = {"recorded": found.record["scaling"], "computed": scaling.to_json()}
    is_scaled_alike = constants["recorded"] == constants["computed"]
    bad = list(differences(compared))
    record = json.dumps(found.record, sort_keys=True).encode()
    return {
        "verdict": "equal" if is_scaled_alike and not bad else "differs",
        "first_difference": bad[0] if bad else None,
        "output": found.output,
        "chunks_of_run": list(found.plan.chunks),
        "fingerprints": {
            "input": found.source.identity(),
            "model_sha256": found.record["model_sha256"],
            "model": found.record["model"],
            "record_sha256": sha256(record).hexdigest(),
        },
        "scaling": {**constants, "equal": is_scaled_alike},
        "regions": compared,
        "seams": seams.to_json(),
        "versions_of_run": found.record.get("versions", {}),
    }


def summarize(facts: Mapping[str, Any]) -> str:
    """Say in a sentence what a certificate says."""
    num_regions, part = len(facts["regions"]), facts["covered"]
    regions = f"{num_regions} region{'s' * (num_regions != 1)}, {part:.2%} of the volume"
    if facts["verdict"] == "equal":
        return f"{regions}: every bit is the same"
    first = facts["first_difference"]
    if first is None:
        scaling = facts["scaling"]
        return (
            f"{regions}: the normalisation was {scaling['recorded']} and is {scaling['computed']}"
        )
    channel = f", channel {first['channel']}" if "channel" in first else ""
    return (
        f"{regions}: {first['product']} differ, first at voxel (z, y, x) = "
        f"{tuple(first['voxel'])}{channel}: {first['written']} was written, {first['computed']} "
        "is computed now"
    )


def open_run(
    run: str | os.PathLike[str],
    *,
    input_address: str = "",
    model: str = "",
    trust_model: bool = False,
) -> FinishedRun:
    """Open what a finished run was made from, and check that it is still the same.

    Raises
    ------
    VerifyError
        If there is no record, or it is damaged, or the input or the model has changed.
    """
    output = find_output(os.fspath(run))
    record = read_record(output)
    if record.get("made_by") != STORY:
        state = "is unfinished" if work_path(output).exists() else "has no record"
        msg = (
            f"{output} {state}: {record_path(output)}, which `{STORY}` writes at the end, is "
            "missing or not of that kind. Verify the output of a finished segmentation."
        )
        raise VerifyError(msg)
    try:
        volume = open_(
            input_address or record["address"],
            voxel_size=tuple(record["voxel_size_angstrom"]),
            **record.get("selection", {}),
        )
        specs = _read_models(record, model, trust_model=trust_model)
        settings = _settings(record["settings"])
        if is_tiled(settings, specs):
            msg = (
                f"{output} was made by a network of CryoSiam, tile by tile: other tiles agree to "
                "1e-5 of the probabilities, and not to the bit. Segment again with other --chunks, "
                "and compare."
            )
            raise VerifyError(msg)
        _refuse_changes(record, volume, specs, is_moved=bool(input_address))
        source = volume.source
        assert source is not None  # an opened volume has one
        plan = Plan(
            settings.job(
                specs,
                shape=volume.shape,
                dtype=volume.dtype,
                storage_chunks=decoded_chunks(source),
                has_variance=bool(record.get("variance")),
            ),
            tuple(record["chunks"]),
        )
    except (KeyError, TypeError) as error:
        msg = (
            f"{record_path(output)} says too little to verify the run: {error!r}. Segment again "
            "with this version."
        )
        raise VerifyError(msg) from error
    return FinishedRun(output, record, volume, source, specs, settings, plan)


def find_output(run: str) -> str:
    """Address of the class map that is meant by it, by its record or by a folder of one run.

    Raises
    ------
    VerifyError
        If a folder holds no record of a run, or several.
    """
    path = Path(run)
    if path.is_file() and (output := recorded_output(path, STORY)):
        return output
    if not path.is_dir() or path.with_name(f"{path.name}.json").exists():
        return run
    records = {p.name: recorded_output(p, STORY) for p in sorted(path.glob("*.json"))}
    outputs = [output for output in records.values() if output]
    if len(outputs) == 1:
        return outputs[0]
    found = ", ".join(name for name, output in records.items() if output) or "none"
    msg = (
        f"a folder with one record of `{STORY}` is needed, found {found} in {run}. Name the class "
        "map."
    )
    raise VerifyError(msg)


def _read_models(
    record: Mapping[str, Any], model: str, *, trust_model: bool
) -> tuple[ModelSpec, ...]:
    """Models of a run, from where they were or from where they are now."""
    files, configs = record["model_file"], record.get("model_config", "")
    if model:
        task = SegmentTask("", "", model=model, labels=record.get("labels", {}))
    elif configs:
        several = [files] if isinstance(files, str) else files
        described = [configs] if isinstance(configs, str) else configs
        task = SegmentTask(
            "",
            "",
            model_config=",".join(described),
            model_weights=",".join(several),
            labels=record.get("labels", {}),
        )
    else:
        task = SegmentTask("", "", model=files if isinstance(files, str) else ",".join(files))
    return replace(task, trust_model=trust_model).read_models()


def _refuse_changes(
    record: Mapping[str, Any], volume: Volume, specs: tuple[ModelSpec, ...], *, is_moved: bool
) -> None:
    """Refuse an input or a model that is not the one of the run."""
    assert volume.source is not None  # an opened volume has one
    pairs = [
        ("shape of the input", record["shape"], list(volume.shape)),
        ("SHA-256 of the model", record["model_sha256"], one_or_all([s.sha256 for s in specs])),
        ("description of the model", record["model"], one_or_all([s.fingerprint() for s in specs])),
    ]
    if not is_moved:  # a copy has another path and time; then the statistics have to agree
        pairs.append(("input", record["input"], volume.source.identity()))
    for what, before, now in pairs:
        if before != now:
            msg = (
                f"the {what} has changed since the run: was {before!r}, is {now!r}. What was "
                "written cannot be verified any more: segment again, or put back what was there."
            )
            raise VerifyError(msg)


def _settings(values: Mapping[str, Any]) -> Settings:
    """Settings as a record has them: views by their names."""
    views = {view.name: view for one in VIEW_SETS.values() for view in one}
    known = {field.name for field in fields(Settings)}
    options = {key: value for key, value in values.items() if key in known}
    unknown = [name for name in values["tta"] if name not in views]
    if unknown:
        msg = (
            f"the run used views that have no name here: {', '.join(unknown)}. Only runs with "
            f"views of the sets {', '.join(VIEW_SETS)} can be verified."
        )
        raise VerifyError(msg)
    return Settings(**{**options, "tta": tuple(views[name] for name in values["tta"])})


def _open_outputs(
    found: FinishedRun,
) -> tuple[dict[ProductKind, tuple[Source, ...]], dict[ProductKind, np.dtype[Any]]]:
    """Sources of what the run wrote, and the types that it computed."""
    size: dict[str, Any] = {"voxel_size": found.volume.voxel_size, "on_conflict": "override"}
    opened: dict[ProductKind, Sequence[Volume]] = {"classes": [open_(found.output, **size)]}
    spec = found.specs[0]
    dtypes: dict[ProductKind, np.dtype[Any]] = {"classes": class_type(spec)}
    for kind, address in list(found.kinds.items())[1:]:
        channels = range(spec.num_classes) if kind == "probabilities" else (None,)
        opened[kind] = [open_(address, c=c, **size) for c in channels]
        dtypes[kind] = np.dtype(found.record[f"stored_{kind}"])
    for kind, volumes in opened.items():
        for volume in volumes:
            if volume.shape != found.volume.shape:
                msg = (
                    f"the {kind} in {volume.address} have shape {volume.shape}, the input has "
                    f"{found.volume.shape}: they are not of this run. Segment again."
                )
                raise VerifyError(msg)
    sources = {
        kind: tuple(v.source for v in volumes if v.source is not None)
        for kind, volumes in opened.items()
    }
    return sources, dtypes


def _check_regions(regions: int | str) -> None:
    if regions != "all" and (isinstance(regions, str) or regions < 1):
        msg = f'regions are a positive number or "all", got {regions!r}. Use 8.'
        raise ConfigError(msg)
