"""Points: particle centres as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from volproc.core.errors import ShapeError
from volproc.core.types import Shape

COLUMNS = ("z", "y", "x", "class_name", "score", "num_voxels")
"""Columns that every points table has, in this order."""


@dataclass(frozen=True, slots=True, eq=False)
class Points:
    """Centres of objects in one volume.

    Parameters
    ----------
    table : DataFrame
        One row a point: ``z``, ``y``, ``x`` float64 in voxels, the centre of a voxel at the
        integer; ``class_name`` str; ``score`` float64 (1 where the method gives none);
        ``num_voxels`` int64 (0 where unknown). Further columns are kept.
    voxel_size : tuple of float
        Å per voxel, (z, y, x).
    shape : tuple of int
        Size of the volume that the points lie in, (z, y, x), voxels.
    name : str
        Name of that volume.
    """

    table: pd.DataFrame
    voxel_size: tuple[float, ...]
    shape: Shape
    name: str = ""

    def __post_init__(self) -> None:
        missing = [c for c in COLUMNS if c not in self.table.columns]
        if missing:
            msg = (
                f"a points table lacks {', '.join(missing)}, got columns "
                f"{', '.join(map(str, self.table.columns))}. Build it with Points.from_zyx."
            )
            raise ShapeError(msg)

    @classmethod
    def from_zyx(
        cls,
        zyx: npt.ArrayLike,
        *,
        class_name: str | Sequence[str],
        voxel_size: tuple[float, ...],
        shape: Shape,
        score: npt.ArrayLike = 1.0,
        num_voxels: npt.ArrayLike = 0,
        name: str = "",
    ) -> Points:
        """Points from an array of centres.

        Parameters
        ----------
        zyx : array, (n, 3)
            Centres in voxels.
        class_name : str or sequence of n str
            Class of all points, or of each.
        voxel_size, shape, name
            As in `Points`.
        score, num_voxels : number or array, (n,)
            Broadcast to all points.
        """
        centres = np.asarray(zyx, np.float64).reshape(-1, 3)
        n = len(centres)
        names = [class_name] * n if isinstance(class_name, str) else list(class_name)
        table = pd.DataFrame(
            {
                "z": centres[:, 0],
                "y": centres[:, 1],
                "x": centres[:, 2],
                "class_name": np.asarray(names, object),
                "score": np.broadcast_to(np.asarray(score, np.float64), (n,)).copy(),
                "num_voxels": np.broadcast_to(np.asarray(num_voxels, np.int64), (n,)).copy(),
            }
        )
        return cls(table, voxel_size, shape, name)

    @property
    def zyx(self) -> npt.NDArray[np.float64]:
        """Centres in voxels, (n, 3)."""
        return self.table[["z", "y", "x"]].to_numpy(np.float64)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes that occur, sorted."""
        return tuple(sorted(set(map(str, self.table["class_name"]))))

    def __len__(self) -> int:
        return len(self.table)

    def select(self, class_name: str) -> Points:
        """Points of one class."""
        table = self.table[self.table["class_name"] == class_name].reset_index(drop=True)
        return Points(table, self.voxel_size, self.shape, self.name)


def concat_points(parts: Iterable[Points]) -> Points:
    """Join points of the same volume into one table, in the order given.

    Raises
    ------
    ShapeError
        If there are no parts, or if they lie in volumes of different shapes.
    """
    points = list(parts)
    if not points:
        msg = "no points to join, got an empty sequence. Give at least one Points."
        raise ShapeError(msg)
    if len({p.shape for p in points}) > 1:
        msg = (
            f"points of volumes of different shapes cannot be joined, got "
            f"{sorted({p.shape for p in points})}. Join points of one volume."
        )
        raise ShapeError(msg)
    table = pd.concat([p.table for p in points], ignore_index=True)
    return Points(table, points[0].voxel_size, points[0].shape, points[0].name)
