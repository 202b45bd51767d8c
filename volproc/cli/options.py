"""Options that several commands share, each with one name and one meaning."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click

from volproc.core.events import Event, Observer

F = TypeVar("F", bound=Callable[..., Any])


class VoxelSize(click.ParamType):
    """Å per voxel: one number, or one an axis as ``z,y,x``."""

    name = "Å"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | tuple[float, ...]:
        """One number, or a tuple in the order z, y, x."""
        if not isinstance(value, str):
            return value
        try:
            sizes = tuple(float(part) for part in value.split(","))
        except ValueError:
            sizes = ()
        if len(sizes) not in (1, 2, 3) or not all(0 < size < float("inf") for size in sizes):
            self.fail(
                f'"{value}" is not a voxel size. Give Å per voxel as one positive number, or as '
                "z,y,x (y,x for a micrograph).",
                param,
                ctx,
            )
        return sizes[0] if len(sizes) == 1 else sizes


class Sizes(click.ParamType):
    """Voxels an axis: one whole number for all, or ``z,y,x``."""

    name = "VOXELS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Three whole numbers in the order z, y, x."""
        if not isinstance(value, str):
            return value
        try:
            sizes = tuple(int(part) for part in value.split(","))
        except ValueError:
            sizes = ()
        if len(sizes) not in (1, 2, 3) or min(sizes) < 1:
            self.fail(
                f'"{value}" is not a size. Give whole numbers of voxels as z,y,x, or one for all '
                "axes.",
                param,
                ctx,
            )
        return sizes * 3 if len(sizes) == 1 else sizes


class Bytes(click.ParamType):
    """A number of bytes, with a unit where one is given."""

    name = "BYTES"
    units = {"": 1, "B": 1, **{f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)}} | {
        f"{p}IB": 1024**i for i, p in enumerate("KMGT", 1)
    }

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole bytes."""
        if not isinstance(value, str):
            return value
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
        if found is None or found[2].upper() not in self.units or float(found[1]) == 0:
            self.fail(
                f'"{value}" is not an amount of memory. Give it as 8GiB or 500MB.', param, ctx
            )
        return int(float(found[1]) * self.units[found[2].upper()])


class Named(click.ParamType):
    """A name and its number, as ``NAME=NUMBER``."""

    def __init__(self, number: type[int] | type[float], name: str) -> None:
        self.number = number
        self.name = name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | float]:
        """Name and number."""
        if not isinstance(value, str):
            return value
        name, _, text = value.rpartition("=")
        try:
            number = self.number(text)
        except ValueError:
            number = None
        if not name or number is None:
            self.fail(f'"{value}" is not {self.name}. Give a name, "=" and a number.', param, ctx)
        return name, number


def voxel_size_option(function: F) -> F:
    """Add ``--voxel-size`` and ``--override-voxel-size``."""
    function = click.option(
        "--override-voxel-size",
        is_flag=True,
        help="Use --voxel-size even where the file says something else.",
    )(function)
    return click.option(
        "-vs",
        "--voxel-size",
        type=VoxelSize(),
        help="Å per voxel, one number or z,y,x, where the file gives none.",
    )(function)


def selection_options(function: F) -> F:
    """Add ``--t``, ``--c``, ``--level`` and ``--dataset``: which array of a file."""
    for option in (
        click.option("--dataset", help="Path of the array inside a container."),
        click.option("--level", type=click.IntRange(min=0), help="Level of a pyramid, 0 finest."),
        click.option("--c", type=click.IntRange(min=0), help="Channel, where there are several."),
        click.option(
            "--t", type=click.IntRange(min=0), help="Time point, where there are several."
        ),
    ):
        function = option(function)
    return function


def overwrite_option(function: F) -> F:
    """Add ``--overwrite``."""
    return click.option(
        "--overwrite", is_flag=True, help="Replace an output that exists; refused otherwise."
    )(function)


def trust_option(function: F) -> F:
    """Add ``--trust-model``."""
    return click.option(
        "--trust-model",
        is_flag=True,
        help="Also take a TorchScript program or a pickled network, described by MODEL.json: "
        "loading one runs whatever its author put in.",
    )(function)


def quiet_option(function: F) -> F:
    """Add ``--quiet`` and ``--log-json``: what is said of the work."""
    for option in (
        click.option(
            "--log-json",
            metavar="FILE",
            help="Add every event as a line of JSON to this file; - is standard output, where "
            "results would be: they go to standard error then.",
        ),
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
    ):
        function = option(function)
    return function


def cluster_options(function: F) -> F:
    """Add ``--cluster``, ``--workers`` and ``--memory-limit``: what runs the work."""
    for option in (
        click.option(
            "--performance-report",
            metavar="FILE",
            help="Write what the Dask scheduler saw of the run, as a page of HTML.",
        ),
        click.option("--memory-limit", type=Bytes(), help="Memory of one worker process, as 8GiB."),
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Threads or processes of --cluster; one a core or GPU by default.",
        ),
        click.option(
            "--cluster",
            metavar="WHERE",
            help="serial (default), threads, local (processes), cuda (GPUs), tcp://HOST:PORT, "
            "tls://HOST:PORT, a scheduler file, or a YAML file with these settings and more, as "
            "for jobs of SLURM.",
        ),
    ):
        function = option(function)
    return function


def pick_selection(options: dict[str, Any]) -> dict[str, Any]:
    """Take ``t``, ``c``, ``level`` and ``dataset`` out of options; those not given are left out."""
    selection = {name: options.pop(name) for name in ("t", "c", "level", "dataset")}
    return {name: value for name, value in selection.items() if value is not None}


@contextmanager
def run_options(options: dict[str, Any], *, plans_memory: bool = False) -> Iterator[dict[str, Any]]:
    """Take what runs the work and what is said of it out of options, and give what workflows take.

    Parameters
    ----------
    options : dict
        Of a command with `cluster_options` and `quiet_option`.
    plans_memory : bool
        Whether the command keeps to ``--memory-limit`` without worker processes too.

    Yields
    ------
    arguments : dict
        ``executor`` and ``observe``.

    Raises
    ------
    click.UsageError
        If sizes of workers are given where there are none.
    """
    from volproc.cli.cluster_run import check_sizes, open_cluster
    from volproc.cluster.performance import report_performance

    where, report = options.pop("cluster"), options.pop("performance_report")
    limits = {name: options.pop(name) for name in ("workers", "memory_limit")}
    config = options.pop("config_run", None)
    check_sizes(where, **limits, config=config, plans_memory=plans_memory)
    with (
        watch_options(options) as observe,
        open_cluster(where, **limits, config=config) as session,
        report_performance(session, report),
    ):
        if session.dashboard:
            observe(Event("note", "cluster", text=f"Dashboard: {session.dashboard}"))
        yield {"executor": session, "observe": observe}


@contextmanager
def watch_options(options: dict[str, Any]) -> Iterator[Observer]:
    """Take ``--quiet`` and ``--log-json`` out of options, and give an observer that does both."""
    from volproc.cli.event_log import log_events
    from volproc.cli.progress import show_progress

    with (
        log_events(options.pop("log_json")) as log,
        show_progress(quiet=options.pop("quiet")) as show,
    ):

        def observe(event: Event) -> None:
            log(event)
            show(event)

        yield observe


def say(text: str = "") -> None:
    """Write a line of results: on stdout, or on stderr where stdout takes the log of events."""
    context = click.get_current_context(silent=True)
    click.echo(text, err=context is not None and context.params.get("log_json") == "-")


def shown_place(address: str) -> str:
    """Address for people: from the current folder where it lies below, as most often it was given.

    >>> shown_place(f"{Path.cwd()}/out/a.zarr"), shown_place("/elsewhere/a.zarr")
    ('out/a.zarr', '/elsewhere/a.zarr')
    """
    here = f"{Path.cwd()}/"
    return address.removeprefix(here) if len(here) > 2 else address


def write_results(results: dict[str, object]) -> None:
    """Write names and values on stdout, one a line, in columns; empty values are left out."""
    shown = {key: value for key, value in results.items() if value not in ("", None)}
    width = max(map(len, shown), default=0) + 2
    for key, value in shown.items():
        say(f"{key:<{width}}{value}")
