"""The page: whole in one file, everything escaped, pictures that show what they should."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from volproc.core.errors import ShapeError
from volproc.core.points import Points
from volproc.metrics.points import score_points
from volproc.report.figures import OPACITY, colour_classes, cut_circles, draw_points, paint_classes
from volproc.report.page import demo_page
from volproc.report.slices import RunView, Slice, cut_slices

SHAPE, VOXEL = (10, 14, 22), (20.0, 10.0, 10.0)
NAMES = ("background", "ribosome", "membrane")
RADII = {"ribosome": 60.0}


class Source:
    """A volume in memory that remembers what was read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype, self.chunks = array, array.shape, array.dtype, SHAPE
        self.regions: list[tuple[slice, ...]] = []

    def read(self, region: tuple[slice, ...]) -> np.ndarray:
        self.regions.append(region)
        return self.array[region]

    def identity(self) -> str:
        return "memory"


def points(zyx: object) -> Points:
    return Points.from_zyx(zyx, class_name="ribosome", voxel_size=VOXEL, shape=SHAPE)


@pytest.fixture
def view() -> RunView:
    rng = np.random.default_rng(0)
    image = Source(rng.normal(size=SHAPE).astype(np.float32))
    classes = Source(rng.integers(0, 3, SHAPE).astype(np.uint8))
    return RunView("run <1>", cut_slices(image, classes), VOXEL, points([[5, 7, 11]]))


class Checker(HTMLParser):
    """Counts tags and collects what a browser would fetch."""

    VOID = ("meta", "img", "br", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self.sources += [v or "" for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_in_one_file(view: RunView, tmp_path: Path) -> None:
    scores = score_points(points([[5, 7, 11], [1, 1, 1]]), view.predicted, radii=RADII)
    path = demo_page(tmp_path / "demo.html", [view, view], scores, class_names=NAMES, radii=RADII)
    text = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(checker.sources) == 4
    assert all(source.startswith("data:image/png;base64,") for source in checker.sources)
    for data in re.findall(r'base64,([^"]+)"', text):
        assert imread(io.BytesIO(base64.b64decode(data))).shape[2] == 4
    assert "<td>ribosome</td><td>2</td><td>1</td><td>1</td><td>0</td><td>1</td>" in text
    assert ">0.667</td>" in text
    assert [p.name for p in tmp_path.iterdir()] == ["demo.html"]


def test_text_is_escaped(view: RunView, tmp_path: Path) -> None:
    facts = {"model": "<script>alert(1)</script>"}
    path = demo_page(
        tmp_path / "demo.html", [view], class_names=NAMES, radii=RADII, title="a & b", facts=facts
    )
    text = path.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "run &lt;1&gt;" in text
    assert "<title>a &amp; b</title>" in text


def test_three_planes_are_read_and_nothing_else() -> None:
    rng = np.random.default_rng(0)
    image = Source(rng.normal(size=SHAPE))
    z, y, x = cut_slices(image, centre=(3, 4, 5))
    assert (z.plane, y.plane, x.plane) == ("xy", "xz", "yz")
    assert np.array_equal(z.image, image.array[3])
    assert np.array_equal(y.image, image.array[:, 4])
    assert np.array_equal(x.image, image.array[:, :, 5])
    assert [min(s.stop - s.start for s in region) for region in image.regions] == [1, 1, 1]


def test_slices_that_do_not_fit_are_refused() -> None:
    image, classes = Source(np.zeros(SHAPE)), Source(np.zeros((5, 7, 11), np.uint8))
    with pytest.raises(ShapeError, match=r"\(10, 14, 22\) and a class map of \(5, 7, 11\)"):
        cut_slices(image, classes)
    with pytest.raises(ShapeError, match="is outside the volume"):
        cut_slices(image, centre=(10, 0, 0))
    with pytest.raises(ShapeError, match=r"shape \(2, 3\), its classes \(3, 2\)"):
        Slice("xy", 0, np.zeros((2, 3)), np.zeros((3, 2), np.uint8))


def test_circles_are_cuts_of_balls_in_nanometres() -> None:
    ball = points([[5, 7, 11]])
    for plane, position, horizontal, vertical in (
        ("xy", 7, 11.0, 7.0),  # 2 voxels of 20 Å off: a 60 Å ball is cut at sqrt(60² - 40²)
        ("xz", 11, 11.0, 10.0),
        ("yz", 15, 10.0, 7.0),
    ):
        one = Slice(plane, position, np.zeros((2, 2)))
        ((h, v, radius, name),) = cut_circles(one, ball, RADII)
        assert (h, v) == (horizontal, vertical)
        assert radius == pytest.approx(np.sqrt(60**2 - 40**2) / 10)
        assert name == "ribosome"
    assert cut_circles(Slice("xy", 8, np.zeros((2, 2))), ball, RADII) == []


def test_classes_are_painted_in_their_colours() -> None:
    painted = paint_classes(np.array([[0, 1, 2, 9]]), ["#ff0000", "#0000ff"])
    assert painted[0, 0, 3] == 0
    assert painted[0, 1].tolist() == [1.0, 0.0, 0.0, OPACITY]
    assert painted[0, 2].tolist() == painted[0, 3].tolist() == [0.0, 0.0, 1.0, OPACITY]
    assert len(set(colour_classes(NAMES).values())) == 2


def test_pictures_show_the_particle_where_it_is() -> None:
    """A circle of colour surrounds the point, and nothing is coloured far from it."""
    flat = np.zeros((40, 60, 60), np.float32)
    predicted = Points.from_zyx(
        [[20, 15, 45]], class_name="ribosome", voxel_size=(10.0,) * 3, shape=flat.shape
    )
    here = RunView("run", cut_slices(Source(flat)), (10.0,) * 3, predicted)
    pixels = imread(io.BytesIO(draw_points(here, NAMES, RADII)))[..., :3]
    coloured = np.argwhere(np.ptp(pixels, axis=2) > 0.3)
    # The plane xy takes the upper left 60 of 100 parts; the legend lies at the lower right.
    rows, columns = coloured.T / np.array([[pixels.shape[0]], [pixels.shape[1]]])
    inside = (rows < 0.58) & (columns < 0.58)
    assert np.mean(rows[inside]) == pytest.approx(0.6 * 15 / 60, abs=0.02)
    assert np.mean(columns[inside]) == pytest.approx(0.6 * 45 / 60, abs=0.02)


def test_odd_values_do_not_break_a_picture() -> None:
    broken = np.full((4, 5, 6), np.nan, np.float32)
    here = RunView("run", cut_slices(Source(broken)), VOXEL, points([]))
    assert draw_points(here, NAMES, RADII).startswith(b"\x89PNG")
