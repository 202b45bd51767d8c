"""A mask of any voxel size laid over a volume, region by region."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from volproc.core.arrays import Source
from volproc.core.errors import DtypeError, ShapeError
from volproc.core.types import Region, Shape, axis_names

TOLERANCE = 0.02
"""Part by which the sizes of a mask and its volume may differ, beside one voxel of the mask."""


@dataclass(frozen=True, slots=True)
class PhysicalMask:
    """A mask that covers the same box as a volume, with voxels of its own.

    Parameters
    ----------
    source : Source
        Its voxels, 0 and 1.
    shape : tuple of int
        Size of the volume, (z, y, x), voxels.
    address : str
        What errors name.
    voxel_size, mask_voxel_size : tuple of float or None
        Å per voxel, of the volume and of the mask. Where one is unknown, the mask is taken to
        cover the same box if its shape allows.

    Raises
    ------
    ShapeError
        If the mask covers another box.

    Notes
    -----
    Each voxel takes the value of the mask's voxel that holds its centre. Both begin at one corner;
    where the mask ends up to one of its voxels early, as a binned one does, its last voxels go on.
    Of unknown or rounded sizes both end at one corner too.
    """

    source: Source
    shape: Shape
    address: str
    voxel_size: tuple[float, ...] | None = None
    mask_voxel_size: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        own = self.source.shape
        if len(own) != len(self.shape) or 0 in own:
            self._refuse()
        for size, count, ratio in zip(self.shape, own, self._ratios(), strict=True):
            if abs(size - count * ratio) > max(ratio, TOLERANCE * size):
                self._refuse()

    def _ratios(self) -> list[float]:
        """How many times larger the voxels of the mask are, along each axis."""
        if self.voxel_size is not None and self.mask_voxel_size is not None:
            pairs = zip(self.mask_voxel_size, self.voxel_size, strict=True)
            return [mine / other for mine, other in pairs]
        # One size is unknown: voxels of the mask are as many times larger along each axis.
        given = [n / m for n, m in zip(self.shape, self.source.shape, strict=True)]
        return [(min(given) + max(given)) / 2] * len(given)

    def _steps(self) -> list[float]:
        """Voxels of the mask for each of the volume, along each axis."""
        sides = zip(self.shape, self.source.shape, self._ratios(), strict=True)
        is_known = self.voxel_size is not None and self.mask_voxel_size is not None
        return [1 / r if is_known and abs(n - m * r) <= r else m / n for n, m, r in sides]

    def read(self, region: Region) -> npt.NDArray[np.bool_]:
        """Read the mask where the volume has a region.

        Raises
        ------
        DtypeError
            If it has other values than 0 and 1.
        """
        places = [
            np.minimum((np.arange(s.start, s.stop) + 0.5) * step, m - 1).astype(np.intp)
            for s, m, step in zip(region, self.source.shape, self._steps(), strict=True)
        ]
        box = tuple(slice(int(p[0]), int(p[-1]) + 1) for p in places)
        voxels = self.source.read(box)
        is_in = voxels == 1
        if not (is_in | (voxels == 0)).all():
            others = np.unique(voxels[~is_in & (voxels != 0)])[:5]
            msg = (
                f"the mask {self.address} holds {', '.join(str(v) for v in others)} beside 0 and "
                '1, so it is no mask. Make one of a class or of probabilities first: "volproc '
                'lamella", with --class or --threshold.'
            )
            raise DtypeError(msg)
        found: npt.NDArray[np.bool_] = is_in[np.ix_(*[p - p[0] for p in places])]
        return found

    def _refuse(self) -> None:
        def text(shape: Shape, size: tuple[float, ...] | None) -> str:
            sides = ", ".join(
                f"{a} {n}" for a, n in zip(axis_names(len(shape)), shape, strict=True)
            )
            return f"{sides} voxels" + (
                f" of {' × '.join(f'{v:g}' for v in size)} Å" if size else ""
            )

        msg = (
            f"the mask {self.address} has {text(self.source.shape, self.mask_voxel_size)}, and "
            f"the volume {text(self.shape, self.voxel_size)}: they are not of one box. Give the "
            "mask of this tomogram."
        )
        raise ShapeError(msg)
