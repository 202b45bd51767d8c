"""Settings of a semantic segmentation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from volproc.config.cluster import ClusterConfig
from volproc.config.loading import Config

Sizes = Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)]
"""Sizes along z, y, x, voxels; along y, x in two dimensions."""

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
    """Views of each patch by the name of a set: none, rot4, octopi4, octopi8 or all16."""

    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.25
    """Part of a patch that is shared with the next."""

    batch_size: PositiveInt = 1
    """Patches that go through the network at once."""

    blend: Literal["logits", "probabilities"] = "logits"
    """What is averaged over views and patches."""

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

    probabilities: Literal["none", "float16", "uint8"] = "none"
    """Also store a probability per class, as this type."""

    probabilities_output: str = ""
    """Address of the probabilities; beside the class map by default."""

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
