"""``volproc info``: what is in a volume, from its head alone."""

from __future__ import annotations

import json
from math import prod
from typing import TYPE_CHECKING, Any

import click

from volproc.cli.options import pick_selection, selection_options
from volproc.plan.memory import format_bytes

if TYPE_CHECKING:
    from volproc.io.formats import Header


@click.command()
@click.argument("addresses", nargs=-1, required=True, metavar="ADDRESS...")
@selection_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object an address instead.")
def info(addresses: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Say what is in volumes: format, size, voxel size, chunks, and what is odd.

    Only heads of files are read. Of several arrays, channels or time points the first is described,
    and the others are named. ADDRESS is a file (MRC, OME-Zarr, zarr, TIFF, HDF5 as
    FILE.h5:/DATASET, .npy), a folder or glob of slices, or a member of a copick project as
    CONFIG.json:RUN/TOMOGRAM@VOXEL.
    """
    from volproc.core.errors import VolprocError
    from volproc.io.open import inspect_first

    selection = pick_selection(options)
    failed = 0
    for address in addresses:
        try:
            header, choices = inspect_first(address, **selection)
        except VolprocError as error:
            click.echo(f"Error: {error}", err=True)
            failed = 1
            continue
        facts = collect(header) | {"choices": choices}
        click.echo(json.dumps(facts, default=str) if as_json else write(facts))
    return failed


def collect(header: Header) -> dict[str, Any]:
    """Facts about a volume as plain values, in the order in which they are shown."""
    shape, dtype = header.source.shape, header.source.dtype
    axes = "zyx"[-len(shape) :]
    return {
        "address": header.address,
        "name": header.name,
        "format": header.format,
        "axes": axes,
        "shape": list(shape),
        "dtype": str(dtype),
        "num_bytes": prod(shape) * dtype.itemsize,
        "voxel_size_angstrom": list(header.voxel_size) if header.voxel_size else None,
        "origin_angstrom": list(header.origin or (0.0,) * len(shape)),
        "storage_chunks": list(header.source.chunks),
        "details": header.details,
        "notes": list(header.notes),
    }


def write(facts: dict[str, Any]) -> str:
    """Lines for people."""
    axes = f"({', '.join(facts['axes'])})"
    size = facts["voxel_size_angstrom"]
    rows = [
        ("format", facts["format"]),
        ("shape", f"{times(facts['shape'])} {axes}"),
        ("dtype", facts["dtype"]),
        ("size", format_bytes(facts["num_bytes"])),
        (
            "voxel size",
            f"{times(size)} Å {axes}" if size else "missing: give it with --voxel-size, in Å",
        ),
        ("origin", f"{', '.join(f'{value:g}' for value in facts['origin_angstrom'])} Å {axes}"),
        ("storage chunks", times(facts["storage_chunks"])),
    ]
    for key, value in facts["details"].items():
        if value is not None:
            rows += detail(str(key).replace("_", " "), value)
    rows += [("note", note) for note in facts["notes"]]
    width = max(len(key) for key, _ in rows) + 2
    return "\n".join([facts["address"], *(f"  {key:<{width}}{value}" for key, value in rows)])


def detail(key: str, value: Any) -> list[tuple[str, str]]:
    """Rows of one detail: a table is written in one line, several texts below each other."""
    if isinstance(value, dict):
        return [(key, ", ".join(f"{name} {text(one)}" for name, one in value.items()))]
    if isinstance(value, list | tuple) and value and all(isinstance(v, str) for v in value):
        if sum(map(len, value)) > 60:
            return [(key if i == 0 else "", str(v)) for i, v in enumerate(value)]
        return [(key, ", ".join(v or "-" for v in value))]
    if isinstance(value, list | tuple):
        return [(key, ", ".join(text(v) for v in value))]
    return [(key, text(value))]


def text(value: Any) -> str:
    """A number in short, anything else as it is."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def times(values: list[float]) -> str:
    """Sizes joined by ×.

    >>> times([78, 64, 32]), times([23.2, 23.19995, 7])
    ('78 × 64 × 32', '23.2 × 23.2 × 7')
    """
    return " × ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
