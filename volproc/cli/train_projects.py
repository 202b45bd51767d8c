"""From options of a training to the copick projects that are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from volproc.training.projects import Project


def projects_of(configs: tuple[str, ...], said: dict[str, Any]) -> tuple[Project, ...]:
    """Projects by name and path, each as often as it has voxel sizes.

    Parameters
    ----------
    configs : tuple of str
        Projects, as PATH or SESSION,PATH.
    said : dict
        Of which ``tomo_uris``, or ``voxel_size``, are looked at.

    Raises
    ------
    click.UsageError
        If projects have no names of their own, or their number is not that of the voxel sizes.
    """
    from volproc.training.projects import Project

    for name in ("tomo_alg", "voxel_size"):
        one_of(said, "tomo_uris", name)
    sizes = said.get("voxel_size", (10.0,))
    if len(sizes) not in (1, len(configs)):
        msg = f"{len(sizes)} voxel sizes for {len(configs)} projects. Give one, or one each."
        raise click.UsageError(msg)
    sizes = sizes * len(configs) if len(sizes) == 1 else sizes
    named = [(config.partition(",")[::2] if "," in config else ("", config)) for config in configs]
    sessions = [session for session, _ in named]
    if len(named) > 1 and ("" in sessions or len(set(sessions)) < len(sessions)):
        msg = "several projects need names of their own: --config a,one.json --config b,two.json."
        raise click.UsageError(msg)
    kinds: dict[float, list[str]] = {}
    for kind, spacing in dict.fromkeys(said.get("tomo_uris", ())):
        kinds.setdefault(spacing, []).append(kind)
    return tuple(
        Project(path, size, session, tuple(kinds.get(size, ())))
        for (session, path), own in zip(named, sizes, strict=True)
        for size in (kinds or (own,))
    )


def split_of(parts: tuple[float, ...]) -> tuple[float, float | None]:
    """Part of the runs to train on, and part to hold out.

    >>> split_of((0.8,)), split_of((0.7, 0.1))
    ((0.8, None), (0.7, 0.1))

    Raises
    ------
    click.UsageError
        If there are more than two, or they are the whole or more.
    """
    if len(parts) > 2 or parts[0] >= 1 or sum(parts) > 1 + 1e-9:
        msg = f"--data-split {','.join(f'{part:g}' for part in parts)} is more than there is. Give "
        msg += "the part to train on, below 1, and no more than the rest of it to hold out."
        raise click.UsageError(msg)
    return parts[0], parts[1] if len(parts) == 2 else None


def one_of(said: dict[str, Any], one: str, other: str) -> Any:
    """Value of one of two options that say the same; None where neither was given.

    Raises
    ------
    click.UsageError
        If both were given.
    """
    if one in said and other in said:
        first, second = (f"--{name.removesuffix('s').replace('_', '-')}" for name in (one, other))
        msg = f"{first} and {second} say the same: give one of them."
        raise click.UsageError(msg)
    return said.get(one, said.get(other))
