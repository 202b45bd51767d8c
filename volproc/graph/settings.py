"""How networks are slid over a volume: the settings, and what they are called together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args

import numpy as np

from volproc.core.errors import ConfigError, ModelError, nearest
from volproc.core.model import ModelSpec
from volproc.core.types import Shape
from volproc.graph.block_finish import kept_bytes
from volproc.graph.predict_job import Sweep
from volproc.models.cryosiam_options import Threshold
from volproc.models.devices import choose_device
from volproc.models.ensemble import match_classes
from volproc.models.memory import activation_bytes, weight_bytes
from volproc.models.sliding import Blend, Inference
from volproc.models.views import View, find_views
from volproc.models.windows import WindowName
from volproc.plan.job import Job
from volproc.plan.patches import PatchGrid

Compat = Literal["none", "cryosiam"]
"""Whose numbers are wanted: those of the whole volume, or of CryoSiam's patches."""

ViewGrid = Literal["patch", "volume"]
"""Whether each patch is turned, and all views share its place; or the volume is turned, and each
view has a grid of patches of its own."""

Models = ModelSpec | Sequence[ModelSpec]
"""One model, or several that are averaged."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a network is slid over a volume; what the result depends on, beside model and input.

    Parameters
    ----------
    tta : str or sequence of View
        Views of each patch, by the name of a set or one by one.
    tta_grid : {"patch", "volume"}
        Whether the views of a patch share its place, or each view has the grid of patches that
        the turned volume would get.
    overlap : float
        Part of a patch that it shares with the next, in [0, 1).
    batch_size : int
        Patches per forward pass.
    blend : {"logits", "probabilities", "view_probabilities"}
        What is averaged: logits over patches, views and models; their softmax over all three; or
        logits over patches, and the softmax of that over views and models.
    window : {"gaussian", "constant"}
        Blend weights.
    sigma_scale : float
        Width of the Gaussian, as a part of the patch's side.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    pad : bool
        Pad a volume that is smaller than a patch, with its mean.
    replace_nonfinite : float or None
        What NaN and infinite voxels become; None refuses them.
    compat : {"none", "cryosiam"}
        Patches and numbers of CryoSiam, instead of those that its network gives for the whole
        volume. This and what follows is for networks of CryoSiam alone.
    threshold : float, mapping of str to float, or None
        Probabilities below it do not count: one for all classes, or by name. None is 0.5 for a
        network of one channel, and 0 where classes are compared.
    intensity : tuple of float or None
        Minimum and maximum of the voxels, which become 0 and 1, then mean and standard deviation;
        None takes those of the training.
    """

    tta: str | Sequence[View] = "none"
    overlap: float = 0.25
    batch_size: int = 1
    blend: Blend = "logits"
    window: WindowName = "gaussian"
    sigma_scale: float = 0.125
    device: str = "auto"
    pad: bool = False
    replace_nonfinite: float | None = None
    tta_grid: ViewGrid = "patch"
    compat: Compat = "none"
    threshold: Threshold = None
    intensity: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("compat", self.compat, get_args(Compat)),
            ("blend", self.blend, get_args(Blend)),
            ("window", self.window, get_args(WindowName)),
            ("tta_grid", self.tta_grid, get_args(ViewGrid)),
        ):
            if value not in known:
                msg = f'{name} is "{value}". Choose one of {", ".join(known)}.'
                raise ConfigError(msg)
        if self.batch_size < 1:
            msg = f"a batch has at least one patch, got batch_size {self.batch_size}."
            raise ConfigError(msg)
        if not self.sigma_scale > 0:
            msg = f"the Gaussian has a positive width, got sigma_scale {self.sigma_scale}."
            raise ConfigError(msg)

    @classmethod
    def preset(cls, name: str, *, device: str = "auto") -> Settings:
        """Return the settings that a name stands for; see `PRESETS`.

        Parameters
        ----------
        name : str
            Which ones.
        device : str
            Where networks will run. On the CPU patches pass one by one: there a batch takes memory
            and saves no time.

        Raises
        ------
        ConfigError
            If the name is unknown.
        """
        if name not in PRESETS:
            msg = f'there is no preset "{name}": {nearest(name, PRESETS)}'
            raise ConfigError(msg)
        found = replace(PRESETS[name], device=device)
        on_cpu = choose_device(device).type == "cpu"
        return replace(found, batch_size=1) if on_cpu else found

    def changed(self, options: Mapping[str, Any]) -> Settings:
        """Return the settings with some of them replaced.

        Raises
        ------
        ConfigError
            If there is no such setting; the nearest one is named.
        """
        known = [field.name for field in fields(self)]
        for name in options:
            if name not in known:
                msg = f"there is no setting {name}: {nearest(name, known)}"
                raise ConfigError(msg)
        return replace(self, **options)

    @property
    def views(self) -> tuple[View, ...]:
        """Views of each patch."""
        return find_views(self.tta) if isinstance(self.tta, str) else tuple(self.tta)

    def is_apart(self, model: Models, *, has_variance: bool = False) -> bool:
        """Whether each view of each model has to be completed by itself.

        Parameters
        ----------
        model : ModelSpec or sequence of ModelSpec
            One or several models.
        has_variance : bool
            Whether the variance over them is wanted.
        """
        has_several = len(self.views) * len(as_models(model)) > 1
        return has_several and (has_variance or self.blend == "view_probabilities")

    def sweeps(
        self, model: Models, shape: Shape, *, has_variance: bool = False
    ) -> tuple[Sweep, ...]:
        """Bind the settings to models and a volume.

        Parameters
        ----------
        model : ModelSpec or sequence of ModelSpec
            One or several models.
        shape : tuple of int
            Size of the volume, (z, y, x), voxels.
        has_variance : bool
            Whether the variance over views and models is wanted.

        Returns
        -------
        sweeps : tuple of Sweep
            Model by model, in the order of the views.

        Raises
        ------
        ModelError
            If the models do not fit together.
        """
        specs = as_models(model)
        is_split = self.tta_grid == "volume" or self.is_apart(specs, has_variance=has_variance)
        found = []
        for spec, channels in zip(specs, match_classes(specs).channels, strict=True):
            for views in [(view,) for view in self.views] if is_split else [self.views]:
                patches = PatchGrid(shape, spec.patch, self.overlap)
                if self.tta_grid == "volume":
                    patches = views[0].grid(shape, spec.patch, self.overlap)
                order = () if channels == tuple(range(spec.num_classes)) else channels
                inference = replace(
                    self.inference(spec), patch=patches.patch, views=views, order=order
                )
                found.append(Sweep(patches, inference, spec))
        return tuple(found)

    def inference(self, spec: ModelSpec) -> Inference:
        """Bind the settings to a model whose views share one grid."""
        return Inference(
            spec.patch,
            spec.num_classes,
            self.views,
            batch_size=self.batch_size,
            blend=self.blend,
            window=self.window,
            sigma_scale=self.sigma_scale,
        )

    def job(
        self,
        model: Models,
        *,
        shape: Shape,
        dtype: np.dtype[Any],
        storage_chunks: Shape,
        probability_bytes: int = 0,
        map_bytes: int = 0,
        has_variance: bool = False,
    ) -> Job:
        """Sizes for the planner."""
        specs = as_models(model)
        on_device = choose_device(self.device).type == "cuda"
        weights = [weight_bytes(spec) for spec in specs]
        # All networks stay loaded, one works at a time.
        passing = max(
            activation_bytes(spec, batch_size=self.batch_size, on_device=on_device) - held
            for spec, held in zip(specs, weights, strict=True)
        )
        sweeps = self.sweeps(specs, shape, has_variance=has_variance)
        kept = 0
        if self.is_apart(specs, has_variance=has_variance):
            kept = kept_bytes(specs[0].num_classes, blend=self.blend, has_variance=has_variance)
        return Job(
            shape=shape,
            itemsize=dtype.itemsize,
            storage_chunks=storage_chunks,
            patch=max((spec.patch for spec in specs), key=lambda patch: int(np.prod(patch))),
            overlap=self.overlap,
            num_views=sweeps[0].inference.passes_per_patch,
            num_classes=specs[0].num_classes,
            batch_size=self.batch_size,
            probability_bytes=probability_bytes,
            activation_bytes=passing + sum(weights),
            weight_bytes=sum(weights),
            on_device=on_device,
            pad=self.pad,
            grids=tuple(sweep.patches for sweep in sweeps),
            num_models=len(specs),
            kept_bytes=kept,
            map_bytes=map_bytes,
        )


_OCTOPI = Settings(
    tta="octopi4", tta_grid="volume", overlap=0.5, batch_size=4, window="constant", pad=True
)

PRESETS: dict[str, Settings] = {
    "volproc": Settings(),
    "octopi": _OCTOPI,
    "guide": replace(_OCTOPI, tta="rot4", blend="view_probabilities"),
}
"""Settings by name. ``octopi`` gives the class maps of Octopi's present versions (1.5 to 1.7),
``guide`` those of the versions that its guide of 2025 describes (0.6 to 1.4)."""


def as_models(model: Models) -> tuple[ModelSpec, ...]:
    """One model or several as a tuple, of which each can be averaged with the others.

    Raises
    ------
    ModelError
        If there is none, or if one scales voxels otherwise than the first.
    """
    specs = (model,) if isinstance(model, ModelSpec) else tuple(model)
    if not specs:
        msg = "an ensemble needs a model, got none. Give one or more."
        raise ModelError(msg)
    for spec in specs[1:]:
        for name in ("normalization", "percentiles", "channels"):
            one, other = getattr(spec, name), getattr(specs[0], name)
            if one != other:
                msg = (
                    f"models of an ensemble see the same voxels: {name} of {spec.weights} is "
                    f"{one}, that of {specs[0].weights} {other}. Segment with each by itself."
                )
                raise ModelError(msg)
    return specs
