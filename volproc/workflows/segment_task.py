"""A semantic segmentation, described; nothing is done here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from volproc.core.errors import ConfigError
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.core.volume import Volume
from volproc.graph.predict_job import ProductKind
from volproc.graph.settings import Settings, as_models
from volproc.io.open import VoxelSize, open_
from volproc.models.ensemble import match_classes, read_ensemble
from volproc.models.loading import DEFAULT_MODEL, read_spec
from volproc.workflows.record import named_beside

Probabilities = Literal["none", "float16", "uint8", "float32"]

Distances = Literal["none", "float16", "float32"]


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
        Model file, the name of embedded weights, a folder with a model of Octopi, or a comma list
        of these: an ensemble, whose classes are matched by name.
    model_config, model_weights : str
        Octopi's ``model_config.yaml`` and ``best_model.pth`` instead, each one path or a comma
        list; one configuration may serve several weights.
    labels : dict
        Channel of each class by name, where a configuration of Octopi does not say it.
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
    probabilities : {"none", "float16", "uint8", "float32"}
        Also store a probability per class, as OME-Zarr.
    probabilities_output : str
        Where; by default ``<output>_probabilities.zarr``.
    maximum : {"none", "float16", "uint8", "float32"}
        Also store the probability of each voxel's class, as ``<output>_maximum.zarr``.
    variance : {"none", "float16", "uint8", "float32"}
        Also store its variance over views and models, as ``<output>_variance.zarr``.
    distances : {"none", "float16", "float32"}
        Also store what the distance head of a network of CryoSiam gives, as
        ``<output>_distances.zarr``; it is not computed otherwise.
    mask : str
        For networks of CryoSiam: address of a mask of 0 and 1 over the same box, with voxels of
        any size. Tiles that it leaves empty are not computed, and all outputs are 0 outside it.
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
    model_config: str = ""
    model_weights: str = ""
    labels: dict[str, int] = field(default_factory=dict)
    maximum: Probabilities = "none"
    variance: Probabilities = "none"
    distances: Distances = "none"
    mask: str = ""

    def open(self) -> Volume:
        """Open the input; only its head is read."""
        return open_(
            self.address,
            voxel_size=self.voxel_size,
            on_conflict="override" if self.override_voxel_size else "error",
            **self.selection,
        )

    def read_models(self) -> tuple[ModelSpec, ...]:
        """Read what the models are; they are not loaded.

        Raises
        ------
        ConfigError
            If one of Octopi's two files is not given.
        MissingFileError, ModelError
            If a model cannot be read, or several do not fit together.
        """
        labels = self.labels or None
        if self.model_config or self.model_weights:
            for option, value in (
                ("--model-config", self.model_config),
                ("--model-weights", self.model_weights),
            ):
                if not value:
                    msg = (
                        f"a model of Octopi is two files, and {option} is not given. Give both, or "
                        "--model with the folder that holds them."
                    )
                    raise ConfigError(msg)
            specs = read_ensemble(self.model_config, self.model_weights, labels=labels)
        else:
            is_one = "," not in self.model or Path(self.model).exists()
            names = [self.model] if is_one else self.model.split(",")
            specs = tuple(
                read_spec(name.strip(), trust_model=self.trust_model, labels=labels)
                for name in names
            )
        match_classes(specs)
        return as_models(specs)

    @property
    def model_name(self) -> str:
        """What the models were called, for people and to tell them apart."""
        if not self.model_weights:
            return self.model
        return f"{self.model_weights} ({self.model_config})"

    @property
    def stored(self) -> dict[ProductKind, str]:
        """Type of each map that is stored beside the class map."""
        maps: tuple[tuple[ProductKind, Probabilities | Distances], ...] = (
            ("probabilities", self.probabilities),
            ("maximum", self.maximum),
            ("variance", self.variance),
            ("distances", self.distances),
        )
        return {kind: dtype for kind, dtype in maps if dtype != "none"}

    @property
    def addresses(self) -> dict[ProductKind, str]:
        """Where each output goes, the class map first."""
        found: dict[ProductKind, str] = {"classes": self.output}
        for kind in self.stored:
            found[kind] = str(named_beside(self.output, f"_{kind}.zarr"))
        if self.probabilities_output and "probabilities" in found:
            found["probabilities"] = self.probabilities_output
        return found

    @property
    def probabilities_address(self) -> str:
        """Where probabilities go; empty if they are not wanted."""
        return self.addresses.get("probabilities", "")
