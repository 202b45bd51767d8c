"""Settings of a semantic segmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from volproc.config.cluster import ClusterConfig
from volproc.config.loading import Config

Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
"""Sizes along z, y, x, voxels; along y, x in two dimensions."""

Probability = Annotated[float, Field(ge=0, le=1)]

VoxelSize = PositiveFloat | Annotated[tuple[PositiveFloat, ...], Field(min_length=2, max_length=3)]
"""Å per voxel: one number, or one an axis."""


class SegmentConfig(Config):
    """One model, and a class map for each of one or many volumes."""

    input: str | Annotated[tuple[str, ...], Field(min_length=1)]
    """Address of the volume, a pattern, ``@LIST``, or a list of these."""

    output: str = ""
    """Address of the class map, its ending names the format; from the input's name by default. Of
    many volumes a folder, or a template with ``{name}``."""

    model: str = ""
    """Path of a model file, or the name of embedded weights; the embedded default if empty."""

    octopi_config: str = ""
    """Octopi's ``model_config.yaml`` instead of ``model``, or a comma list of them."""

    octopi_weights: str = ""
    """The ``best_model.pth`` of each, or several of one configuration: an ensemble."""

    labels: dict[str, int] = Field(default_factory=dict)
    """Channel of each class by name, where a configuration of Octopi does not say it."""

    preset: Literal["", "volproc", "octopi", "guide"] = ""
    """What the settings below are by default: ``octopi`` gives the numbers of Octopi 1.5 to 1.7,
    ``guide`` those of its earlier versions. Empty: octopi for models of Octopi, else volproc."""

    trust_model: bool = False
    """Also take a TorchScript program or a pickled network, described by ``<model>.json``; loading
    one runs whatever its author put in."""

    voxel_size_angstrom: VoxelSize | None = None
    """Å per voxel, one number or z, y, x, where the file gives none or a wrong one."""

    override_voxel_size: bool = False
    """Use ``voxel_size_angstrom`` even where the file says something else."""

    t: NonNegativeInt | None = None
    """Time point of the input, where there are several."""

    c: NonNegativeInt | None = None
    """Channel of the input, where there are several."""

    level: NonNegativeInt = 0
    """Level of the input's pyramid, 0 the finest."""

    dataset: str = ""
    """Path of the input's array inside a container."""

    tta: str = "none"
    """Views of each patch by the name of a set: none, rot4, octopi2 to octopi8 or all16."""

    tta_grid: Literal["patch", "volume"] = "patch"
    """Whether the views of a patch share its place, or each has the patches that the turned volume
    would get."""

    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Part of a patch that is shared with the next."""

    batch_size: PositiveInt = 1
    """Patches that go through the network at once."""

    blend: Literal["logits", "probabilities", "view_probabilities"] = "logits"
    """What is averaged: logits or probabilities over views and patches; or logits over patches, and
    their probabilities over views."""

    window: Literal["gaussian", "constant"] = "gaussian"
    """Blend weights of a patch."""

    device: str = "auto"
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``."""

    chunks: Sizes | None = None
    """Block that one task writes, voxels; chosen from memory by default."""

    pad: bool = False
    """Pad a volume that is smaller than one patch, with its mean."""

    replace_nonfinite: float | None = None
    """What NaN and infinite voxels become; they are refused by default."""

    compat: Literal["none", "cryosiam"] = "none"
    """With a network of CryoSiam: its patches and numbers, instead of those of the whole volume."""

    mask: str = ""
    """With a network of CryoSiam: address of a mask outside of which nothing is computed; a
    template with ``{name}``, or a folder with ``{name}_preds.h5``."""

    threshold: Probability | dict[str, Probability] | None = None
    """With a network of CryoSiam: smaller probabilities do not count; one number, or by class."""

    intensity: tuple[float, float, float, float] | None = None
    """With a network of CryoSiam: minimum and maximum, which become 0 and 1, mean and standard
    deviation; as in its training by default."""

    distances: Literal["none", "float16", "float32"] = "none"
    """With a network of CryoSiam: also store what its distance head gives, as this type."""

    probabilities: Literal["none", "float16", "uint8", "float32"] = "none"
    """Also store a probability per class, as this type."""

    probabilities_output: str = ""
    """Address of the probabilities; beside the class map by default."""

    max_probability: Literal["none", "float16", "uint8", "float32"] = "none"
    """Also store the probability of each voxel's class, as this type."""

    variance: Literal["none", "float16", "uint8", "float32"] = "none"
    """Also store its variance over views and models, as this type."""

    checksums: bool = False
    """Keep a checksum of the stored chunks of each block; OME-Zarr only."""

    overwrite: bool = False
    """Replace outputs that exist."""

    run: ClusterConfig = Field(default_factory=ClusterConfig)
    """What runs the work."""

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        kind, _, number = device.partition(":")
        if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
            msg = f'device must be auto, cpu, cuda or cuda:N, got "{device}".'
            raise ValueError(msg)
        return device
