"""Config of a semantic training run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from volproc.config.loading import Config

Three = tuple[PositiveInt, PositiveInt, PositiveInt]
"""Sizes along z, y, x, voxels."""

Part = Annotated[float, Field(ge=0, le=1)]


class PhantomDataConfig(Config):
    """Synthetic tomograms, made on the spot."""

    kind: Literal["phantoms"]
    """Which kind of data this is."""

    shape: Three
    """Size of each, voxels."""

    count: PositiveInt = 1
    """How many, with seeds one after the other."""

    seed: NonNegativeInt = 0
    """First seed."""

    noise: tuple[NonNegativeFloat, NonNegativeFloat] = (0.5, 0.5)
    """Lowest and highest level; each patch draws its own."""

    spec: dict[str, Any] = Field(default_factory=dict)
    """Further settings of the phantoms: crowding, membranes, max_tilt_deg, classes …"""


class VolumeDataConfig(Config):
    """A volume with its class map."""

    kind: Literal["volume"]
    """Which kind of data this is."""

    image: str
    """Address of the volume, relative to where the command runs."""

    classes: str
    """Address of the class map, of the same shape."""

    values: dict[int, str]
    """Class name of each value of the map; other values are background."""

    voxel_size_angstrom: PositiveFloat | None = None
    """Å per voxel, where the file does not say."""


class CopickDataConfig(Config):
    """Tomograms of a copick project."""

    kind: Literal["copick"]
    """Which kind of data this is."""

    config: str
    """The project's copick.json."""

    tomogram: str
    """Type of the tomograms, such as wbp."""

    voxel_size_angstrom: PositiveFloat
    """Å per voxel of tomograms and segmentations."""

    runs: tuple[str, ...] = ()
    """Names of the runs; none for all that have such a tomogram."""

    picks: dict[str, str] = Field(default_factory=dict)
    """For each class the picks that show it: ``object`` or ``object:user/session``."""

    segmentations: dict[str, str] = Field(default_factory=dict)
    """For each class a segmentation: ``name:user/session``."""

    radius_fraction: Annotated[float, Field(gt=0, le=1)] = 0.6
    """Radius of a painted ball, as a part of the class's radius."""

    targets: str = ""
    """One segmentation with all classes, ``name:user/session``, instead of the two above."""

    values: dict[int, str] = Field(default_factory=dict)
    """Class name of each value of the targets."""

    centres: dict[str, str] = Field(default_factory=dict)
    """For each class the picks that validation counts; none for the middles of its objects."""


DataConfig = Annotated[
    PhantomDataConfig | VolumeDataConfig | CopickDataConfig, Field(discriminator="kind")
]


class AugmentationConfig(Config):
    """Random changes of the patches."""

    flip: bool = True
    """Mirror along z, y and x."""

    rotate90: bool = True
    """Turn by multiples of 90° in the (y, x) plane."""

    transpose: bool = False
    """Swap the axes at random, where the patch is a cube and there is no missing wedge."""

    blur: NonNegativeFloat = 0.0
    """Largest standard deviation of a Gaussian blur, voxels."""

    scale: Part = 0.1
    """Grey values are multiplied by a number in 1 ± scale."""

    shift: NonNegativeFloat = 0.1
    """A number in ± shift is added to the scaled grey values."""

    noise: NonNegativeFloat = 0.05
    """Standard deviation, at most, of added white noise."""

    contrast: Part = 0.0
    """Grey values of a patch are taken to a power in 1 ± contrast."""

    affine: Part = 0.0
    """Probability of a small turn and stretch; the truth moves by nearest neighbour."""

    chance: Part = 1.0
    """Probability of each change of grey values."""


class TrainConfig(Config):
    """Model, data and schedule; see `volproc.training.settings.TrainingSettings`."""

    classes: tuple[str, ...]
    """Class names by output channel, the background first."""

    train: tuple[DataConfig, ...]
    """Where patches come from."""

    validate_on: tuple[DataConfig, ...] = ()
    """Data that is never trained on."""

    radii_angstrom: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Radius of each particle class, Å."""

    voxel_size_angstrom: PositiveFloat | None = None
    """Å per voxel that the model is meant for."""

    architecture: str = "unet3d"
    """unet3d, monai-unet, or one that a plug-in registered."""

    params: dict[str, Any] = Field(default_factory=lambda: {"widths": [8, 16, 32, 64]})
    """Parameters of the architecture."""

    start_from: str = ""
    """Model file, or embedded weights, whose layers the network begins with."""

    patch: Three = (48, 48, 48)
    """What the network sees at once, voxels."""

    normalization: Literal["zscore", "percentile", "none"] = "zscore"
    """How voxels are scaled, with constants of each whole volume."""

    epochs: PositiveInt = 20
    """Rounds of so many steps."""

    steps_per_epoch: PositiveInt = 100
    """Batches an epoch."""

    batch_size: PositiveInt = 2
    """Patches a batch."""

    learning_rate: PositiveFloat = 4e-3
    """Highest rate of AdamW; it falls along a cosine."""

    weight_decay: NonNegativeFloat = 1e-4
    """Of AdamW."""

    final_rate: Part = 0.01
    """What is left of the rate in the end, as a part."""

    warmup_steps: NonNegativeInt = 20
    """Steps in which the rate rises."""

    loss: Literal["dice-cross-entropy", "tversky", "focal", "focal-tversky"] = "dice-cross-entropy"
    """What is made small."""

    tversky_alpha: Part = 0.3
    """Weight of false positives in a Tversky loss."""

    focal_gamma: NonNegativeFloat = 2.0
    """How much less a focal loss minds voxels that are right already."""

    ema_decay: Part = 0.0
    """Decay of the running mean of the weights; 0 for none."""

    foreground: Part = 0.5
    """Part of the patches that are placed on a class."""

    class_weights: tuple[PositiveFloat, ...] = ()
    """Weights of the cross-entropy by class; none for equal ones."""

    beta: PositiveFloat = 1.0
    """Of the F-beta score; above 1 recall counts more."""

    metric: Literal["voxels", "picks"] = "voxels"
    """What the best model is chosen by: classes of voxels, or localized particles."""

    metric_class: str = ""
    """Class that it is chosen by; none for the mean of all."""

    validation_patches: PositiveInt = 64
    """Most patches that are validated per volume and epoch."""

    validation_overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Part that patches share where picks are validated."""

    validate_every: PositiveInt = 1
    """Epochs between validations."""

    patience: NonNegativeInt = 0
    """Validations without a better score after which training stops; 0 for never."""

    most_bad_steps: NonNegativeInt = 10
    """Steps in a row that may be skipped because their loss is not finite."""

    augmentation: AugmentationConfig = AugmentationConfig()
    """Random changes of the patches."""

    memory_bytes: NonNegativeInt = 2**30
    """Volumes are kept in memory up to this many bytes; the rest are read patch by patch."""

    seed: NonNegativeInt = 0
    """Seed of weights, patches and augmentation."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

    def to_training(self) -> dict[str, Any]:
        """Return the values that ``TrainingSettings.from_json`` reads.

        The keys of a file say their units and those inside the package do not.
        """
        values = self.model_dump()
        values["validate"] = values.pop("validate_on")
        values["radii"] = values.pop("radii_angstrom")
        for part in (values, *values["train"], *values["validate"]):
            if "voxel_size_angstrom" in part:
                part["voxel_size"] = part.pop("voxel_size_angstrom")
        return values
