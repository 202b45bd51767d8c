"""Scaling of voxels before a network, with constants of the whole volume."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Scaling:
    """``(voxel - shift) / scale``, in float32.

    Parameters
    ----------
    shift, scale : float
        Constants of the whole volume: never of a block, or the result would depend on the
        chunks.
    replacement : float or None
        What NaN and infinite voxels become, before scaling; None where there are none.
    """

    shift: float = 0.0
    scale: float = 1.0
    replacement: float | None = None

    def __call__(self, block: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Scale one block, (z, y, x) of any real type, into a new float32 array."""
        scaled = block.astype(np.float32)
        if self.replacement is not None:
            np.copyto(scaled, np.float32(self.replacement), where=~np.isfinite(scaled))
        scaled -= np.float32(self.shift)
        scaled /= np.float32(self.scale)
        return scaled

    def to_json(self) -> dict[str, float | None]:
        """Return plain values for a file."""
        return asdict(self)
