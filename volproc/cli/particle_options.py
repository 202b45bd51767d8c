"""Options that say which objects are particles, and where their centres lie."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

PROBABILITIES = "probabilities"
"""What stands for the map of --probabilities where a map of weights is asked for."""


class LeastVoxels(click.ParamType):
    """A number of voxels of all classes, or of one, as ``NAME=N``."""

    name = "N|NAME=N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Name, empty for all classes, and number."""
        if not isinstance(value, str):
            return value
        name, equals, text = value.rpartition("=")
        if not text.strip().isdecimal() or (equals and not name):
            self.fail(
                f'"{value}" is no number of voxels. Give one, as 100, or that of a class, as '
                "NAME=100.",
                param,
                ctx,
            )
        return name, int(text)


def min_voxels_option(function: F) -> F:
    """Add ``--min-voxels``."""
    return click.option(
        "--min-voxels",
        multiple=True,
        type=LeastVoxels(),
        help="Particles have more voxels than this, of all classes or of one; instead of "
        "--radius-min-scale. [default: 100 for erosion where nothing else bounds sizes]",
    )(function)


def size_options(function: F) -> F:
    """Add bounds of sizes, and what is kept of near particles."""
    for option in (
        click.option(
            "--inside",
            is_flag=True,
            help="Where the centre of a bent particle lies beside it, take its nearest voxel "
            "instead.",
        ),
        click.option(
            "--nms-distance",
            type=click.FloatRange(min=0),
            metavar="ANGSTROM",
            help="Of two particles of a class at this distance or nearer, Å, keep the one with "
            "the greater score; of equal ones the larger.",
        ),
        click.option(
            "--max-size",
            "max_size_nm3",
            type=click.FloatRange(min=0),
            metavar="NM3",
            help="Largest particle, nm³; after the erosion where there is one.",
        ),
        click.option(
            "--min-size",
            "min_size_nm3",
            type=click.FloatRange(min=0),
            metavar="NM3",
            help="Smallest particle, nm³; after the erosion where there is one.",
        ),
    ):
        function = option(function)
    return function


def nms_scale_option(function: F) -> F:
    """Add ``--nms-scale``."""
    return click.option(
        "--nms-scale",
        type=click.FloatRange(min=0),
        help="As --nms-distance, as a part of the radius.",
    )(function)


def map_options(function: F) -> F:
    """Add maps that weigh voxels, and that say how sure they are."""
    for option in (
        click.option(
            "--variance",
            metavar="MAP",
            default="",
            help="Map of variances, as segment semantic --variance writes it: a particle's spread "
            "is the root of their mean in it. {name} as in --probabilities.",
        ),
        click.option(
            "--weight-by",
            metavar="MAP",
            default="",
            help="Map whose numbers weigh the voxels of a centre, such as distances to the "
            "outside, those below 0 as 0; probabilities: those of --probabilities. {name} as "
            "there.",
        ),
    ):
        function = option(function)
    return function
