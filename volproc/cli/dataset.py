"""What commands that take many inputs share: which inputs, where outputs go, the final table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volproc.cli.options import say, shown_place

if TYPE_CHECKING:
    from volproc.workflows.dataset import DatasetReport
    from volproc.workflows.dataset_record import Entry

F = TypeVar("F", bound=Callable[..., Any])

MAX_ROWS = 40
"""Rows of the final table: of larger datasets only the volumes that failed are in it."""

MAX_FAILED = 100
"""Volumes that failed of which the table says why; ``run.json`` has all."""


def input_options(function: F) -> F:
    """Add ``--list`` and ``--run-ids``: inputs beside those on the command line."""
    for option in (
        click.option(
            "-runs",
            "--run-ids",
            "run_ids",
            multiple=True,
            metavar="RUN,...",
            help="Take only these runs of a copick project, where the input is a pattern of runs.",
        ),
        click.option(
            "--list",
            "lists",
            multiple=True,
            type=click.Path(),
            metavar="FILE",
            help="Text file that names one input a line; as @FILE among the inputs.",
        ),
    ):
        function = option(function)
    return function


def resume_option(function: F) -> F:
    """Add ``--resume``."""
    return click.option(
        "--resume",
        is_flag=True,
        help="Take finished outputs that were made with these settings for results, and do the "
        "rest. An unfinished run goes on by itself when its command is given again.",
    )(function)


def find_inputs(words: Sequence[str], options: dict[str, Any]) -> tuple[list[str], bool]:
    """Absolute addresses of all inputs, and whether they are a dataset rather than one volume.

    Parameters
    ----------
    words : sequence of str
        Inputs as they were given.
    options : dict
        From which ``lists`` and ``run_ids`` are taken out.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.io.inputs import LIST_SIGN, expand_inputs

    given = [*words, *(f"{LIST_SIGN}{path}" for path in options.pop("lists"))]
    runs = [name.strip() for text in options.pop("run_ids") for name in text.split(",")]
    addresses = list(expand_inputs(given, runs=[name for name in runs if name]))
    # Workers may have another current folder than this process.
    absolute = [absolute_address(address) for address in addresses]
    return absolute, addresses != given or len(addresses) > 1


def check_resume(options: dict[str, Any]) -> bool:
    """Take ``resume`` out of options; refuse it together with ``--overwrite``."""
    resume = bool(options.pop("resume"))
    if resume and options.get("overwrite"):
        msg = (
            "--resume keeps finished outputs and --overwrite replaces them: give one of them. An "
            "unfinished run with --overwrite goes on by itself when its command is given again."
        )
        raise click.UsageError(msg)
    return resume


def show_dataset(report: DatasetReport) -> int:
    """Write the table at the end of a run over a dataset, and return the exit status."""
    entries = report.entries
    shown = [e for e in entries if e.status == "failed" or len(entries) <= MAX_ROWS]
    for line in table_lines(shown[: max(MAX_ROWS, MAX_FAILED)]):
        say(line)
    if len(shown) > max(MAX_ROWS, MAX_FAILED):
        say(f"and {len(shown) - max(MAX_ROWS, MAX_FAILED)} more that failed")
    counts = ", ".join(f"{n} {what}" for what, n in report.counts.items() if what != "total" and n)
    say(f"{report.counts['total']} volumes: {counts}")
    say(f"record  {report.record}")
    if report.problem:
        click.echo(f"Error: {report.problem}", err=True)
    return 1 if report.counts["failed"] or report.problem else 0


def table_lines(entries: Sequence[Entry]) -> list[str]:
    """Rows of names, status, seconds and output or cause, in columns.

    >>> from volproc.workflows.dataset_record import Entry
    >>> for line in table_lines([Entry("TS_1", "a.mrc", "out/a.zarr", "done", 12.34)]):
    ...     print(line)
    TS_1  done  12.3 s  out/a.zarr
    """
    rows = [
        (
            entry.name,
            entry.status,
            f"{entry.seconds:.1f} s" if entry.seconds else "",
            " ".join(entry.error.split())
            if entry.status == "failed"
            else shown_place(entry.output),
        )
        for entry in entries
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    return [
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    ]
