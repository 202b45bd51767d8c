"""The picture of precision against recall: a picture, with a line where there are points."""

import io

import numpy as np
from PIL import Image

from volproc.metrics.sweep import Gains, sweep_scores
from volproc.report.figures import PALETTE
from volproc.report.precision_recall import draw_precision_recall


def colours(png: bytes) -> set[str]:
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    return {f"#{r:02X}{g:02X}{b:02X}" for r, g, b in np.unique(pixels, axis=0)}


def test_every_class_with_points_has_its_line() -> None:
    hits = np.array([1, 0, 1], np.uint16)
    curve = sweep_scores([Gains(np.array([0.9, 0.5, 0.2]), hits, hits, 3)])
    empty = sweep_scores([Gains(np.zeros(0), hits[:0], hits[:0], 2)])
    png = draw_precision_recall({"a_$": curve, "rod": empty, "overall": curve}, beta=4.0)
    assert png.startswith(b"\x89PNG")
    assert PALETTE[0] in colours(png)
    assert "#30363D" in colours(png)
    none = colours(draw_precision_recall({"rod": empty}, beta=4.0))
    assert "#30363D" not in none
    assert draw_precision_recall({}, beta=4.0).startswith(b"\x89PNG")
