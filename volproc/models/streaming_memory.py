"""Memory of a network that runs slab by slab, found without running it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from volproc.core.types import Region, Shape, region_shape
from volproc.models.memory import UNFOLD_LIMIT
from volproc.models.streaming import Convolution, Flow, Layer, Place, Stream

ITEM_BYTES = 4
"""Of a number of float32."""


@dataclass(slots=True)
class _Meter:
    """Bytes of all slabs that there are, and the most there were."""

    held: int = 0
    peak: int = 0

    def note(self, extra: int = 0) -> None:
        """Take the present into account, and what is there for a moment besides."""
        self.peak = max(self.peak, self.held + extra)


class _Outline:
    """A slab that has a size and no voxels; it counts as long as anybody holds it."""

    def __init__(self, meter: _Meter, shape: Shape, channels: int, base: object = None) -> None:
        self.shape, self.channels, self._meter = shape, channels, meter
        self._base = base  # a view keeps the slab that it looks into
        self._own = 0 if base is not None else ITEM_BYTES * prod(shape) * channels
        meter.held += self._own
        meter.note()

    def __del__(self) -> None:
        self._meter.held -= self._own


class _Outlines:
    """Slabs that are counted."""

    def __init__(self, meter: _Meter, flow: Flow, *, on_device: bool) -> None:
        self._meter, self._flow, self._on_device = meter, flow, on_device

    def read(self, region: Region) -> _Outline:
        """Read a region of the volume."""
        return _Outline(self._meter, region_shape(region), self._flow[0].channels)

    def cut(self, piece: _Outline, region: Region, *, is_copied: bool) -> _Outline:
        """Take a part of a slab, as a view or as a copy."""
        shape = tuple(
            len(range(*side.indices(size))) for side, size in zip(region, piece.shape, strict=True)
        )
        return _Outline(self._meter, shape, piece.channels, None if is_copied else piece)

    def join(self, pieces: list[_Outline], before: Shape, after: Shape) -> _Outline:
        """Put slabs together along z, with zeros before and after them along each axis."""
        (_, height, width), channels = pieces[0].shape, pieces[0].channels
        depth = sum(piece.shape[0] for piece in pieces)
        is_view = len(pieces) == 1 and not any(before) and not any(after)
        inner = (depth, height, width)
        sides = tuple(b + n + a for b, n, a in zip(before, inner, after, strict=True))
        return _Outline(self._meter, sides, channels, pieces[0] if is_view else None)

    def compute(self, layer: Layer, inputs: list[_Outline], places: list[list[Place]]) -> _Outline:
        """Compute a slab of a layer from what each of its terms sees."""
        shape = tuple(place.wanted[1] - place.wanted[0] for place in places[0])
        total = _Outline(self._meter, shape, layer.channels)
        for number, ((_, term), given) in enumerate(zip(layer.terms, inputs, strict=True)):
            extra = 0
            if isinstance(term, Convolution):
                extra = ITEM_BYTES * self._workspace(term, given.shape, prod(shape))
                extra += ITEM_BYTES * prod(shape) * term.outputs * (number > 0)
            self._meter.note(extra)
        return total

    def _workspace(self, term: Convolution, given: Shape, num_outputs: int) -> int:
        """Numbers that PyTorch makes for a convolution beside its input and output."""
        if term.kernel == 1:
            return num_outputs * term.inputs if term.stride > 1 else 0
        is_unfolded = term.inputs * given[0] * given[1] <= UNFOLD_LIMIT and term.kernel <= 3
        if is_unfolded and not self._on_device:
            columns = term.kernel**3 * term.inputs * num_outputs
            return columns + prod(given) * term.inputs + num_outputs * term.outputs
        return 0


def stream_bytes(
    flow: Flow, shape: Shape, keep: Region, *, slab: int, on_device: bool = False
) -> int:
    """Most memory that the layers of a network take at once, bytes.

    Parameters
    ----------
    flow : tuple of Layer
        The network.
    shape : tuple of int
        Size of the whole volume, (z, y, x), voxels.
    keep : region
        Which outputs are wanted.
    slab : int
        Planes that are computed at once.
    on_device : bool
        Whether the network is on a GPU, where no input is unfolded.

    Notes
    -----
    The very program that computes the layers runs on slabs without voxels: what is held at each
    moment follows from it, and is known nowhere else.
    """
    meter = _Meter()
    for _, piece in Stream(
        flow, shape, keep, _Outlines(meter, flow, on_device=on_device), slab=slab
    ):
        del piece
    return meter.peak
