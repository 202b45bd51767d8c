"""What a training run is: model, data and schedule, all that its result depends on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeAlias, get_args

from volproc.core.errors import ConfigError, nearest
from volproc.core.model import ModelSpec, Normalization
from volproc.core.types import ZYX
from volproc.models.networks import check_patch
from volproc.training.augment import Augmentation


@dataclass(frozen=True, slots=True)
class PhantomData:
    """Synthetic tomograms, made on the spot.

    Parameters
    ----------
    shape : tuple of int
        Size of each, (z, y, x), voxels.
    count : int
        How many; their seeds are ``seed``, ``seed + 1``, …
    seed : int
        First seed.
    noise : tuple of float
        Lowest and highest noise level; each patch draws its own in between.
    spec : dict
        Further settings of `volproc.phantoms.spec.PhantomSpec`.
    """

    shape: ZYX[int]
    count: int = 1
    seed: int = 0
    noise: tuple[float, float] = (0.5, 0.5)
    spec: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VolumeData:
    """A volume with its class map, in any format that `volproc.open` reads.

    Parameters
    ----------
    image, classes : str
        Addresses of two arrays of one shape.
    values : dict of int to str
        Class name of each value of the class map. Values that are left out are background.
    voxel_size : float or None
        Å per voxel, where the file does not say.
    """

    image: str
    classes: str
    values: dict[int, str]
    voxel_size: float | None = None


@dataclass(frozen=True, slots=True)
class CopickData:
    """Tomograms of a copick project, with picks painted as balls or with segmentations.

    Parameters
    ----------
    config : str
        Address of the project's ``copick.json``.
    tomogram : str
        Type of the tomograms, such as ``wbp``.
    voxel_size : float
        Å per voxel of the tomograms and segmentations.
    runs : tuple of str
        Names of the runs; empty for all that have such a tomogram.
    picks : dict of str to str
        For each class the picks that show it: ``object`` or ``object:user_id/session_id``.
    segmentations : dict of str to str
        For each class a segmentation: ``name:user_id/session_id``.
    radius_fraction : float
        Radius of a painted ball, as a part of the class's radius.
    targets : str
        One segmentation with all classes, ``name:user_id/session_id``, instead of the two above.
    values : dict of int to str
        Class name of each value of the targets; any numbers above 0.
    centres : dict of str to str
        For each particle class the picks that validation counts, as under ``picks``; classes that
        are left out are counted by the middles of their objects in the class map.
    """

    config: str
    tomogram: str
    voxel_size: float
    runs: tuple[str, ...] = ()
    picks: dict[str, str] = field(default_factory=dict)
    segmentations: dict[str, str] = field(default_factory=dict)
    radius_fraction: float = 0.6
    targets: str = ""
    values: dict[int, str] = field(default_factory=dict)
    centres: dict[str, str] = field(default_factory=dict)


Data: TypeAlias = PhantomData | VolumeData | CopickData

Loss = Literal["dice-cross-entropy", "tversky", "focal", "focal-tversky"]

Metric = Literal["voxels", "picks"]

_KINDS: dict[str, type] = {"phantoms": PhantomData, "volume": VolumeData, "copick": CopickData}


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """All that a semantic training run depends on.

    Parameters
    ----------
    classes : tuple of str
        Class names by output channel, the background first.
    train, validate : tuple of data
        Where patches come from; validation data are never trained on. Without validation data
        the training data are used, and the scores say how well they are learnt by heart.
    radii : dict of str to float
        Radius of each particle class, Å.
    voxel_size : float or None
        Å per voxel that the model is meant for; None where it does not matter.
    architecture : str
        A name in `volproc.models.networks.ARCHITECTURES`.
    params : dict
        Its parameters, without the numbers of channels and classes.
    start_from : str
        Model file, or name of embedded weights, whose layers the network begins with; those
        that it lacks or that have other sizes begin at random. Empty for all at random.
    patch : tuple of int
        (z, y, x), voxels.
    normalization : {"zscore", "percentile", "none"}
        How voxels are scaled, with constants of each whole volume.
    epochs, steps_per_epoch, batch_size : int
        The schedule; an epoch is a number of steps, after which the model is validated.
    learning_rate, weight_decay : float
        Of AdamW; the rate falls along a cosine.
    final_rate : float
        What is left of the rate in the end, as a part.
    warmup_steps : int
        Steps in which the rate rises linearly, from the first on.
    loss : {"dice-cross-entropy", "tversky", "focal", "focal-tversky"}
        What is made small; see `volproc.training.losses`.
    tversky_alpha : float
        Weight of false positives in a Tversky loss; that of false negatives is the rest to 1.
    focal_gamma : float
        How much less a focal loss minds voxels that are right already.
    ema_decay : float
        Decay of the running mean of the weights that is validated and saved; 0 for none.
    foreground : float
        Part of the patches that are placed on a voxel of a class, classes taking turns.
    class_weights : tuple of float
        Weights of the cross-entropy by class; empty for equal ones.
    beta : float
        Of the F-beta score; above 1 recall counts more.
    metric : {"voxels", "picks"}
        What the best model is chosen by: the class of voxels, or particles that are localized as
        `volproc localize` does, of the classes with a radius.
    metric_class : str
        Class that the best model is chosen by; empty for the mean over all.
    validation_patches : int
        Most patches that are validated per volume and epoch, spread evenly; of picks, that many
        side by side are what of a volume is looked at.
    validation_overlap : float
        Part that patches share where picks are validated, in [0, 1).
    validate_every : int
        Epochs between validations; the last is always validated.
    patience : int
        Validations without a better score after which training stops; 0 for never.
    most_bad_steps : int
        Steps in a row that may be skipped because their loss or gradient is not finite.
    augmentation : Augmentation
        Random changes of the patches.
    memory_bytes : int
        Volumes are kept in memory up to this size together; the rest are read patch by patch.
    seed : int
        Seed of weights, patches and augmentation.
    device : str
        See `volproc.models.devices.choose_device`.

    Raises
    ------
    ConfigError
        If a number is out of range or names do not fit.
    ModelError
        If the patch does not fit the architecture.
    """

    classes: tuple[str, ...]
    train: tuple[Data, ...]
    validate: tuple[Data, ...] = ()
    radii: dict[str, float] = field(default_factory=dict)
    voxel_size: float | None = None
    architecture: str = "unet3d"
    params: dict[str, Any] = field(default_factory=lambda: {"widths": [8, 16, 32, 64]})
    start_from: str = ""
    patch: ZYX[int] = (48, 48, 48)
    normalization: Normalization = "zscore"
    epochs: int = 20
    steps_per_epoch: int = 100
    batch_size: int = 2
    learning_rate: float = 4e-3
    weight_decay: float = 1e-4
    final_rate: float = 0.01
    warmup_steps: int = 20
    loss: Loss = "dice-cross-entropy"
    tversky_alpha: float = 0.3
    focal_gamma: float = 2.0
    ema_decay: float = 0.0
    foreground: float = 0.5
    class_weights: tuple[float, ...] = ()
    beta: float = 1.0
    metric: Metric = "voxels"
    metric_class: str = ""
    validation_patches: int = 64
    validation_overlap: float = 0.25
    validate_every: int = 1
    patience: int = 0
    most_bad_steps: int = 10
    augmentation: Augmentation = field(default_factory=Augmentation)
    memory_bytes: int = 2**30
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if not self.train:
            msg = "there is nothing to train on. Give at least one data set under train."
            raise ConfigError(msg)
        positive = ("epochs", "steps_per_epoch", "batch_size", "learning_rate", "beta")
        for name in (*positive, "validation_patches", "validate_every"):
            if getattr(self, name) <= 0:
                msg = f"{name} is {getattr(self, name)}. Give a number above 0."
                raise ConfigError(msg)
        for name in ("ema_decay", "foreground", "final_rate", "tversky_alpha"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} is {getattr(self, name)}, outside 0 to 1. Choose one in between."
                raise ConfigError(msg)
        for name in ("patience", "most_bad_steps", "focal_gamma", "warmup_steps"):
            if getattr(self, name) < 0:
                msg = f"{name} is {getattr(self, name)}. Give 0 or more."
                raise ConfigError(msg)
        if not 0 <= self.validation_overlap < 1:
            msg = f"validation_overlap is {self.validation_overlap}. Give 0 or more, less than 1."
            raise ConfigError(msg)
        self._check_choices()
        if self.class_weights and len(self.class_weights) != len(self.classes):
            msg = (
                f"{len(self.class_weights)} class weights for {len(self.classes)} classes "
                f"{self.classes}. Give one a class, the background first, or none."
            )
            raise ConfigError(msg)
        for data in (*self.train, *self.validate):
            self._check_names(data)
        check_patch(self.architecture, self.params, self.patch)
        self.describe()

    def _check_choices(self) -> None:
        choices = (
            ("loss", self.loss, get_args(Loss)),
            ("metric", self.metric, get_args(Metric)),
            ("metric_class", self.metric_class, ("", *self.classes[1:])),
        )
        for name, got, known in choices:
            if got not in known:
                msg = f'{name} is "{got}": {nearest(got, known)}'
                raise ConfigError(msg)
        if self.metric == "picks" and not self.radii:
            msg = (
                "picks are validated, but no class has a radius, so none is a particle. Give "
                "radii in Å, or choose the best model by voxels (--best-metric avg_f1)."
            )
            raise ConfigError(msg)
        if self.metric == "picks" and self.metric_class and self.metric_class not in self.radii:
            msg = (
                f"{self.metric_class} has no radius, so no picks of it are found. Give it a "
                "radius in Å, or choose another class."
            )
            raise ConfigError(msg)

    def _check_names(self, data: Data) -> None:
        named: set[str] = set()
        if isinstance(data, VolumeData):
            named = set(data.values.values())
        elif isinstance(data, CopickData):
            named = {*data.picks, *data.segmentations, *data.values.values(), *data.centres}
        for name in named - set(self.classes):
            msg = f'a data set shows the class "{name}": {nearest(name, self.classes)}'
            raise ConfigError(msg)

    def describe(self) -> ModelSpec:
        """Return the description of the model that this makes, without its weights."""
        return ModelSpec(
            architecture=self.architecture,
            weights="",
            patch=self.patch,
            classes=self.classes,
            params=dict(self.params),
            voxel_size=self.voxel_size,
            normalization=self.normalization,
            radii=dict(self.radii),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file, each data set with its ``kind``."""
        values = asdict(self)
        kinds = {cls: kind for kind, cls in _KINDS.items()}
        for part in ("train", "validate"):
            values[part] = [{"kind": kinds[type(d)], **asdict(d)} for d in getattr(self, part)]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainingSettings:
        """Read what `to_json` wrote; keys that are left out take their defaults.

        Raises
        ------
        ConfigError
            If a key is unknown (the nearest known one is named) or a needed one is missing.
        """
        given = dict(values)
        for part in ("train", "validate"):
            given[part] = tuple(_read_data(d) for d in given.get(part, ()))
        if "augmentation" in given:
            given["augmentation"] = _construct(Augmentation, given["augmentation"])
        return _construct(cls, given)


def _read_data(values: Mapping[str, Any] | Data) -> Data:
    if isinstance(values, PhantomData | VolumeData | CopickData):
        return values
    given = dict(values)
    kind = str(given.pop("kind", ""))
    if kind not in _KINDS:
        msg = f'a data set has a kind, got "{kind}": {nearest(kind, _KINDS)}'
        raise ConfigError(msg)
    if kind in ("volume", "copick"):
        given["values"] = {int(k): str(v) for k, v in dict(given.get("values", {})).items()}
    return _construct(_KINDS[kind], given)


def _construct(cls: type, given: Any) -> Any:
    if not isinstance(given, Mapping):
        return given
    known = {f.name for f in fields(cls)}
    for key in set(given) - known:
        msg = f'{cls.__name__} has no setting "{key}": {nearest(key, known)}'
        raise ConfigError(msg)
    ready = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    try:
        return cls(**ready)
    except TypeError as error:
        msg = f"{cls.__name__} cannot be read: {error}. Give the settings that are missing."
        raise ConfigError(msg) from error
