"""Views of a patch for test-time augmentation, each with its exact inverse."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from volproc.core.errors import ModelError, nearest
from volproc.core.types import Region, Shape
from volproc.plan.patches import PatchGrid


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

    def forward_shape(self, shape: Shape) -> Shape:
        """Size of a volume (z, y, x) in this view."""
        depth, height, width = shape
        return (depth, width, height) if self.rotation % 2 else (depth, height, width)

    def forward_region(self, region: Region, shape: Shape) -> Region:
        """Where a region of a volume lies in this view.

        Parameters
        ----------
        region : region
            Of the volume as it is, (z, y, x).
        shape : tuple of int
            Size of the volume as it is.

        Examples
        --------
        >>> view = View("turned", flips="z", rotation=1)
        >>> view.forward_region((slice(0, 1), slice(0, 2), slice(0, 3)), (4, 5, 6))
        (slice(3, 4, None), slice(3, 6, None), slice(0, 2, None))
        """
        return _turn(self._flip(region, shape), shape, self.rotation)

    def inverse_region(self, region: Region, shape: Shape) -> Region:
        """Where a region of this view lies in the volume, of size ``shape`` as it is."""
        turned = _turn(region, self.forward_shape(shape), -self.rotation)
        return self._flip(turned, shape)

    def _flip(self, region: Region, shape: Shape) -> Region:
        return tuple(
            slice(size - side.stop, size - side.start) if axis in self.flips else side
            for axis, side, size in zip("zyx", region, shape, strict=True)
        )

    def grid(self, shape: Shape, patch: Shape, overlap: float) -> PatchGrid:
        """Patches that a network sees when it is slid over a whole volume in this view.

        ::

            flipped volume:  |-patch-|            the last patch is moved back to be flush with
                                 |-patch-|        the edge, so that the grid of a flipped volume
                                   |-patch-|      is not the flipped grid of the volume

        Parameters
        ----------
        shape : tuple of int
            Size of the volume as it is, (z, y, x), voxels.
        patch : tuple of int
            What the network sees at once.
        overlap : float
            Part of a patch that it shares with the next.

        Returns
        -------
        grid : PatchGrid
            Laid on the volume in this view, and carried back to the volume as it is: `forward` of
            a patch that is cut there is the patch of the view.
        """
        turns, (depth, height, width) = self.rotation % 4, patch
        is_mirrored = {axis: axis in self.flips for axis in "zyx"}
        is_mirrored["y"] ^= turns in (2, 3)
        is_mirrored["x"] ^= turns in (1, 2)
        sides = (depth, width, height) if turns % 2 else (depth, height, width)
        return PatchGrid(shape, sides, overlap, tuple(is_mirrored.values()))

    def _dims(self) -> list[int]:
        return ["zyx".index(axis) - 3 for axis in self.flips]


def _turn(region: Region, shape: Shape, turns: int) -> Region:
    """Where a region lies after quarter turns of y towards x."""
    planes, rows, columns = region
    _, height, width = shape
    for _ in range(turns % 4):
        rows, columns = slice(width - columns.stop, width - columns.start), rows
        height, width = width, height
    return planes, rows, columns


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
    **{f"octopi{number}": OCTOPI[:number] for number in range(1, len(OCTOPI) + 1)},
    "all16": tuple(
        View(f"{'flip ' + flips + ', ' if flips else ''}{90 * k}° about z", flips, k)
        for flips in ("", "z", "x", "zx")
        for k in range(4)
    ),
}
"""Named sets of views, each in the order in which they are averaged. Add to extend.

``rot4`` are the four rotations of Octopi's guide, ``octopi1`` to ``octopi8`` the first ones of its
present list (four are its default), ``all16`` every symmetry of a square prism: those that keep
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
