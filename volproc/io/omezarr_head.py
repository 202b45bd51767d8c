"""Metadata of an OME-Zarr image: OME-NGFF 0.4."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from volproc.io.pyramid import PyramidLevel

if TYPE_CHECKING:
    from volproc.io.omezarr_write import OmeZarrSink

_COLORS = ("FFFFFF", "00FF00", "FF00FF", "00FFFF", "FFFF00", "FF0000", "0000FF", "FF8000")


def describe_image(sink: OmeZarrSink, levels: list[PyramidLevel]) -> dict[str, Any]:
    """Attributes of an image.

    Parameters
    ----------
    sink : OmeZarrSink
        Has written its voxels.
    levels : list of PyramidLevel
        What it has written, the finest first.
    """
    lead = [1.0] if sink.channels else []
    axes: list[dict[str, str]] = [{"name": "c", "type": "channel"}] if sink.channels else []
    axes += [{"name": a, "type": "space", "unit": "angstrom"} for a in "zyx"[-len(sink.shape) :]]
    datasets = [
        {
            "path": str(number),
            "coordinateTransformations": [
                {"type": "scale", "scale": [*lead, *level.voxel_size]},
                {"type": "translation", "translation": [*(0.0 for _ in lead), *level.origin]},
            ],
        }
        for number, level in enumerate(levels)
    ]
    name = Path(sink.address).name.removesuffix(".zarr").removesuffix(".ome")
    attributes: dict[str, Any] = {
        "multiscales": [
            {
                "version": "0.4",
                "name": name,
                "axes": axes,
                "datasets": datasets,
                "type": "nearest" if sink.kind == "labels" else "mean",
            }
        ]
    }
    if sink.kind == "labels" and sink.dtype.kind in "iu":
        attributes["image-label"] = {"version": "0.4"}
    if sink.channels:
        attributes["omero"] = {"channels": _omero_channels(sink)}
    if sink.facts:
        attributes["volproc"] = sink.facts
    return attributes


def _omero_channels(sink: OmeZarrSink) -> list[dict[str, Any]]:
    """How viewers show the channels: probabilities from none to certain."""
    most = 1.0 if sink.dtype.kind == "f" else float(np.iinfo(sink.dtype).max)
    window = {"min": 0.0, "max": most, "start": 0.0, "end": most}
    return [
        {"label": name, "color": _COLORS[i % len(_COLORS)], "active": True, "window": window}
        for i, name in enumerate(sink.channels)
    ]
