"""Cellpose on one slice: instances, flows and cell probability, the same however slices come."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from volproc.core.errors import ConfigError, ModelError, NonFiniteError, ShapeError, nearest
from volproc.models.devices import choose_device

if TYPE_CHECKING:
    from cellpose.models import CellposeModel

NORMALIZE: dict[str, Any] = {
    "lowhigh": None,
    "percentile": None,
    "normalize": True,
    "norm3D": False,
    "sharpen_radius": 0,
    "smooth_radius": 0,
    "tile_norm_blocksize": 0,
    "tile_norm_smooth3D": 1,
    "invert": False,
}
"""How a slice is normalised: by its own 1st and 99th percentiles. Always given to Cellpose whole,
which otherwise keeps what was said last for all that comes after."""

_LOCK = Lock()


@dataclass(frozen=True, slots=True)
class CellposeSettings:
    """What Cellpose is asked for on a slice; defaults are those of Cellpose 3.1.

    Parameters
    ----------
    diameter : float, optional
        Diameter of a cell, pixels; that of the training if not given.
    flow_threshold : float
        Greatest error of the flows of a mask that is kept, in (0, 3]; 0 keeps all.
    cellprob_threshold : float
        Least logit of a pixel of a cell, from -6 to 6.
    min_size : int
        Smallest cell, pixels; -1 keeps all.
    max_size_fraction : float
        Largest cell, as a part of the slice.
    niter : int, optional
        Steps of the dynamics; by the diameter if not given.
    normalize : dict
        Changes to `NORMALIZE`.
    tile_overlap : float
        Part of a tile that is shared with the next, from 0.05 to 0.5.
    augment : bool
        Whether tiles are also seen mirrored.
    batch_size : int
        Tiles that go through the network at once.

    Raises
    ------
    ConfigError
        If a number is out of its range, or a key of ``normalize`` unknown.
    """

    diameter: float | None = None
    flow_threshold: float = 0.4
    cellprob_threshold: float = 0.0
    min_size: int = 15
    max_size_fraction: float = 0.4
    niter: int | None = None
    normalize: dict[str, Any] = field(default_factory=dict)
    tile_overlap: float = 0.1
    augment: bool = False
    batch_size: int = 8

    def __post_init__(self) -> None:
        if self.diameter is not None and not (isfinite(self.diameter) and self.diameter > 0):
            msg = f"the diameter of a cell is a positive number of pixels, got {self.diameter}. "
            raise ConfigError(msg + "Leave it out for that of the training.")
        for name, least, greatest in (
            ("flow_threshold", 0.0, 3.0),
            ("cellprob_threshold", -6.0, 6.0),
            ("max_size_fraction", 0.0, 1.0),
            ("tile_overlap", 0.05, 0.5),
        ):
            value = getattr(self, name)
            if not least <= value <= greatest:
                msg = f"{name} lies between {least:g} and {greatest:g}, got {value}."
                raise ConfigError(msg)
        if self.batch_size < 1 or self.min_size < -1 or (self.niter is not None and self.niter < 1):
            msg = (
                "batch_size and niter are at least 1, min_size at least -1, got "
                f"{self.batch_size}, {self.niter}, {self.min_size}."
            )
            raise ConfigError(msg)
        for key in self.normalize:
            if key not in NORMALIZE:
                msg = f'normalize has no key "{key}": {nearest(key, NORMALIZE)}'
                raise ConfigError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class CellposeSlice:
    """What Cellpose gives for one slice.

    Parameters
    ----------
    labels : ndarray of uint32, (y, x)
        Instances 1..n of this slice, 0 = background.
    flows : ndarray of float32, (2, y, x)
        Flow along y and x.
    probability : ndarray of float32, (y, x)
        Logit that a pixel belongs to a cell.
    """

    labels: npt.NDArray[np.uint32]
    flows: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]


def segment_slice(
    model: CellposeModel, image: npt.NDArray[Any], settings: CellposeSettings
) -> CellposeSlice:
    """Segment one slice.

    Parameters
    ----------
    model : cellpose.models.CellposeModel
        As `volproc.models.cellpose_networks.load_cellpose` gives it, or one's own.
    image : ndarray of real numbers, (y, x) or (2, y, x)
        One slice; with two channels the cells first, then their nuclei.
    settings : CellposeSettings
        What is asked for.

    Returns
    -------
    result : CellposeSlice
        That of ``model.eval`` on this slice alone.

    Raises
    ------
    NonFiniteError
        If a voxel is NaN or infinite.
    ShapeError
        If the image has other axes, or is smaller than 4 pixels.

    Notes
    -----
    The slice goes through the network by itself, whatever other slices there are: so the result
    does not depend on how a volume is cut.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[0] != 2):
        msg = (
            f"a slice is (y, x), or (2, y, x) of cells and nuclei, got {image.shape}. Choose one "
            "channel of a colour image."
        )
        raise ShapeError(msg)
    if min(image.shape[-2:]) < 4:
        msg = f"a slice has 4 pixels or more in y and x, got {image.shape[-2:]}."
        raise ShapeError(msg)
    num_bad = int(image.size - np.isfinite(image).sum())
    if num_bad:
        msg = f"{num_bad} of {image.size} pixels are NaN or infinite. Replace them first."
        raise NonFiniteError(msg)
    channels = [0, 0] if image.ndim == 2 else [1, 2]
    masks, flows, _ = model.eval(
        np.asarray(image, np.float32),
        channels=channels,
        channel_axis=None if image.ndim == 2 else 0,
        normalize={**NORMALIZE, **settings.normalize},
        diameter=settings.diameter,
        flow_threshold=settings.flow_threshold,
        cellprob_threshold=settings.cellprob_threshold,
        min_size=settings.min_size,
        max_size_fraction=settings.max_size_fraction,
        niter=settings.niter,
        tile_overlap=settings.tile_overlap,
        augment=settings.augment,
        batch_size=settings.batch_size,
    )
    return CellposeSlice(masks.astype(np.uint32), flows[1], flows[2])


def load_once(address: str, device: str = "auto") -> CellposeModel:
    """Load a network once in a process, and keep it for all blocks that follow.

    Parameters and errors as in `volproc.models.cellpose_networks.load_cellpose`; the device by
    name, as in `volproc.models.devices.choose_device`.
    """
    with _LOCK:
        return _load(address, device)


@lru_cache(maxsize=4)
def _load(address: str, device: str) -> CellposeModel:
    try:
        from volproc.models.cellpose_networks import load_cellpose
    except ModuleNotFoundError as error:
        if error.name != "cellpose":
            raise
        msg = "Cellpose is not installed here. Install it: pip install 'volproc[cellpose]'."
        raise ModelError(msg) from error
    return load_cellpose(address, choose_device(device))
