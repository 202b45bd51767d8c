"""``volproc localize``: a class map in, particle centres out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from volproc.cli.options import (
    Named,
    cluster_options,
    overwrite_option,
    pick_selection,
    quiet_option,
    run_options,
    selection_options,
    voxel_size_option,
    write_results,
)


@click.command()
@click.argument("address", metavar="CLASSES")
@click.option(
    "-o",
    "--output",
    help="Picks to write: .csv, .star or CONFIG.json:RUN/:USER/SESSION. CLASSES_picks.csv here by "
    "default.",
)
@click.option(
    "--radius",
    "radii",
    multiple=True,
    type=Named(float, "NAME=Å"),
    help="Radius of a particle class, Å; once a class.",
)
@click.option(
    "--class",
    "class_values",
    multiple=True,
    type=Named(int, "NAME=VALUE"),
    help="Value of a class in the map; once a class.",
)
@click.option(
    "-m",
    "--method",
    type=click.Choice(["watershed", "centre-of-mass"]),
    default="watershed",
    show_default=True,
    help="Split objects at their necks, or take connected voxels as they are.",
)
@click.option(
    "-rmin",
    "--radius-min-scale",
    type=click.FloatRange(min=0),
    default=0.5,
    show_default=True,
    help="Smallest particle: a ball of this part of the radius.",
)
@click.option(
    "-rmax",
    "--radius-max-scale",
    type=click.FloatRange(min=0),
    show_default="1.0 for a watershed, 1.5 for centres of mass",
    help="Largest particle: a ball of this part of the radius.",
)
@click.option(
    "-fs",
    "--filter-size",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    help="Watershed: side of the window, in voxels, in which a particle's middle is the thickest "
    "place.",
)
@click.option(
    "--ties",
    type=click.Choice(["scikit-image", "raster"]),
    default="scikit-image",
    show_default=True,
    help="Watershed: order of equally thick places, as scikit-image floods the whole volume, or by "
    "place, which needs less memory.",
)
@click.option(
    "--border",
    type=click.FloatRange(min=0, max=0.5, max_open=True),
    default=0.005,
    show_default=True,
    help="Part of the volume's size in which particles are left out.",
)
@click.option(
    "--max-object-voxels",
    type=click.IntRange(min=1),
    default=2**28,
    show_default=True,
    help="Watershed: largest box of an object that is split.",
)
@click.option(
    "--connectivity",
    type=click.IntRange(1, 3),
    default=1,
    show_default=True,
    help="Centres of mass: voxels that belong together share a face (1), an edge (2) or a corner "
    "(3).",
)
@click.option(
    "--convention",
    type=click.Choice(["corner", "centered"]),
    help="Coordinates of a STAR file: pixels from the first voxel, or Å from the middle.",
)
@click.option(
    "--pixel-size",
    type=click.FloatRange(min=0, min_open=True),
    help="Å per pixel of the tilt series, for a STAR file.",
)
@voxel_size_option
@selection_options
@overwrite_option
@cluster_options
@quiet_option
def localize(
    address: str,
    output: str | None,
    radii: tuple[tuple[str, float], ...],
    class_values: tuple[tuple[str, int], ...],
    convention: str | None,
    pixel_size: float | None,
    **options: Any,
) -> None:
    """Find particle centres in a class map.

    Objects are connected voxels of one class, split at their necks where particles touch; those
    of a particle's size are kept. Radii and values of the classes come from the copick project,
    or from the record that "volproc segment semantic" left beside the map, where they are not
    given.
    """
    from volproc.workflows.particles import LocalizeTask
    from volproc.workflows.particles import localize as run

    selection = pick_selection(options)
    formats = {"convention": convention, "pixel_size": pixel_size}
    with run_options(options) as how:
        task = LocalizeTask(
            address,
            output or default_output(address),
            radii=dict(radii),
            class_values=dict(class_values),
            selection=selection,
            options={key: value for key, value in formats.items() if value is not None},
            **options,
        )
        points, paths = run(task, **how)
    counts = points.table["class_name"].value_counts()
    write_results({str(name): int(count) for name, count in sorted(counts.items())})
    write_results({"picks": "\n".join(map(str, paths))})


def default_output(address: str) -> str:
    """Name of picks in this folder, from that of the class map.

    >>> default_output("runs/a_classes.ome.zarr"), default_output("c.json:TS_1/classes@10")
    ('a_picks.csv', 'TS_1_picks.csv')
    """
    return f"{stem(address).removesuffix('_classes')}_picks.csv"


def stem(address: str) -> str:
    """What to call outputs of an address.

    >>> stem("a/b.mrc.gz"), stem("c.json:TS_1/wbp@10"), stem("d.h5:/raw"), stem("slices/*.tif")
    ('b', 'TS_1', 'd', 'slices')
    """
    _, is_member, member = address.partition(".json:")
    if is_member:
        return member.split("/")[0] or "volume"
    path = Path(address.split(":/")[0])
    if any(sign in path.name for sign in "*?["):
        path = path.parent
    return path.name.split(".")[0] or "volume"
