"""One HTML page that shows what a run found, with all pictures inside."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from volproc.report.figures import draw_classes, draw_points
from volproc.report.slices import PLANES, RunView


def demo_page(
    path: str | os.PathLike[str],
    runs: Sequence[RunView],
    scores: pd.DataFrame | None = None,
    *,
    class_names: Sequence[str],
    radii: Mapping[str, float],
    title: str = "volproc demo",
    facts: Mapping[str, str] | None = None,
) -> Path:
    """Write a page of slices, classes, points and scores.

    Parameters
    ----------
    path : str or path
        The HTML file; replaced as a whole.
    runs : sequence of RunView
        Runs to show, each as three planes.
    scores : DataFrame, optional
        What `volproc.metrics.points.score_points` or ``combine_scores`` returned.
    class_names : sequence of str
        Names by value in the class maps, the background first.
    radii : mapping of str to float
        Radius of each class's particles, Å.
    title : str
        Head of the page.
    facts : mapping of str to str
        What else to say: name → text.

    Returns
    -------
    path : Path
        The file.

    Notes
    -----
    The page needs no other file and no network. Text is escaped.
    """
    environment = Environment(
        loader=PackageLoader("volproc", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    text = environment.get_template("demo.html").render(
        title=title,
        facts=dict(facts or {}),
        scores=[] if scores is None else scores.to_dict("records"),
        runs=[_show(view, class_names, radii) for view in runs],
    )
    final = Path(path)
    partial = final.with_name(f"{final.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(final)
    return final


def _show(view: RunView, class_names: Sequence[str], radii: Mapping[str, float]) -> dict[str, Any]:
    """Values of one run in the template."""
    places = [f"{'zyx'[PLANES[one.plane]]} = {one.position}" for one in view.slices]
    return {
        "name": view.name,
        "facts": view.facts,
        "where": ", ".join(places),
        "has_truth": view.truth is not None,
        "classes": b64encode(draw_classes(view, class_names)).decode(),
        "points": b64encode(draw_points(view, class_names, radii)).decode(),
    }
