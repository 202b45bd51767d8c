"""Patches through a network, and their blend in integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from volproc.core.errors import ModelError
from volproc.core.types import Index, Region, Shape, region_shape
from volproc.models.blend_kernels import add_weighted, divide_sums, first_largest
from volproc.models.staging import Staging
from volproc.models.views import View
from volproc.models.windows import WindowName, make_window

Blend = Literal["logits", "probabilities", "view_probabilities"]
"""What is averaged: raw outputs over patches and views; their softmax over both; or raw outputs
over patches, and the softmax of that over views."""

UNIT = 2.0**-32
"""A step of the accumulators: they have 32 fractional bits."""

LIMIT = 2.0**23
"""Largest absolute output of a network: 256 overlapping patches of it fit into 64 bits."""

Forward = Callable[[torch.Tensor], torch.Tensor]
"""A network: (b, c, z, y, x) float32 → (b, classes, z, y, x)."""


@dataclass(frozen=True, slots=True)
class Inference:
    """How patches go through a network.

    Parameters
    ----------
    patch : tuple of int
        (z, y, x), voxels.
    num_classes : int
        Output channels.
    views : tuple of View
        Averaged in this order; each patch passes once per view.
    batch_size : int
        Patches per forward pass. The last batch is filled up, so that the shape that the
        network's kernels see, and with it every bit, is the same for all.
    blend : {"logits", "probabilities", "view_probabilities"}
        What is averaged.
    window : {"gaussian", "constant"}
        Blend weights.
    sigma_scale : float
        Width of the Gaussian, as a part of the patch's side.
    order : tuple of int
        Channel of the network for each class; empty where they are the same.
    """

    patch: Shape
    num_classes: int
    views: tuple[View, ...]
    batch_size: int = 1
    blend: Blend = "logits"
    window: WindowName = "gaussian"
    sigma_scale: float = 0.125
    order: tuple[int, ...] = ()

    @property
    def passes_per_patch(self) -> int:
        """Times that each patch goes through the network."""
        return len(self.views)

    def run(
        self,
        forward: Forward,
        patches: Iterable[npt.NDArray[np.float32]],
        device: torch.device,
        *,
        largest: Largest | None = None,
    ) -> Iterator[torch.Tensor]:
        """Yield the blended views of each patch.

        Parameters
        ----------
        forward : callable
            (b, 1, z, y, x) float32 on ``device`` → (b, classes, z, y, x). On the CPU it must not
            keep the batch, whose memory the next one takes.
        patches : iterable of ndarray, (z, y, x) or (channels, z, y, x)
            Scaled patches, all of one shape; those of one batch are taken at a time.
        device : torch.device
            Where the network is.
        largest : Largest
            Takes the outputs, and is asked by the caller before they are used. Without it they
            are checked here, after the last patch.

        Yields
        ------
        output : tensor of float32, (classes, z, y, x)
            One per patch, in order: the mean over the views. Of a single view it may be memory of
            the network, and holds until the next batch.

        Raises
        ------
        ModelError
            If the network gives another shape, or numbers that are not finite.
        """
        staging = Staging(self.batch_size, device)
        seen = Largest() if largest is None else largest
        waiting = iter(patches)
        while part := list(islice(waiting, self.batch_size)):
            yield from self.pass_batch(forward, part, staging, seen)
        if largest is None:
            seen.check()

    def pass_batch(
        self,
        forward: Forward,
        patches: Sequence[npt.NDArray[np.float32]],
        staging: Staging,
        largest: Largest,
    ) -> torch.Tensor:
        """Return the blended views of the patches of one batch; see `run`.

        Parameters
        ----------
        forward : callable
            The network.
        patches : sequence of ndarray
            At most as many as a batch has.
        staging : Staging
            For batches of this size on the device of the network.
        largest : Largest
            Takes the outputs.

        Returns
        -------
        outputs : tensor of float32, (patches, classes, z, y, x)
            Of a single view they may be memory of the network.
        """
        batch = staging.send([_with_channel(patch) for patch in patches])
        total = self._pass(forward, batch, self.views[0])
        if len(self.views) > 1:
            # Of its own memory: what a network gives may be its own, and is not written into.
            total = total.clone(memory_format=torch.contiguous_format)
            for view in self.views[1:]:
                total += self._pass(forward, batch, view)
            total /= len(self.views)
        largest.add(total)
        return total[: len(patches)]

    def _pass(self, forward: Forward, batch: torch.Tensor, view: View) -> torch.Tensor:
        seen = view.forward(batch)
        output = forward(seen).float()
        expected = (len(batch), self.num_classes, *seen.shape[2:])
        if tuple(output.shape) != expected:
            msg = (
                f"the network gives shape {tuple(output.shape)} where {expected} (batch, classes, "
                "z, y, x) is needed. Check the class names and the patch of the model."
            )
            raise ModelError(msg)
        if self.blend == "probabilities":
            output = torch.softmax(output, dim=1)
        if self.order:
            output = output[:, list(self.order)]
        return view.inverse(output)


class Largest:
    """Largest absolute output of a network so far.

    It stays on the device until somebody asks: on a GPU each question waits for all that the
    network has still to do.

    Examples
    --------
    >>> largest = Largest()
    >>> largest.add(torch.tensor([1.0, -3.0]))
    >>> largest.check()
    >>> largest.add(torch.tensor([float("nan")]))
    >>> largest.check()
    Traceback (most recent call last):
        ...
    volproc.core.errors.ModelError: the network gives values up to nan, which cannot be blended. ...
    """

    def __init__(self, value: torch.Tensor | None = None) -> None:
        self._value = value

    def add(self, output: torch.Tensor) -> None:
        """Take outputs of any shape into account."""
        low, high = torch.aminmax(output)
        value = torch.maximum(-low, high)
        self._value = value if self._value is None else torch.maximum(self._value, value)

    def so_far(self) -> Largest:
        """The same now, to be asked later."""
        return Largest(self._value)

    def check(self) -> None:
        """Refuse outputs that are not finite, or too large for the sums.

        Raises
        ------
        ModelError
        """
        value = 0.0 if self._value is None else float(self._value)
        if not value < LIMIT:
            msg = (
                f"the network gives values up to {value}, which cannot be blended. Check the "
                "weights, the normalisation and the input."
            )
            raise ModelError(msg)


class Accumulator:
    """Weighted sums of patch outputs over a region, in 64-bit fixed point.

    Integer sums do not depend on their order. A patch may therefore be computed by any block,
    once, and what it adds to a neighbour may be added there later: the bits are the same for
    every cut of the volume, which no order of floating-point sums over blocks gives.

    Parameters
    ----------
    region : Region
        What it covers, in voxels of the volume.
    inference : Inference
        Patch, classes and window.
    device : torch.device
        Where the sums live.
    """

    def __init__(self, region: Region, inference: Inference, device: torch.device) -> None:
        self.region = region
        shape = (inference.num_classes, *region_shape(region))
        self._sums = torch.zeros(shape, dtype=torch.int64, device=device)
        window = make_window(
            inference.patch, kind=inference.window, sigma_scale=inference.sigma_scale
        )
        self._window = torch.from_numpy(window).to(device)
        self._on_cpu = device.type == "cpu"

    def add(
        self, start: Index, output: torch.Tensor, weights: npt.NDArray[np.float32] | None = None
    ) -> None:
        """Add the output of the patch at ``start``; what lies outside the region is dropped.

        Parameters
        ----------
        start : tuple of int
            First voxel of the patch.
        output : tensor of float32, (classes, z, y, x)
            What the network gives for it.
        weights : ndarray of float32, (z, y, x)
            Of this patch, where they are not the window's; see `weigh_patch`.
        """
        inside = tuple(
            slice(max(a, r.start), min(a + n, r.stop))
            for a, n, r in zip(start, output.shape[1:], self.region, strict=True)
        )
        if any(s.stop <= s.start for s in inside):
            return
        window = self._window if weights is None else torch.from_numpy(weights)
        if self._on_cpu:
            first, last = _corners(shifted(inside, start))
            values = output.contiguous().numpy()
            corner = self._corner(inside)
            add_weighted(self._sums.numpy(), corner, values, window.numpy(), first, last, UNIT)
            return
        part = (slice(None), *shifted(inside, start))
        # The product is rounded to float32 once; the power of two and the sum are exact.
        weighted = output[part] * window.to(output.device)[part[1:]]
        fixed = weighted.to(torch.float64).div_(UNIT).round_().to(torch.int64)
        self._sums[self._inside(inside)] += fixed

    def take(self, region: Region) -> npt.NDArray[np.int64]:
        """Return the sums over a part of the region, (classes, z, y, x)."""
        return self._sums[self._inside(region)].cpu().numpy()

    def give(self, region: Region, sums: npt.NDArray[np.int64]) -> None:
        """Add what a neighbouring block has summed over a part of the region."""
        self._sums[self._inside(region)] += torch.from_numpy(sums).to(self._sums.device)

    def mean(self, region: Region, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        """Return the weighted mean over a part of the region, (classes, z, y, x) float32."""
        if self._on_cpu:
            mean = np.empty((len(self._sums), *weights.shape), np.float32)
            divide_sums(self._sums.numpy(), self._corner(region), weights, UNIT, mean)
            return mean
        sums = self._sums[self._inside(region)]
        exact = sums.to(torch.float64).mul_(UNIT)
        return exact.div_(torch.tensor(weights, device=sums.device)).float().cpu().numpy()

    def _inside(self, region: Region) -> tuple[slice, ...]:
        return (slice(None), *shifted(region, [r.start for r in self.region]))

    def _corner(self, region: Region) -> tuple[int, ...]:
        return _corners(shifted(region, [r.start for r in self.region]))[0]


def shifted(region: Region, origin: Sequence[int]) -> Region:
    """Region in the frame of another origin.

    >>> shifted((slice(4, 9),), (3,))
    (slice(1, 6, None),)
    """
    return tuple(slice(s.start - a, s.stop - a) for s, a in zip(region, origin, strict=True))


def to_probabilities(mean: npt.NDArray[np.float32], *, blend: Blend) -> npt.NDArray[np.float32]:
    """Probabilities of blended outputs, (classes, z, y, x); along the classes they sum to 1.

    Notes
    -----
    NumPy's exponential gives a voxel the same bits wherever it lies in an array. PyTorch's does
    not: the end of a row takes another path than its vectorised middle, so a softmax there would
    show the chunks in its last bit. For the same reason the classes are added one by one.
    """
    out = mean.copy() if blend == "probabilities" else np.exp(mean - mean.max(axis=0))
    total = out[0].copy()
    for channel in out[1:]:
        total += channel
    out /= total
    return out


def to_classes(mean: npt.NDArray[np.float32], *, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Class of the largest output, the first where several are equal, (z, y, x)."""
    classes = np.empty(mean.shape[1:], dtype)
    rows = (-1, mean.shape[-1])
    first_largest(np.ascontiguousarray(mean).reshape(len(mean), *rows), classes.reshape(rows))
    return classes


def _corners(region: Region) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """First voxel of a region, and the one after its last."""
    return tuple(s.start for s in region), tuple(s.stop for s in region)


def _with_channel(patch: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return patch if patch.ndim == 4 else patch[None]
