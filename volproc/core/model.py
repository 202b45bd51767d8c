"""What a model is, without the model: a description that can be hashed, pickled and printed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Any, Literal, get_args

from volproc.core.errors import ModelError
from volproc.core.types import ZYX

Normalization = Literal["zscore", "percentile", "none"]


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Description of a segmentation network.

    Parameters
    ----------
    architecture : str
        Name in the registry of `volproc.models.networks`.
    params : dict
        Arguments of the architecture's builder; JSON values only.
    weights : str
        Path of the weights file, or the name of embedded weights.
    sha256 : str
        Hash of the weights file; checked at loading where it is not empty.
    voxel_size : float or None
        Å per voxel that the model was trained at; None where it does not matter.
    patch : tuple of int
        Size of what the network sees at once, (z, y, x), voxels.
    channels : int
        Input channels.
    normalization : {"zscore", "percentile", "none"}
        How voxels are scaled, with constants of the whole volume.
    percentiles : tuple of float
        Lower and upper percentile that become 0 and 1, with ``"percentile"``.
    classes : tuple of str
        Class names by output channel, the background first.
    radii : dict
        Radius of a class's particles, Å, where it is a particle.
    config : str
        Path of the file that says all this of weights which do not say it themselves.
    """

    architecture: str
    weights: str
    patch: ZYX[int]
    classes: tuple[str, ...]
    params: dict[str, Any] = field(default_factory=dict)
    sha256: str = ""
    voxel_size: float | None = None
    channels: int = 1
    normalization: Normalization = "zscore"
    percentiles: tuple[float, float] = (1.0, 99.0)
    radii: dict[str, float] = field(default_factory=dict)
    config: str = ""

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            msg = (
                f"a model needs a background and at least one class, got classes {self.classes}. "
                "Name the output channels, the background first."
            )
            raise ModelError(msg)
        if len(self.patch) != 3 or min(self.patch) < 1:
            msg = f"a patch has three positive sizes (z, y, x), got {self.patch}."
            raise ModelError(msg)
        unknown = set(self.radii) - set(self.classes)
        if unknown:
            msg = (
                f"radii of {', '.join(sorted(unknown))}, but the classes are "
                f"{', '.join(self.classes)}. Give radii of classes of the model only."
            )
            raise ModelError(msg)

    @property
    def num_classes(self) -> int:
        """Output channels, the background included."""
        return len(self.classes)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a file."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises
        ------
        ModelError
            If a key is missing or unknown, or a value of another type than it should be.
        """
        try:
            values = dict(values)
            for key in ("patch", "classes", "percentiles"):
                if key in values:
                    values[key] = tuple(values[key])
            spec = cls(**values)
            _check_types(spec)
        except (TypeError, ValueError) as error:
            if isinstance(error, ModelError):
                raise
            msg = f"the description of the model is not readable: {error}. Get the original file."
            raise ModelError(msg) from error
        return spec

    def fingerprint(self) -> str:
        """Hash of everything that the result depends on; the paths of the files are not."""
        values = self.to_json()
        values.pop("config")
        if self.sha256:
            values.pop("weights")
        return sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _check_types(spec: ModelSpec) -> None:
    """Refuse values of other types; a file may say anything."""
    numbers = [*spec.percentiles, *spec.radii.values()]
    if spec.voxel_size is not None:
        numbers.append(spec.voxel_size)
    texts = [spec.architecture, spec.weights, spec.sha256, spec.config]
    texts += [*spec.classes, *spec.radii, *spec.params]
    counts = [*spec.patch, spec.channels]
    is_known = spec.normalization in get_args(Normalization) and len(spec.percentiles) == 2
    is_sound = (
        all(isinstance(n, int | float) and isfinite(n) for n in numbers)
        and all(isinstance(text, str) for text in texts)
        and all(isinstance(n, int) and not isinstance(n, bool) for n in counts)
    )
    if not is_known or not is_sound or spec.channels < 1 or (spec.voxel_size or 1) <= 0:
        msg = (
            f"the description of the model holds a value that cannot be: {spec}. Sizes are whole "
            "numbers, names are texts, radii and voxel_size are Å. Correct it."
        )
        raise ModelError(msg)
