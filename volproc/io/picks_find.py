"""Which picks and segmentations of a copick project fit a name, user and session."""

from __future__ import annotations

from pathlib import Path

from volproc.core.errors import FormatError
from volproc.io.copick_address import (
    CopickAddress,
    picks_address,
    segmentation_address,
)
from volproc.io.copick_config import find_run, is_spacing, open_project


def find_picks(
    config: Path | str,
    run: str,
    object_name: str,
    *,
    user: str | None = None,
    session: str | None = None,
) -> list[str]:
    """Addresses of all picks of one object in a run, as `volproc.io.points.read_points` takes them.

    Parameters
    ----------
    config : path
        Configuration file of the project.
    run, object_name : str
        Where to look, and for what.
    user, session : str or None
        Whose picks; None for those of all.

    Returns
    -------
    addresses : list of str
        Sorted; none where there are no such picks. Picks of the overlay hide read-only ones.

    Raises
    ------
    AddressError
        If the project has no such run.
    FormatError
        If copick cannot list the run's picks.
    """
    found = find_run(open_project(config), CopickAddress(Path(config), run, ""))
    try:
        every = found.picks
    except (IndexError, AssertionError) as error:
        msg = (
            f"the Picks folder of run {run} holds a file that is not named "
            "USER_SESSION_OBJECT.json, which copick cannot list. Move it elsewhere."
        )
        raise FormatError(msg) from error
    owners = {
        (p.user_id, p.session_id)
        for p in every
        if p.pickable_object_name == object_name
        and user in (None, p.user_id)
        and session in (None, p.session_id)
    }
    return [
        picks_address(config, run, user=u, session=s, object_name=object_name)
        for u, s in sorted(owners)
    ]


def find_segmentations(
    config: Path | str,
    run: str,
    name: str,
    *,
    voxel_size: float,
    user: str | None = None,
    session: str | None = None,
) -> list[str]:
    """Addresses of all segmentations of one name in a run, as `volproc.open` takes them.

    Parameters
    ----------
    config : path
        Configuration file of the project.
    run, name : str
        Where to look, and for what.
    voxel_size : float
        Å per voxel.
    user, session : str or None
        Whose segmentations; None for those of all.

    Returns
    -------
    addresses : list of str
        Sorted; none where there are no such segmentations.

    Raises
    ------
    AddressError
        If the project has no such run.
    """
    found = find_run(open_project(config), CopickAddress(Path(config), run, ""))
    owners = {
        (s.user_id, s.session_id)
        for s in found.segmentations
        if s.name == name
        and is_spacing(s.voxel_size, voxel_size)
        and user in (None, s.user_id)
        and session in (None, s.session_id)
    }
    return [
        segmentation_address(config, run, name, user=u, session=s, voxel_size=voxel_size)
        for u, s in sorted(owners)
    ]
