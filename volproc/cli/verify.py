"""``volproc verify`` and ``volproc seams``: whether a result can be trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from volproc.cli.options import (
    Sizes,
    cluster_options,
    overwrite_option,
    pick_selection,
    quiet_option,
    run_options,
    say,
    selection_options,
    trust_option,
    write_results,
)


class Regions(click.ParamType):
    """A number of regions, or ``all``."""

    name = "N|all"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        """Whole number, or the word."""
        if value == "all" or isinstance(value, int):
            return value
        if not str(value).isdigit() or int(value) < 1:
            self.fail(f'"{value}" is not a number of regions. Give 8, or "all".', param, ctx)
        return int(value)


@click.command()
@click.argument("address", metavar="RUN")
@click.option(
    "--regions",
    type=Regions(),
    default=8,
    show_default=True,
    help="Random regions to compute again, each as large as a block; all for the whole volume. "
    "Of a class map.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of their places.")
@click.option("--input", "input_address", default="", help="Where the input is now, if moved.")
@click.option("-m", "--model", default="", help="Where the model is now, if moved.")
@trust_option
@cluster_options
@quiet_option
def verify(
    address: str,
    regions: Any,
    seed: int,
    input_address: str,
    model: str,
    trust_model: bool,
    **options: Any,
) -> int:
    """Compute a finished run again, under another chunking.

    RUN is the class map that "volproc segment semantic" wrote, its record, or a folder with one:
    regions are computed and compared bit by bit. Or it is the picks that "volproc localize"
    wrote, which are found again in the whole class map. A certificate is written beside the
    output. The exit status is 1 if anything differs.
    """
    from volproc.io.copick_address import absolute_address
    from volproc.workflows.verify import verify as run

    with run_options(options) as how:
        report = run(
            absolute_address(address),
            regions=regions,
            seed=seed,
            input_address=absolute_address(input_address),
            model=model,
            trust_model=trust_model,
            **how,
        )
    facts = report.facts
    seams = facts.get("seams")
    write_results(
        {
            "verdict": facts["verdict"],
            "particles": facts.get("particles"),
            "regions": len(facts["regions"]) if "regions" in facts else None,
            "covered": f"{facts['covered']:.2%}",
            "seams": f"{seams['verdict']}: {seams['reason']}" if seams else None,
            "certificate": report.certificate,
        }
    )
    if not report.is_equal:
        click.echo(f"Error: {facts['summary']}", err=True)
    return int(not report.is_equal)


@click.command()
@click.argument("address", metavar="ADDRESS")
@click.option(
    "--chunks",
    type=Sizes(),
    help="Blocks that it was made in, z,y,x; by default those of the record beside it.",
)
@click.option(
    "--kind",
    type=click.Choice(["labels", "intensity"]),
    help="What the voxels mean; integers are labels by default, others intensities.",
)
@click.option("--figure", type=click.Path(), help="PNG to write: every plane, seams marked.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the control planes.")
@selection_options
@overwrite_option
@cluster_options
@quiet_option
def seams(
    address: str,
    chunks: tuple[int, ...] | None,
    kind: Any,
    figure: str | None,
    seed: int,
    overwrite: bool,
    **options: Any,
) -> int:
    """Say whether labels, classes or probabilities show the blocks they were made in.

    What is found at the planes between blocks is held against the planes inside them. Prints a
    JSON object with figures, effects and p-values. The exit status is 0 only if the seams pass:
    1 if they show, or if it cannot be judged.
    """
    from volproc.core.errors import ExistsError
    from volproc.io.chunk_files import write_bytes
    from volproc.io.copick_address import absolute_address
    from volproc.io.open import inspect, to_volume
    from volproc.workflows.seams import check_seams

    if figure and Path(figure).exists() and not overwrite:
        msg = f"{figure} is there already. Use another name, or --overwrite."
        raise ExistsError(msg)
    header = inspect(absolute_address(address), **pick_selection(options))
    # Seams are a matter of voxels: where a file gives no size of theirs, any will do.
    volume = to_volume(header, voxel_size=None if header.voxel_size else 1.0)
    if chunks is not None:
        chunks = chunks[-volume.ndim :] if len(set(chunks)) == 1 else chunks
    with run_options(options) as how:
        report = check_seams(volume, chunks=chunks, kind=kind, seed=seed, **how)
    say(json.dumps(report.to_json(), indent=2))
    if figure:
        from volproc.report.seams import draw_seams

        write_bytes(Path(figure), draw_seams(report.profiles, report.seams, title=address))
    if not report.passed:
        click.echo(f"{report.verdict}: {report.reason}", err=True)
    return int(not report.passed)
