"""Which particle classes a class map holds: their values there, and their radii."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from glob import escape
from pathlib import Path
from typing import Any

from volproc.core.errors import AddressError, ConfigError, FormatError, nearest
from volproc.io.copick_address import CopickAddress, is_copick, parse_copick
from volproc.io.copick_config import find_run, local_root, open_project
from volproc.io.copick_members import find_segmentation
from volproc.io.copick_project import ProjectObject, project_objects
from volproc.io.octopi_logs import log_path, read_log
from volproc.workflows.record import read_record

PROBABILITIES = "_probabilities.zarr"
"""Ending of the probabilities that a segmentation leaves beside its class map."""


def known_classes(
    address: str,
    output: str = "",
    *,
    radii: Mapping[str, float | None],
    class_values: Mapping[str, int],
    objects: Sequence[str] = (),
    label: int | None = None,
    needs_radius: bool = True,
) -> tuple[dict[str, float | None], dict[str, int]]:
    """Radii and values of the particle classes of a class map.

    Values are those given, else those of the log that Octopi or volproc left of the segmentation,
    else of the record beside the map, else the labels of the copick project of the map or of the
    output; a binary segmentation of a project holds the object it is named after, as 1. Radii are
    those given, else of the project, else of the record.

    Parameters
    ----------
    address, output : str
        Class map, and where its picks go.
    radii : mapping of str to float
        Radius of each particle class, Å, where they are given; only these classes are looked for
        then, unless ``objects`` says otherwise.
    class_values : mapping of str to int
        Value of each class in the map, where they are given.
    objects : sequence of str
        The only classes to look for; all where it is empty.
    label : int
        Value of every class in the map, whatever else says.
    needs_radius : bool
        Whether a particle has to have a radius. Else one without is looked for too, and where no
        radius is known at all every class but the background.

    Returns
    -------
    radii : dict
        Radius of each class that is looked for, Å; None where it is not known.
    values : dict
        Values of all classes that are known.

    Raises
    ------
    ConfigError
        If values or radii are nowhere to be found, a particle of the project has no radius, or an
        object is unknown.
    """
    project = next((a for a in (address, output) if a and is_copick(a)), "")
    known = project_objects(parse_copick(project).config) if project else {}
    record = read_record(address) or _record_of_probabilities(address)
    values = dict(class_values)
    if label is not None:
        values = dict.fromkeys([*known, *radii, *record.get("classes", {}), *objects], label)
    values = values or _stored_values(address, known) or record.get("classes", {})
    values = values or {name: o.label for name, o in known.items()}
    chosen: dict[str, float | None] = dict(radii)
    if objects or not chosen:
        found = _of_project(known, values, objects, radii, project, needs_radius=needs_radius)
        found = found or dict(record.get("radii_angstrom", {}))
        if not needs_radius and (not found or class_values) and not chosen:
            found = {name: found.get(name) for name, value in values.items() if value}
        chosen = found | chosen
        chosen = _picked(chosen, objects, known) if objects else chosen
    if not chosen or not values:
        raise _unknown(address, "values" if chosen or not needs_radius else "radii", known, values)
    return chosen, values


def logged_values(address: CopickAddress) -> dict[str, int]:
    """Values of classes by the log of a segmentation; empty where it has none.

    Raises
    ------
    FormatError
        If there is a log without usable labels.
    """
    owner = {"user": str(address.user), "session": str(address.session), "name": address.name}
    root = local_root(str(open_project(address.config).config.overlay_root))
    if root is None:
        return {}  # logs are looked for on the local disk only
    path = log_path(address.config, "segment", **owner)
    if not path.is_file():
        return {}
    labels = read_log(path).get("labels")
    is_usable = isinstance(labels, dict) and all(
        isinstance(v, int) and not isinstance(v, bool) for v in labels.values()
    )
    if not labels or not is_usable:
        msg = (
            f"the log {path} says no labels, as `labels: {{ribosome: 1}}`, got {labels!r}. Write "
            "them into it, or give them with --class NAME=VALUE or --label VALUE."
        )
        raise FormatError(msg)
    return {str(name): int(value) for name, value in labels.items()}


def _record_of_probabilities(address: str) -> dict[str, Any]:
    """Record of the class map that lies beside probabilities; empty where there is none."""
    path = Path(address)
    stem = path.name.removesuffix(PROBABILITIES)
    if stem == path.name:
        return {}
    for beside in sorted(path.parent.glob(f"{escape(stem)}.*.json")):
        record = read_record(str(beside.with_suffix("")))
        if Path(str(record.get("probabilities", ""))).name == path.name:
            return record
    return {}


def _stored_values(address: str, known: Mapping[str, ProjectObject]) -> dict[str, int]:
    """Values that a segmentation of a project has by its log, or by its kind."""
    if not is_copick(address):
        return {}
    found = parse_copick(address)
    if not found.has_owner:
        return {}
    if values := logged_values(found):
        return values
    if found.name not in known:
        return {}
    try:
        member, _ = find_segmentation(find_run(open_project(found.config), found), found)
    except AddressError:
        return {}  # it is not there, as opening it will say
    return {found.name: 1} if member.segmentation_type == "binary" else {}


def _of_project(
    known: Mapping[str, ProjectObject],
    values: Mapping[str, int],
    objects: Sequence[str],
    radii: Mapping[str, float | None],
    project: str,
    *,
    needs_radius: bool,
) -> dict[str, float | None]:
    """Radii of a project's particles that a map holds; an error where one is missing."""
    wanted = [
        o
        for name, o in known.items()
        if o.is_particle
        and name in values
        and name not in radii
        and (not objects or name in objects)
    ]
    without = [o.name for o in wanted if not o.radius_angstrom]
    if without and needs_radius:
        others = ",".join(o.name for o in wanted if o.radius_angstrom)
        cure = f", or leave it out with --pick-objects {others}" if others else ""
        msg = (
            f"{parse_copick(project).config} has particles without a radius: "
            f"{', '.join(without)}. Give each a radius there{cure}."
        )
        raise ConfigError(msg)
    return {o.name: float(o.radius_angstrom) if o.radius_angstrom else None for o in wanted}


def _picked(
    radii: Mapping[str, float | None], objects: Sequence[str], known: Mapping[str, ProjectObject]
) -> dict[str, float | None]:
    """Radii of the objects asked for; an error names one that cannot be had."""
    for name in objects:
        if name in radii:
            continue
        if name in known and not known[name].is_particle:
            msg = f'"{name}" is no particle in the project. Set is_particle there, or leave it out.'
            raise ConfigError(msg)
        if name in known:
            msg = (
                f'the map holds no "{name}": its classes are {", ".join(sorted(radii)) or "none"}. '
                f"Leave it out, or say its value with --label VALUE or --class {name}=VALUE."
            )
            raise ConfigError(msg)
        particles = {*radii, *(o.name for o in known.values() if o.is_particle)}
        msg = f'"{name}" is no particle that is known here, {nearest(name, particles)}'
        raise ConfigError(msg)
    return {name: radius for name, radius in radii.items() if name in objects}


def _unknown(
    address: str, what: str, known: Mapping[str, ProjectObject], values: Mapping[str, int]
) -> ConfigError:
    if known and values:
        particles = ", ".join(name for name, o in known.items() if o.is_particle)
        msg = (
            f"none of the project's particles ({particles or 'none'}) is among the classes of "
            f"{address}: {', '.join(values)}. Give radii and values, as --radius NAME=ANGSTROM "
            "and --class NAME=VALUE."
        )
        return ConfigError(msg)
    msg = (
        f"the {what} of the particle classes in {address} are not known: it is in no copick "
        "project, and no record of `volproc segment semantic` lies beside it. Give them, as "
        "--radius NAME=ANGSTROM and --class NAME=VALUE; sizes in nm³ (--min-size, --max-size) do "
        "without radii."
    )
    return ConfigError(msg)
