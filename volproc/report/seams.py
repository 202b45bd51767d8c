"""A picture of what is seen at every plane of a volume, with its block seams marked."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from volproc.report.figures import PALETTE

SEAM = PALETTE[5]
"""Colour of what is at a seam."""

PLANE = "#5A6570"
"""Colour of all other planes."""


def draw_seams(
    profiles: Mapping[str, Mapping[str, Sequence[float]]],
    seams: Mapping[str, Sequence[int]],
    *,
    title: str = "",
) -> bytes:
    """Draw a row a measure and a column an axis: the figure of each plane, seams in orange.

    Parameters
    ----------
    profiles : mapping of str to mapping of str to sequence of float
        Measure → axis → figure of the planes before slices 1, 2, …; NaN leaves a gap.
    seams : mapping of str to sequence of int
        Axis → seam planes, each by the slice after it.
    title : str
        Head of the picture.

    Returns
    -------
    png : bytes
    """
    axes_names = list(seams)
    figure = Figure(figsize=(4.2 * len(axes_names), 1.7 * len(profiles) + 0.8), dpi=84)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(profiles), len(axes_names), squeeze=False)
    for row, (measure, by_axis) in zip(grid, profiles.items(), strict=True):
        for ax, name in zip(row, axes_names, strict=True):
            values = np.asarray(by_axis[name], np.float64)
            positions = np.arange(1, len(values) + 1)
            at_seam = np.isin(positions, seams[name])
            for position in positions[at_seam]:
                ax.axvline(position, color=SEAM, lw=0.6, alpha=0.5)
            ax.plot(positions, np.where(at_seam, np.nan, values), ".", color=PLANE, ms=2)
            ax.plot(positions[at_seam], values[at_seam], "o", color=SEAM, ms=4)
            ax.tick_params(labelsize=7)
            if ax is row[0]:
                ax.set_ylabel(measure, fontsize=9)
            if row is grid[-1]:
                ax.set_xlabel(f"{name}, slice after the plane", fontsize=9)
    figure.suptitle(title.replace("$", r"\$"), fontsize=10)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
