"""The picture of the planes."""

import io

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from volproc.report.seams import SEAM, draw_seams


def orange(png: bytes) -> int:
    pixels = imread(io.BytesIO(png))[..., :3]
    return int((np.abs(pixels - to_rgb(SEAM)).max(axis=2) < 0.05).sum())


def test_seams_are_marked_in_their_colour() -> None:
    values = np.random.default_rng(0).random(40).tolist()
    profiles = {"changed": {"z": values, "x": values}, "size": {"z": values, "x": [np.nan] * 40}}
    marked = draw_seams(profiles, {"z": (10, 20), "x": (30,)}, title="a $ b")
    assert marked.startswith(b"\x89PNG")
    assert orange(marked) > 20
    assert orange(draw_seams(profiles, {"z": (), "x": ()})) == 0
