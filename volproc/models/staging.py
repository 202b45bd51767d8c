"""Buffers in which batches are put together on their way to a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

NUM_PINNED = 2
"""Buffers for a GPU: one is filled while the other one is on its way."""


class Staging:
    """Batches of one shape for one device.

    For a GPU they are put together in two page-locked buffers in turn, which the device fetches
    by itself: no call here waits for the network. For the CPU the one buffer is the batch.

    Parameters
    ----------
    batch_size : int
        Patches of a batch.
    device : torch.device
        Where batches go.

    Examples
    --------
    >>> staging = Staging(2, torch.device("cpu"))
    >>> staging.send([np.ones((1, 1, 1, 2), np.float32)]).tolist()
    [[[[[1.0, 1.0]]]], [[[[0.0, 0.0]]]]]
    """

    def __init__(self, batch_size: int, device: torch.device) -> None:
        self._batch_size = batch_size
        self._device = device
        self._is_pinned = device.type == "cuda"
        self._buffers: list[torch.Tensor] = []
        self._fetched: list[torch.cuda.Event] = []
        self._num_sent = 0

    def send(self, patches: Sequence[npt.NDArray[np.float32]]) -> torch.Tensor:
        """Put a batch together and send it off.

        Parameters
        ----------
        patches : sequence of ndarray, (channels, z, y, x)
            At most as many as a batch has; it is filled up with zeros.

        Returns
        -------
        batch : tensor of float32, (batch, channels, z, y, x)
            On the device. On the CPU it is overwritten by the next one.

        Notes
        -----
        It waits until the device has fetched the batch before the last one.
        """
        if not self._buffers:
            self._allocate(patches[0].shape)
        slot = self._num_sent % len(self._buffers)
        buffer = self._buffers[slot]
        if self._num_sent >= len(self._buffers) and self._is_pinned:
            self._fetched[slot].synchronize()
        rows = buffer.numpy()
        for row, patch in zip(rows, patches, strict=False):
            row[...] = patch
        rows[len(patches) :] = 0
        self._num_sent += 1
        if not self._is_pinned:
            return buffer
        batch = buffer.to(self._device, non_blocking=True)
        self._fetched[slot].record(torch.cuda.current_stream(self._device))
        return batch

    def _allocate(self, shape: tuple[int, ...]) -> None:
        full = (self._batch_size, *shape)
        if self._is_pinned:
            self._buffers = [torch.empty(full, pin_memory=True) for _ in range(NUM_PINNED)]
            self._fetched = [torch.cuda.Event() for _ in range(NUM_PINNED)]
        else:
            self._buffers = [torch.empty(full)]
