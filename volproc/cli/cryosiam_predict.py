"""``volproc cryosiam semantic-predict``: a folder of denoised tomograms in, predictions out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from volproc.cli.cryosiam_centers import (
    config_option,
    filename_option,
    show_notes,
    show_tomograms,
)
from volproc.cli.options import (
    cluster_options,
    overwrite_option,
    quiet_option,
    run_options,
    shown_place,
    write_results,
)

if TYPE_CHECKING:
    from volproc.config.cryosiam import CryosiamConfig
    from volproc.core.model import ModelSpec
    from volproc.workflows.cryosiam_outputs import Form


@click.command("semantic-predict")
@config_option
@filename_option
@click.option(
    "--compat",
    type=click.Choice(["cryosiam"]),
    help="CryoSiam's patches and numbers. By default the network gives what it would for the whole "
    "volume: without seams, and without what wraps around from the opposite face.",
)
@click.option(
    "--device",
    help="auto, cpu, cuda or cuda:N; by default as gpu_devices says: 0 or an empty list is the "
    "CPU, another number a GPU if there is one, [N] is cuda:N.",
)
@click.option(
    "--tile",
    type=click.IntRange(min=1),
    metavar="VOXELS",
    help="Largest side of what one pass through the network keeps; by default as memory allows. "
    "The result does not depend on it.",
)
@click.option(
    "--tta",
    default="none",
    show_default=True,
    help="Views that are averaged: none, rot4, octopi1…octopi8, all16. Not with --compat.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["h5", "zarr", "mrc"]),
    help="Format of <tomogram>_preds: CryoSiam's HDF5 (default), OME-Zarr or MRC. Beside the last "
    "two, save_internal_files writes <tomogram>_probs.zarr and <tomogram>_distances.zarr.",
)
@click.option(
    "-vs",
    "--voxel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per voxel, whatever the tomograms say.",
)
@overwrite_option
@cluster_options
@quiet_option
def semantic_predict(config_file: str, filename: str | None, **options: Any) -> int:
    """Predict lamella masks, classes or candidates of particles with CryoSiam's models.

    Writes <tomogram>_preds.h5 into prediction_folder: labels, and with save_internal_files probs
    and distances. Where mask_folder has masks, nothing is computed outside them. A tomogram that
    cannot be read fails alone; those that are done already are not done again. A killed run goes
    on after its finished tiles when the command is given again.
    """
    from volproc.config.cryosiam import read_cryosiam
    from volproc.workflows.cryosiam_prediction import predict_tomograms
    from volproc.workflows.cryosiam_task import PredictionTask

    settings, notes = read_cryosiam(
        config_file, "semantic-predict", has_filename=filename is not None
    )
    compat, device = options.pop("compat"), options.pop("device")
    device_notes: list[str] = []
    if device is None:
        device, device_notes = pick_device(settings.parameters.gpu_devices)
    show_notes([*notes, *device_notes, *_changed(settings, is_compatible=compat is not None)])
    data, network = settings.parameters.data, settings.parameters.network
    intensity = (data.min, data.max, data.mean, data.std)
    low, high, mean, deviation = (float(value or 0) for value in intensity)
    task = PredictionTask(
        settings.data_folder or "",
        settings.file_extension or "",
        settings.prediction_folder or "",
        settings.trained_model or "",
        float(network.threshold or 0),
        (low, high, mean, deviation),
        mask_folder=settings.mask_folder or "",
        form=_form(settings, options.pop("form")),
        voxel_size=options.pop("voxel_size"),
        files=settings.files if filename is None else (filename,),
        has_outputs=settings.save_internal_files,
        is_compatible=compat is not None,
        device=device,
        core=options.pop("tile"),
        views=options.pop("tta"),
        has_postprocessing=network.postprocessing,
        has_hull_3d=network.postprocessing and network.postprocessing_3d,
        batch_size=settings.hyper_parameters.batch_size or 1,
        overwrite=options.pop("overwrite"),
    )
    show_notes(list(_contradictions(settings, task.read_model())))
    with run_options(options) as how:
        report = predict_tomograms(task, **how)
    status = show_tomograms(report.entries)
    computed, outside, kept = (
        sum(n) for n in zip((0, 0, 0), *report.num_tiles.values(), strict=True)
    )
    earlier = f", {kept} of an earlier run" if kept else ""
    write_results(
        {
            "tiles": f"{computed} computed{earlier}, {outside} outside the mask",
            "predictions": shown_place(str(task.outputs("x").labels.parent)),
        }
    )
    return status


def pick_device(given: int | tuple[int, ...] | str | None) -> tuple[str, list[str]]:
    """Device that ``gpu_devices`` means, and what there is to say of it.

    Parameters
    ----------
    given : int, tuple of int, str or None
        A number of GPUs, their indices, or ``cpu`` and the like.

    Examples
    --------
    >>> pick_device(0), pick_device("CPU"), pick_device(None)
    (('cpu', []), ('cpu', []), ('auto', []))
    """
    from volproc.models.devices import choose_device

    if isinstance(given, str):
        word = given.strip().lower()
        return ("cpu" if word == "none" else word), []
    if given is None:
        return "auto", []
    if given in (0, ()):
        return "cpu", []
    if choose_device("auto").type != "cuda":
        return "cpu", [f"gpu_devices is {_listed(given)}, and there is no GPU: the CPU is used"]
    if isinstance(given, int):
        all_of_them = "each worker uses one, and --cluster cuda has a worker for each"
        return "cuda", [f"gpu_devices is {given}: {all_of_them}"] if given > 1 else []
    others = f"gpu_devices is {_listed(given)}: the first one is used; --cluster cuda uses all"
    return f"cuda:{given[0]}", [others] if len(given) > 1 else []


def _listed(given: int | tuple[int, ...]) -> str:
    return str(given) if isinstance(given, int) else str(list(given))


def _form(settings: CryosiamConfig, given: Form | None) -> Form:
    """Format of the predictions."""
    if given is not None:
        return given
    is_original = settings.save_original_file_extension and not settings.save_internal_files
    return "original" if is_original else "h5"


def _contradictions(settings: CryosiamConfig, spec: ModelSpec) -> Iterator[str]:
    """What a yaml file says otherwise than its checkpoint, which is believed."""
    from volproc.models.cryosiam_options import num_channels

    data, network = settings.parameters.data, settings.parameters.network
    side = data.patch_size
    patch = None if side is None else (side,) * 3 if isinstance(side, int) else tuple(side)
    said: dict[str, tuple[Any, Any]] = {
        "parameters.data.patch_size": (patch, tuple(spec.patch)),
        "parameters.network.in_channels": (network.in_channels, spec.channels),
        "parameters.network.out_channels": (network.out_channels, num_channels(spec)),
        "parameters.network.spatial_dims": (network.spatial_dims, 3),
    }
    for key, (own, of_model) in said.items():
        if own is not None and own != of_model:
            cure = ""
            if key.endswith("out_channels"):
                cure = f"; write {of_model} there, since semantic-to-centers goes by it"
            yield f"{key} is {own}, and {of_model} in the checkpoint, which is taken{cure}"


def _changed(settings: CryosiamConfig, *, is_compatible: bool) -> Iterator[str]:
    """What is done otherwise than a yaml file says."""
    if settings.save_original_file_extension and settings.save_internal_files:
        yield (
            "save_original_file_extension is ignored: save_internal_files asks for probabilities "
            "and distances, which go into HDF5, as with CryoSiam"
        )
    if not is_compatible and settings.hyper_parameters.batch_size not in (None, 1):
        yield "hyper_parameters.batch_size is ignored: tiles are as large as memory allows"
    network = settings.parameters.network
    if not is_compatible and network.postprocessing and network.postprocessing_3d:
        yield "3d_postprocessing is ignored: the hull is that of each slice (without --compat)"
