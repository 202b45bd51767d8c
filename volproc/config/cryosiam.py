"""CryoSiam's YAML, read as it is: what each command needs, and what nobody heeds."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, Field, PositiveFloat, PositiveInt, StrictBool

from volproc.config.loading import Config, read_yaml, validate
from volproc.core.errors import ConfigError, nearest

Command = Literal["semantic-predict", "semantic-postprocessing", "semantic-to-centers"]
"""Commands that read such a file."""

Text = Annotated[str, Field(min_length=1)]

Number = Annotated[float, Field(strict=False)]

MIN_VOXELS = 100
"""What CryoSiam takes where ``min_voxels`` is not given."""

MOST_CLASSES = 255
"""Class values that a byte has, background left out."""


def _check_devices(given: object) -> object:
    """Numbers and indices from 0, or a word; a list of one word is that word."""
    if isinstance(given, list | tuple):
        if len(given) == 1 and isinstance(given[0], str):
            return given[0]
        numbers = list(given)
    else:
        numbers = [] if isinstance(given, str | None) else [given]
    if all(isinstance(one, int) and one >= 0 for one in numbers):
        return given
    msg = "it is a number of GPUs, a list of their indices as [0], or cpu"
    raise ValueError(msg)


class DataConfig(Config):
    """``parameters.data``: how voxels become what the network takes."""

    patch_size: PositiveInt | tuple[PositiveInt, ...] | None = None
    min: Number | None = None
    max: Number | None = None
    mean: Number | None = None
    std: PositiveFloat | None = None


class NetworkConfig(Config):
    """``parameters.network``: what is made of the network's answer."""

    in_channels: PositiveInt | None = None
    spatial_dims: PositiveInt | None = None
    out_channels: Annotated[int, Field(ge=1, le=MOST_CLASSES + 1)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    postprocessing: StrictBool = False
    postprocessing_3d: StrictBool = Field(default=False, alias="3d_postprocessing")
    postprocessing_sizes: tuple[Annotated[int, Field(ge=-1)], ...] | None = None
    min_voxels: Annotated[int, Field(ge=0)] | tuple[Annotated[int, Field(ge=0)], ...] | None = None


class ParametersConfig(Config):
    """``parameters``."""

    gpu_devices: Annotated[int | tuple[int, ...] | str | None, BeforeValidator(_check_devices)] = (
        None
    )
    data: DataConfig = Field(default_factory=DataConfig)
    network: NetworkConfig = Field(default_factory=NetworkConfig)


class HyperConfig(Config):
    """``hyper_parameters``."""

    batch_size: PositiveInt | None = None


class CryosiamConfig(Config):
    """One YAML of CryoSiam's particle and lamella path; see `read_cryosiam`."""

    data_folder: Text | None = None
    mask_folder: str | None = None
    prediction_folder: Text | None = None
    trained_model: Text | None = None
    file_extension: Text | None = None
    test_files: Text | tuple[Text, ...] | None = None
    save_internal_files: StrictBool = False
    save_original_file_extension: StrictBool = False
    log_dir: str | None = None
    parameters: ParametersConfig = Field(default_factory=ParametersConfig)
    hyper_parameters: HyperConfig = Field(default_factory=HyperConfig)

    @property
    def files(self) -> tuple[str, ...] | None:
        """Names of ``test_files``; None takes all."""
        return (self.test_files,) if isinstance(self.test_files, str) else self.test_files

    @property
    def num_classes(self) -> int:
        """Classes beside the background: those of one channel are one."""
        return max(1, (self.parameters.network.out_channels or 1) - 1)

    @property
    def least_voxels(self) -> tuple[int, ...]:
        """``min_voxels`` of each class, that of class 1 first."""
        given = self.parameters.network.min_voxels
        if isinstance(given, tuple):
            return given[: self.num_classes]
        return (MIN_VOXELS if given is None else given,) * self.num_classes


NEEDED: dict[Command, tuple[str, ...]] = {
    "semantic-predict": (
        "data_folder",
        "prediction_folder",
        "trained_model",
        "file_extension",
        "parameters.data.min",
        "parameters.data.max",
        "parameters.data.mean",
        "parameters.data.std",
        "parameters.network.threshold",
        "hyper_parameters.batch_size",
    ),
    "semantic-postprocessing": (
        "data_folder",
        "prediction_folder",
        "file_extension",
        "parameters.network.postprocessing_sizes",
    ),
    "semantic-to-centers": ("prediction_folder", "parameters.network.out_channels"),
}
"""Keys that a command cannot do without."""

SECTIONS = ("parameters", "parameters.data", "parameters.network", "hyper_parameters")
"""Keys that hold other keys; an empty one holds none."""

IGNORED = {
    "log_dir": "messages go to standard error, and the record beside the result",
    "parameters.data.patch_size": "the patch is that of the checkpoint",
    "parameters.network.in_channels": "the checkpoint says it",
    "parameters.network.spatial_dims": "the checkpoint says it",
}
"""Key that CryoSiam does not heed either → why."""


def read_cryosiam(
    path: str | os.PathLike[str], command: Command, *, has_filename: bool = False
) -> tuple[CryosiamConfig, tuple[str, ...]]:
    """Read CryoSiam's YAML for one of its commands.

    Parameters
    ----------
    path : str or path
        The file, unchanged.
    command : str
        ``semantic-predict``, ``semantic-postprocessing`` or ``semantic-to-centers``.
    has_filename : bool
        Whether one file was named beside it, so that ``test_files`` may be missing.

    Returns
    -------
    settings : CryosiamConfig
        What the file says; keys of other commands are there too.
    notes : tuple of str
        Keys that are ignored, or that contradict each other, one sentence each.

    Raises
    ------
    ConfigError
        If the file cannot be read, a value is of the wrong kind, a key that the command needs is
        missing, or a key looks like a misspelt one; the message names the file and the right key.
    """
    if command not in get_args(Command):
        msg = f'no command "{command}" reads such a file; {nearest(command, get_args(Command))}'
        raise ConfigError(msg)
    where, values = os.fspath(path), read_yaml(path)
    unknown, misspelt = [], []
    known = _known_keys()
    for key in _keys(values):
        if key in known:
            continue
        meant = _meant(key, known)
        if meant is None:
            unknown.append(key)
        else:
            misspelt.append(f'unknown key "{key}" in {where}: did you mean "{meant}"?')
    if misspelt:
        raise ConfigError("\n".join(misspelt))
    settings = validate(_without(values, unknown), CryosiamConfig, where=where)
    given = set(_keys(values))
    missing = [key for key in NEEDED[command] if _value(settings, key) is None]
    if command != "semantic-to-centers" and not has_filename and "test_files" not in given:
        missing.append("test_files")  # null is a value of its own: all files
    if missing:
        needs = f"{command} needs {'it' if len(missing) == 1 else 'them'}"
        msg = f"{', '.join(missing)} missing in {where}: {needs}. Write {missing[0]} there."
        raise ConfigError(msg)
    _refuse_wrong(settings, command, where)
    notes = [f"{key} is no key of CryoSiam's semantic commands and is ignored" for key in unknown]
    heeds = command == "semantic-predict"  # what a network is fed matters to nobody else
    notes += [
        f"{key} is ignored: {why}"
        for key, why in IGNORED.items()
        if key in given and (heeds or key == "log_dir")
    ]
    return settings, tuple(notes + list(_contradictions(settings, command)))


def _known_keys(model: type[BaseModel] = CryosiamConfig, prefix: str = "") -> list[str]:
    """Every key with its path, sections included."""
    found = []
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        found.append(key)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            found += _known_keys(inner, f"{key}.")
    return found


def _keys(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Keys of a tree with their paths; of a section that is unknown its name alone."""
    known = _known_keys()
    for name, value in values.items():
        key = f"{prefix}{name}"
        yield key
        if isinstance(value, Mapping) and key in known:
            yield from _keys(value, f"{key}.")


def _meant(key: str, known: Sequence[str]) -> str | None:
    """The known key that an unknown one stands for; None where it is of something else."""
    section, _, last = key.rpartition(".")
    lasts = {one.rpartition(".")[2]: one for one in reversed(known)}
    if last in lasts:  # in the wrong section
        return lasts[last]
    beside = [one for one in known if one.rpartition(".")[0] == section]
    for names in (beside, known):
        short = {one.rpartition(".")[2]: one for one in reversed(names)}
        if close := get_close_matches(last, list(short), n=1, cutoff=0.8):
            return short[close[0]]
    return None


def _without(values: Mapping[str, Any], keys: Sequence[str], prefix: str = "") -> dict[str, Any]:
    """A tree without some of its keys; sections that are empty are left out."""
    left = {}
    for name, value in values.items():
        key = f"{prefix}{name}"
        if key in keys or (value is None and key in SECTIONS):
            continue
        left[name] = _without(value, keys, f"{key}.") if isinstance(value, Mapping) else value
    return left


def _value(settings: BaseModel, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value


def _refuse_wrong(settings: CryosiamConfig, command: Command, where: str) -> None:
    """Refuse values that fit each for itself, but not together."""
    network, data = settings.parameters.network, settings.parameters.data
    least, sizes = network.min_voxels, network.postprocessing_sizes
    if (
        command == "semantic-to-centers"
        and isinstance(least, tuple)
        and len(least) < settings.num_classes
    ):
        msg = (
            f"parameters.network.min_voxels in {where} has {len(least)} numbers for "
            f"{settings.num_classes} classes (out_channels {network.out_channels}). Give one for "
            "each class, that of class 1 first, or one number for all."
        )
        raise ConfigError(msg)
    needed = settings.num_classes + 1
    if (
        command == "semantic-postprocessing"
        and sizes is not None
        and network.out_channels
        and len(sizes) < needed
    ):
        msg = (
            f"parameters.network.postprocessing_sizes in {where} has {len(sizes)} numbers for "
            f"{needed} classes with the background. Give one for each, that of the background "
            "first; -1 leaves a class as it is."
        )
        raise ConfigError(msg)
    low, high = data.min, data.max
    if command == "semantic-predict" and low is not None and high is not None and low >= high:
        msg = (
            f"parameters.data.min and max in {where} are {low:g} and {high:g}. Give the smaller "
            "one as min, as 0 and 1."
        )
        raise ConfigError(msg)


def _contradictions(settings: CryosiamConfig, command: Command) -> Iterator[str]:
    """Sentences on keys that say different things."""
    network = settings.parameters.network
    least, sizes = network.min_voxels, network.postprocessing_sizes
    if command == "semantic-to-centers":
        if isinstance(least, tuple) and len(least) > settings.num_classes:
            yield (
                f"min_voxels has {len(least)} numbers for {settings.num_classes} classes: the "
                "last ones are ignored"
            )
    elif command == "semantic-postprocessing":
        if sizes is not None and network.out_channels and len(sizes) > settings.num_classes + 1:
            yield (
                f"postprocessing_sizes has {len(sizes)} numbers for {settings.num_classes + 1} "
                "classes with the background: the last ones are ignored"
            )
    else:
        if network.postprocessing and (network.out_channels or 1) > 1:
            yield (
                f"postprocessing is for a model of one channel, and out_channels is "
                f"{network.out_channels}: channel 0 is the background there"
            )
        if network.postprocessing_3d and not network.postprocessing:
            yield "3d_postprocessing does nothing while postprocessing is False"
