"""Options of ``volproc segment semantic`` for networks of CryoSiam."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

USUAL_MASK = "{name}_preds.h5"
"""Name of a mask in a folder, as CryoSiam calls it."""


class Thresholds(click.ParamType):
    """A probability for all classes, or by name: ``0.5`` or ``class-1=0.3,class-2=0.6``."""

    name = "T|CLASS=T,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | dict[str, float]:
        """One number, or numbers by class."""
        if not isinstance(value, str):
            return value
        parts = [part.rpartition("=") for part in value.split(",")]
        found: dict[str, float] = {}
        try:
            found = {name.strip(): float(number) for name, _, number in parts}
        except ValueError:
            found = {}
        is_single = len(parts) == 1 and "" in found
        is_sound = len(found) == len(parts) and (is_single or "" not in found)
        if not is_sound or not all(0 <= number <= 1 for number in found.values()):
            self.fail(
                f'"{value}" is no threshold. Give a probability in 0…1, or one by class: '
                "class-1=0.3,class-2=0.6.",
                param,
                ctx,
            )
        return found[""] if is_single else found


class Intensity(click.ParamType):
    """Minimum, maximum, mean and standard deviation."""

    name = "MIN,MAX,MEAN,STD"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Four numbers."""
        if not isinstance(value, str):
            return value
        try:
            found = tuple(float(part) for part in value.split(","))
        except ValueError:
            found = ()
        if len(found) != 4:
            self.fail(f'"{value}" are no four numbers. Give min,max,mean,std: 0,1,0,1.', param, ctx)
        return found


TILE_OPTIONS = (
    click.option(
        "--compat", type=click.Choice(["none", "cryosiam"]),
        help="With a network of CryoSiam: its patches and numbers, instead of those that the "
        "network gives for the whole volume (default).",
    ),
    click.option(
        "--mask", metavar="ADDRESS",
        help="With a network of CryoSiam: nothing is computed outside this mask of 0 and 1, which "
        "may have voxels of another size. A template with {name} and {folder}, or a folder with "
        "{name}_preds.h5.",
    ),
    click.option(
        "--threshold", type=Thresholds(),
        help="With a network of CryoSiam: smaller probabilities do not count, the largest of the "
        "others wins. [default: 0.5 of one channel, else 0]",
    ),
    click.option(
        "--intensity", type=Intensity(),
        help="With a network of CryoSiam: MIN and MAX become 0 and 1, what is outside is clipped; "
        "then MEAN is subtracted, and divided by STD. As in its training by default.",
    ),
    click.option(
        "--distances", type=click.Choice(["none", "float16", "float32"]),
        help="With a network of CryoSiam: also run its distance head, and store what it gives "
        "beside the class map.",
    ),
)  # fmt: skip
"""What is there for networks of CryoSiam alone."""


def tile_options(function: F) -> F:
    """Add `TILE_OPTIONS` to a command."""
    for option in reversed(TILE_OPTIONS):
        function = option(function)
    return function


def fill_mask(mask: str, address: str) -> str:
    """Address of the mask of an input; empty where none is wanted.

    Parameters
    ----------
    mask : str
        A template with ``{name}`` and ``{folder}``, a folder, or one mask.
    address : str
        The input.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.dataset_outputs import fill_template, make_template

    if not mask:
        return ""
    template = make_template(mask, usual=USUAL_MASK, is_many=False)
    return absolute_address(fill_template(template, address))
