"""Pictures of three planes with classes and points on them, as PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PatchCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Patch
from matplotlib.patheffects import withStroke

from volproc.core.points import Points
from volproc.report.slices import RunView, Slice

PALETTE = ("#E69F00", "#56B4E9", "#00B27A", "#F0E442", "#CC79A7", "#D55E00", "#0072B2")
"""Colours of the classes after the background, told apart by colour-blind eyes too (Okabe and
Ito, "Color Universal Design", 2008)."""

TRUTH = "#FFFFFF"
"""Colour of what is really there."""

OPACITY = 0.55
"""Of a class over the tomogram."""

OUTLINE = [withStroke(linewidth=2.5, foreground="#000000")]
"""Keeps white text readable on light voxels."""

DEFAULT_RADIUS = 50.0
"""Å, of the circle around a point whose class has no radius."""

NM = 0.1
"""Nanometres per ångström."""


def colour_classes(class_names: Sequence[str]) -> dict[str, str]:
    """Colour of each class; the background, which comes first, has none.

    >>> colour_classes(("background", "ribosome"))
    {'ribosome': '#E69F00'}
    """
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(class_names[1:])}


def draw_classes(view: RunView, class_names: Sequence[str]) -> bytes:
    """Draw the planes with the predicted classes over them.

    Parameters
    ----------
    view : RunView
        What to show.
    class_names : sequence of str
        Names by value in the class map, the background first.

    Returns
    -------
    png : bytes
    """
    colours = colour_classes(class_names)
    figure, axes, legend = _lay_out(view)
    for one in view.slices:
        _show(axes[one.plane], one, view.voxel_size)
        if one.classes is not None:
            axes[one.plane].imshow(
                paint_classes(_turned(one, one.classes), list(colours.values())),
                extent=_extent(one, view.voxel_size),
                interpolation="nearest",
            )
    present = {
        int(value)
        for one in view.slices
        if one.classes is not None
        for value in np.unique(one.classes)
    }
    handles = [
        Patch(color=colours[name], alpha=0.8, label=name)
        for value, name in enumerate(class_names)
        if value in present and name in colours
    ]
    _write_legend(legend, handles)
    return _png(figure)


def draw_points(view: RunView, class_names: Sequence[str], radii: Mapping[str, float]) -> bytes:
    """Draw the planes with a circle where a particle cuts them: predicted, and true.

    Parameters
    ----------
    view : RunView
        What to show.
    class_names : sequence of str
        Names by value in the class map, the background first.
    radii : mapping of str to float
        Radius of each class, Å.

    Returns
    -------
    png : bytes
    """
    colours = colour_classes(class_names)
    figure, axes, legend = _lay_out(view)
    for one in view.slices:
        ax = axes[one.plane]
        _show(ax, one, view.voxel_size)
        if view.truth is not None:
            _circles(ax, one, view.truth, radii, dict.fromkeys(colours, TRUTH), width=2.6)
        _circles(ax, one, view.predicted, radii, colours, width=1.3)
    found = set(view.predicted.class_names)
    handles: list[Any] = [
        Line2D([], [], color=colours.get(name, TRUTH), lw=1.3, label=name)
        for name in class_names
        if name in found
    ]
    if view.truth is not None:
        handles.append(Line2D([], [], color=TRUTH, lw=2.6, label="truth"))
    _write_legend(legend, handles)
    return _png(figure)


def paint_classes(classes: npt.NDArray[Any], colours: Sequence[str]) -> npt.NDArray[np.float64]:
    """Colour a class map; value ``k`` gets ``colours[k - 1]``, 0 is clear.

    Returns
    -------
    rgba : ndarray, (rows, columns, 4)
        Between 0 and 1.
    """
    table = np.zeros((len(colours) + 1, 4))
    for value, colour in enumerate(colours, start=1):
        table[value] = (*to_rgb(colour), OPACITY)
    return table[np.clip(classes.astype(np.int64), 0, len(colours))]


def cut_circles(
    one: Slice, points: Points, radii: Mapping[str, float]
) -> list[tuple[float, float, float, str]]:
    """Circles in which balls around points cut a plane.

    Returns
    -------
    circles : list of (float, float, float, str)
        Horizontal and vertical position and radius, nm, and class.
    """
    size = np.asarray(points.voxel_size, np.float64)
    centres = points.zyx * size
    across = np.abs(centres[:, one.axis] - one.position * size[one.axis])
    vertical, horizontal = _axes_of(one)
    circles = []
    for centre, distance, name in zip(
        centres, across, map(str, points.table["class_name"]), strict=True
    ):
        radius = radii.get(name, DEFAULT_RADIUS)
        if distance < radius:
            cut = sqrt(radius**2 - distance**2)
            circles.append((centre[horizontal] * NM, centre[vertical] * NM, cut * NM, name))
    return circles


def _circles(
    ax: Axes,
    one: Slice,
    points: Points,
    radii: Mapping[str, float],
    colours: Mapping[str, str],
    *,
    width: float,
) -> None:
    """Draw the circles of some points."""
    circles = cut_circles(one, points, radii)
    ax.add_collection(
        PatchCollection(
            [Circle((x, y), r) for x, y, r, _ in circles],
            facecolor="none",
            edgecolor=[colours.get(name, TRUTH) for *_, name in circles] or "none",
            linewidth=width,
        )
    )


def _lay_out(view: RunView) -> tuple[Figure, dict[str, Axes], Axes]:
    """Axes of the three planes as they touch in space, and one for the legend.

    ::

        xy | yz      y down, x and z to the right
        xz | legend  z down, x to the right
    """
    by_plane = {one.plane: one for one in view.slices}
    nz, ny, nx = 1.0, 1.0, 1.0
    for one in by_plane.values():
        sizes = [
            n * view.voxel_size[a] for n, a in zip(one.image.shape, _in_plane(one), strict=True)
        ]
        lengths = dict(zip(_in_plane(one), sizes, strict=True))
        nz, ny, nx = lengths.get(0, nz), lengths.get(1, ny), lengths.get(2, nx)
    nz_drawn = max(nz, 0.28 * max(nx, ny))  # a thin volume still leaves room for the legend
    width = 7.0
    figure = Figure(figsize=(width, width * (ny + nz_drawn) / (nx + nz_drawn)), dpi=84)
    FigureCanvasAgg(figure)
    figure.patch.set_facecolor("#111418")
    grid = figure.add_gridspec(
        2, 2, width_ratios=[nx, nz_drawn], height_ratios=[ny, nz_drawn],
        left=0.005, right=0.995, top=0.995, bottom=0.005, wspace=0.012, hspace=0.012,
    )  # fmt: skip
    axes = {
        "xy": figure.add_subplot(grid[0, 0]),
        "yz": figure.add_subplot(grid[0, 1]),
        "xz": figure.add_subplot(grid[1, 0]),
    }
    legend = figure.add_subplot(grid[1, 1])
    for ax in (*axes.values(), legend):
        ax.set_axis_off()
    return figure, axes, legend


def _show(ax: Axes, one: Slice, voxel_size: tuple[float, ...]) -> None:
    """Draw the tomogram itself, dark to light over all but its extreme voxels."""
    image = _turned(one, one.image).astype(np.float32)
    finite = image[np.isfinite(image)]
    low, high = np.percentile(finite, (0.5, 99.5)) if finite.size else (0.0, 1.0)
    ax.imshow(
        image,
        cmap="gray",
        vmin=float(low),
        vmax=float(high) if high > low else float(low) + 1.0,
        extent=_extent(one, voxel_size),
        interpolation="bilinear",
    )
    ax.set_aspect("equal")
    ax.text(
        0.02, 0.98, one.plane, color="white",
        transform=ax.transAxes, va="top", fontsize=10, path_effects=OUTLINE,
    )  # fmt: skip
    if one.plane == "xy":
        _scale_bar(ax, _extent(one, voxel_size))


def _scale_bar(ax: Axes, extent: tuple[float, float, float, float]) -> None:
    """Draw a bar of a round length, about a fifth of the width."""
    left, right, bottom, top = extent
    goal = (right - left) / 5
    power = 10 ** np.floor(np.log10(goal))
    length = power * max(f for f in (1, 2, 5) if f * power <= goal)
    x, y = left + 0.03 * (right - left), bottom - 0.03 * (bottom - top)
    ax.plot([x, x + length], [y, y], color="black", lw=5, solid_capstyle="projecting")
    ax.plot([x, x + length], [y, y], color="white", lw=3, solid_capstyle="butt")
    ax.text(
        x, y - 0.015 * (bottom - top), f"{length:g} nm", color="white", fontsize=10, va="bottom",
        path_effects=OUTLINE,
    )  # fmt: skip
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)


def _write_legend(ax: Axes, handles: list[Any]) -> None:
    """Write what the colours mean."""
    if handles:
        ax.legend(
            handles=handles, loc="center", frameon=False, fontsize=9, labelcolor="white",
            handlelength=1.2, borderpad=0,
        )  # fmt: skip


def _in_plane(one: Slice) -> tuple[int, int]:
    """Axes of the array of a slice, in the order z, y, x."""
    first, second = (a for a in (0, 1, 2) if a != one.axis)
    return first, second


def _axes_of(one: Slice) -> tuple[int, int]:
    """Vertical and horizontal axis as drawn; beside the xy plane, z runs to the right."""
    first, second = _in_plane(one)
    return (second, first) if one.plane == "yz" else (first, second)


def _turned(one: Slice, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Array of a slice with its vertical axis first."""
    return array.T if one.plane == "yz" else array


def _extent(one: Slice, voxel_size: tuple[float, ...]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of a slice, nm; voxel centres lie at whole voxels."""
    sizes = dict(zip(_in_plane(one), one.image.shape, strict=True))
    vertical, horizontal = _axes_of(one)
    v, h = voxel_size[vertical] * NM, voxel_size[horizontal] * NM
    return (-0.5 * h, (sizes[horizontal] - 0.5) * h, (sizes[vertical] - 0.5) * v, -0.5 * v)


def _png(figure: Figure) -> bytes:
    """Render a figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", facecolor=figure.get_facecolor())
    return out.getvalue()
