"""A picture of precision against recall, a line a class."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from volproc.metrics.points import OVERALL
from volproc.metrics.sweep import Curve
from volproc.report.figures import PALETTE

ALL = "#30363D"
"""Colour of all classes together."""


def draw_precision_recall(curves: Mapping[str, Curve], *, beta: float, title: str = "") -> bytes:
    """Draw a line a class, and a dot where its F-beta is highest.

    Parameters
    ----------
    curves : mapping of str to Curve
        By class; ``overall`` is drawn dashed. Curves without points are named, not drawn.
    beta : float
        That of the F-beta.
    title : str
        Head of the picture.

    Returns
    -------
    png : bytes
    """
    figure = Figure(figsize=(6.4, 5.6), dpi=100)
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        colour = ALL if name == OVERALL else PALETTE[number % len(PALETTE)]
        table, best = curve.thin(), curve.best
        text = f"{name}  AP {curve.average_precision:.3f}"
        if best is None:
            ax.plot([], [], color=colour, label=f"{name}  nothing predicted")
            continue
        text += f"  F{beta:g} {best['fbeta']:.3f} at score {best['threshold']:.3g}"
        ax.plot(
            np.append(0.0, table["recall"]),
            np.append(table["precision"].iloc[0], table["precision"]),
            color=colour,
            ls="--" if name == OVERALL else "-",
            lw=1.4,
            label=text.replace("$", r"\$"),
        )
        ax.plot(best["recall"], best["precision"], "o", color=colour, ms=5)
    ax.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
    ax.grid(color="#DDDDDD", lw=0.6)
    if curves:
        ax.legend(fontsize=8, loc="lower left", framealpha=0.9)
    ax.set_title(title.replace("$", r"\$"), fontsize=10)
    figure.tight_layout()
    out = io.BytesIO()
    figure.savefig(out, format="png")
    return out.getvalue()
