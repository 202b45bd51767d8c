"""What outputs of many inputs are called, so that no two have one name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path

from volproc.core.errors import AddressError, ConfigError, ExistsError, nearest
from volproc.io.copick_address import absolute_address, is_copick
from volproc.io.formats import find_format
from volproc.workflows.record import POINT_ENDINGS, record_path

PLACES = ("name", "folder")
"""What a template may hold in braces: an input's name, and the name of the folder it lies in."""

NUM_NAMED = 5
"""Things of many that a message names."""


def input_name(address: str) -> str:
    """What to call outputs of an input.

    >>> input_name("a/b.mrc.gz"), input_name("c.json:TS_1/wbp@10"), input_name("d.h5:/raw")
    ('b', 'TS_1', 'd')
    >>> input_name("slices/*.tif")
    'slices'
    """
    _, is_member, member = address.partition(".json:")
    if is_member:
        return member.split("/")[0] or "volume"
    path = Path(address.split(":/")[0])
    if any(sign in path.name for sign in "*?["):
        path = path.parent
    return path.name.split(".")[0] or "volume"


def make_template(output: str | None, *, usual: str, is_many: bool) -> str:
    """Turn what was asked for into a template of outputs.

    Parameters
    ----------
    output : str or None
        A folder (it ends with a slash, or is there, or has no ending and there are many inputs), a
        template, or one output. A member of a copick project with ``*`` for its run goes to each
        input's run.
    usual : str
        Template of file names in a folder, as ``{name}_classes.zarr``.
    is_many : bool
        Whether there may be several inputs.

    Returns
    -------
    template : str
        With ``{name}`` and ``{folder}``; an output as it was given, where there is one.

    Raises
    ------
    ConfigError
        If a template holds something else in braces, or if several inputs would go to one output.

    Examples
    --------
    >>> make_template("out/", usual="{name}_classes.zarr", is_many=True)
    'out/{name}_classes.zarr'
    >>> make_template("c.json:*/predict:me/1@10", usual="", is_many=True)
    'c.json:{name}/predict:me/1@10'
    """
    if output is None:
        return usual
    if is_copick(output):
        output = re.sub(r"(\.json:)\*/", r"\1{name}/", output, flags=re.IGNORECASE)
    holes = re.findall(r"\{([^{}]*)\}", output)
    if holes:
        _check_holes(output, holes)
        return output
    if _is_folder(output, is_many=is_many):
        return f"{output.rstrip('/') or '/'}/{usual}".replace("//", "/")
    if is_many:
        msg = (
            f"{output} is one output, and there are several inputs. Give a folder, as "
            f'{input_name(output)}/, or a template, as "{{name}}_{Path(output).name}".'
        )
        raise ConfigError(msg)
    return output


def fill_template(
    template: str, address: str, *, name_of: Callable[[str], str] = input_name
) -> str:
    """Output of one input.

    Raises
    ------
    AddressError
        If the input's name cannot be part of a path.
    """
    folder = Path(address.partition(".json:")[0]).absolute().parent.name
    for hole, value in (("name", name_of(address)), ("folder", folder)):
        if f"{{{hole}}}" not in template:
            continue
        if value in ("", ".", "..") or "/" in value or "\\" in value or "\0" in value:
            msg = (
                f'{address} has the {hole} "{value}", which cannot be part of an output\'s name. '
                "Give its output by itself."
            )
            raise AddressError(msg)
        template = template.replace(f"{{{hole}}}", value)
    return template


def make_folders(*outputs: str) -> None:
    """Make the folders that outputs go to; a copick project makes its own."""
    for output in outputs:
        if output and not is_copick(output):
            record_path(output).parent.mkdir(parents=True, exist_ok=True)


def place_key(address: str) -> str:
    """Text that is equal for two outputs in one place.

    >>> place_key("/a/./b.zarr") == place_key("/a/b.zarr")
    True
    """
    return absolute_address(address)


def refuse_collisions(placed: Iterable[tuple[str, str]]) -> None:
    """Refuse inputs whose outputs would have one name.

    Parameters
    ----------
    placed : iterable of (str, str)
        Input and output.

    Raises
    ------
    ConfigError
        Naming both inputs of the first pair, and how many more there are.
    """
    first: dict[str, str] = {}
    twice = []
    for address, output in placed:
        other = first.setdefault(place_key(output), address)
        if other != address:
            twice.append((other, address, output))
    if twice:
        one, two, output = twice[0]
        more = f"; {len(twice) - 1} more like these" if len(twice) > 1 else ""
        cure = "Leave one of them out, or give each an output in a command of its own."
        if any(Path(a).parent.name != Path(b).parent.name for a, b, _ in twice):
            cure = 'Give a template that tells them apart, as -o "OUT/{folder}_{name}.zarr".'
        msg = f"{one} and {two} would both be written to {output}{more}. {cure}"
        raise ConfigError(msg)


def refuse_existing_outputs(outputs: list[str]) -> None:
    """Refuse outputs that are there, all at once.

    Raises
    ------
    ExistsError
        If there is any; the first few are named, and how many there are.
    """
    if outputs:
        several = f"{len(outputs)} outputs exist: {named(outputs)}"
        msg = (
            f"{several if len(outputs) > 1 else f'{outputs[0]} exists'}. Choose another place, go "
            "on with what is finished (resume=, --resume), or replace it with overwrite= "
            "(--overwrite)."
        )
        raise ExistsError(msg)


def named(items: list[str]) -> str:
    """Write the first few of many.

    >>> named([str(n) for n in range(7)])
    '0, 1, 2, 3, 4 and 2 more'
    """
    shown = ", ".join(items[:NUM_NAMED])
    more = len(items) - NUM_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _check_holes(output: str, holes: list[str]) -> None:
    for hole in holes:
        if hole not in PLACES:
            msg = f'{output} holds "{{{hole}}}", {nearest(hole, PLACES)}'
            raise ConfigError(msg)


def _is_folder(output: str, *, is_many: bool) -> bool:
    """Whether an output is a folder for outputs."""
    if output.endswith("/"):
        return True
    if is_copick(output) or ":/" in output or output.lower().endswith(POINT_ENDINGS):
        return False
    if Path(output).is_dir():  # a zarr store is an output, not a folder for some
        return find_format(output).name == "slices"
    return is_many and not Path(output).suffix
