"""Views of a patch for test-time augmentation, each with its exact inverse."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from volproc.core.errors import ModelError, nearest


@dataclass(frozen=True, slots=True)
class View:
    """One way to look at a patch: flips, then a rotation about z.

    Parameters
    ----------
    name : str
        What people call it.
    flips : str
        Letters of the axes that are flipped first: ``""``, ``"z"``, ``"yx"`` …
    rotation : int
        Quarter turns of y towards x that follow, as in ``numpy.rot90(patch, rotation, (1, 2))``.

    Examples
    --------
    >>> patch = torch.arange(24).reshape(2, 3, 4)
    >>> view = View("turned", flips="z", rotation=1)
    >>> view.forward(patch).shape
    torch.Size([2, 4, 3])
    >>> bool((view.inverse(view.forward(patch)) == patch).all())
    True
    """

    name: str
    flips: str = ""
    rotation: int = 0

    def forward(self, array: torch.Tensor) -> torch.Tensor:
        """Transform the last three axes (…, z, y, x)."""
        if self.flips:
            array = torch.flip(array, self._dims())
        return torch.rot90(array, self.rotation, (-2, -1)) if self.rotation % 4 else array

    def inverse(self, array: torch.Tensor) -> torch.Tensor:
        """Undo `forward`, on an array with any leading axes."""
        if self.rotation % 4:
            array = torch.rot90(array, -self.rotation, (-2, -1))
        return torch.flip(array, self._dims()) if self.flips else array

    def _dims(self) -> list[int]:
        return ["zyx".index(axis) - 3 for axis in self.flips]


IDENTITY = View("identity")

OCTOPI = (
    IDENTITY,
    View("half turn about z", rotation=2),
    View("flip z", flips="z"),
    View("flip x", flips="x"),
    View("flip y", flips="y"),
    View("quarter turn about z", rotation=1),
    View("three-quarter turn about z", rotation=3),
    View("flip z, y, x", flips="zyx"),
)
"""Octopi's present list, in its order."""

VIEW_SETS: dict[str, tuple[View, ...]] = {
    "none": (IDENTITY,),
    "rot4": tuple(View(f"{90 * k}° about z", rotation=k) for k in range(4)),
    "octopi4": OCTOPI[:4],
    "octopi8": OCTOPI,
    "all16": tuple(
        View(f"{'flip ' + flips + ', ' if flips else ''}{90 * k}° about z", flips, k)
        for flips in ("", "z", "x", "zx")
        for k in range(4)
    ),
}
"""Named sets of views, each in the order in which they are averaged. Add to extend.

``rot4`` are the four rotations of Octopi's guide, ``octopi4`` the first four of its present list
(its default), ``octopi8`` all of it, ``all16`` every symmetry of a square prism: those that keep
the z axis in place.
"""


def find_views(name: str) -> tuple[View, ...]:
    """Return the views of a named set.

    Raises
    ------
    ModelError
        If the name is unknown; the nearest known one is named.

    Examples
    --------
    >>> len(find_views("all16"))
    16
    """
    if name not in VIEW_SETS:
        msg = f'there is no set of views "{name}": {nearest(name, VIEW_SETS)}'
        raise ModelError(msg)
    return VIEW_SETS[name]
