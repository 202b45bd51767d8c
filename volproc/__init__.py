"""Segment and count in volumes of any size, with the same answer however they are cut.

open → plan → predict → reduce → write: `open` gives a lazy `Volume`; `predict`, `label`,
`measure` and `localize` are lazy; `save` writes. Nothing is read or computed before it is asked
for.

Examples
--------
>>> import numpy as np, tempfile, os, volproc
>>> path = os.path.join(tempfile.mkdtemp(), "mask.npy")
>>> np.save(path, np.eye(5, dtype=np.uint8)[None].repeat(3, 0))
>>> mask = volproc.open(path, voxel_size=10.0)
>>> labels, num_objects = volproc.label(mask, connectivity=2)
>>> num_objects.compute()
1
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Points": "volproc.core.points",
    "Volume": "volproc.core.volume",
    "ModelSpec": "volproc.core.model",
    "VolprocError": "volproc.core.errors",
    "open": "volproc.io.open:open_",
    "from_source": "volproc.io.open",
    "inspect": "volproc.io.open",
    "read_model": "volproc.models.loading:read_spec",
    "read_points": "volproc.io.points",
    "predict": "volproc.graph.predict",
    "label": "volproc.graph.label",
    "distance": "volproc.graph.distance",
    "watershed": "volproc.graph.watershed",
    "label_and_measure": "volproc.graph.label_and_measure",
    "measure": "volproc.graph.measure",
    "contingency": "volproc.graph.contingency",
    "link": "volproc.graph.link",
    "localize": "volproc.graph.localize",
    "peaks": "volproc.graph.peaks",
    "suppress": "volproc.graph.suppress",
    "relabel": "volproc.graph.relabel",
    "filter_objects": "volproc.graph.filter_objects",
    "majority": "volproc.graph.majority",
    "downscale": "volproc.graph.rescale",
    "upscale": "volproc.graph.rescale",
    "fill_holes": "volproc.graph.fill_holes",
    "clean_lamella": "volproc.graph.clean_lamella",
    "cryosiam_denoise": "volproc.graph.denoise",
    "invert": "volproc.graph.denoise",
    "scale_percentiles": "volproc.graph.denoise",
    "segment_blocks": "volproc.graph.stitch",
    "stitch": "volproc.graph.stitch",
    "smooth": "volproc.graph.smooth",
    "seam_report": "volproc.graph.seams",
    "SeamRule": "volproc.reduce.seam_report",
    "verify": "volproc.workflows.verify",
    "evaluate": "volproc.workflows.evaluate",
    "ScoreRule": "volproc.workflows.scorer",
    "segment_cells": "volproc.graph.cells",
    "cellpose_slices": "volproc.graph.cells",
    "save": "volproc.graph.save",
    "connect": "volproc.cluster.start",
}
"""Public name → module, and name there where it differs. Modules load at first use, so that
``import volproc`` costs neither torch nor distributed."""

_ROOMS = ("cluster", "metrics", "phantoms")
"""Rooms whose own names are public too, such as ``volproc.cluster.connect``."""

__all__ = [
    "ModelSpec",
    "Points",
    "ScoreRule",
    "SeamRule",
    "VolprocError",
    "Volume",
    "cellpose_slices",
    "clean_lamella",
    "connect",
    "contingency",
    "cryosiam_denoise",
    "distance",
    "downscale",
    "evaluate",
    "fill_holes",
    "filter_objects",
    "from_source",
    "inspect",
    "invert",
    "label",
    "label_and_measure",
    "link",
    "localize",
    "majority",
    "measure",
    "open",
    "peaks",
    "predict",
    "read_model",
    "read_points",
    "relabel",
    "save",
    "scale_percentiles",
    "seam_report",
    "segment_blocks",
    "segment_cells",
    "smooth",
    "stitch",
    "suppress",
    "upscale",
    "verify",
    "watershed",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        msg = f"module 'volproc' has no attribute {name!r}"
        raise AttributeError(msg)
    module, _, other = _HOMES[name].partition(":")
    value = getattr(import_module(module), other or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})


if TYPE_CHECKING:
    from volproc.cluster.start import connect
    from volproc.core.errors import VolprocError
    from volproc.core.model import ModelSpec
    from volproc.core.points import Points
    from volproc.core.volume import Volume
    from volproc.graph.clean_lamella import clean_lamella
    from volproc.graph.denoise import cryosiam_denoise, invert, scale_percentiles
    from volproc.graph.distance import distance
    from volproc.graph.fill_holes import fill_holes
    from volproc.graph.filter_objects import filter_objects
    from volproc.graph.label import label
    from volproc.graph.label_and_measure import label_and_measure
    from volproc.graph.link import link
    from volproc.graph.localize import localize
    from volproc.graph.majority import majority
    from volproc.graph.measure import measure
    from volproc.graph.peaks import peaks
    from volproc.graph.predict import predict
    from volproc.graph.relabel import relabel
    from volproc.graph.rescale import downscale, upscale
    from volproc.graph.save import save
    from volproc.graph.seams import seam_report
    from volproc.graph.smooth import smooth
    from volproc.graph.stitch import segment_blocks, stitch
    from volproc.graph.suppress import suppress
    from volproc.graph.watershed import watershed
    from volproc.io.open import from_source, inspect
    from volproc.io.open import open_ as open  # noqa: A004  (the package's verb)
    from volproc.io.points import read_points
    from volproc.models.loading import read_spec as read_model
    from volproc.reduce.seam_report import SeamRule
    from volproc.workflows.evaluate import evaluate
    from volproc.workflows.scorer import ScoreRule
    from volproc.workflows.verify import verify
