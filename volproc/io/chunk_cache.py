"""The chunks that this process decoded last, so that blocks with halos do not decode them again."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Any

import numpy.typing as npt

CACHE_BYTES = 2**27
"""Memory that the cache of one process may take, in bytes."""


class ChunkCache:
    """Arrays by key, the least recently used of which go first; safe among threads.

    Parameters
    ----------
    max_bytes : int
        Sum of the sizes of what is kept. A larger array is never kept.

    Examples
    --------
    >>> import numpy as np
    >>> cache = ChunkCache(16)
    >>> cache.put("a", np.zeros(10, np.uint8))
    >>> cache.put("b", np.zeros(10, np.uint8))
    >>> cache.get("a") is None, cache.get("b") is None, cache.num_bytes
    (True, False, 10)
    """

    def __init__(self, max_bytes: int = CACHE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._lock = Lock()
        self._arrays: OrderedDict[Hashable, npt.NDArray[Any]] = OrderedDict()

    def get(self, key: Hashable) -> npt.NDArray[Any] | None:
        """Return what is kept under a key, or None; not to be written into."""
        with self._lock:
            array = self._arrays.get(key)
            if array is not None:
                self._arrays.move_to_end(key)
            return array

    def put(self, key: Hashable, array: npt.NDArray[Any]) -> None:
        """Keep an array; from now on nobody may write into it."""
        if array.nbytes > self.max_bytes:
            return
        array.flags.writeable = False
        with self._lock:
            old = self._arrays.pop(key, None)
            self.num_bytes -= 0 if old is None else old.nbytes
            self._arrays[key] = array
            self.num_bytes += array.nbytes
            self._shrink()

    def resize(self, max_bytes: int) -> None:
        """Give the cache another limit; 0 empties it and keeps it empty."""
        with self._lock:
            self.max_bytes = max_bytes
            self._shrink()

    def forget(self) -> None:
        """Drop everything, as after a fork, where another thread may have held the lock."""
        self._lock = Lock()
        self._arrays = OrderedDict()
        self.num_bytes = 0

    def _shrink(self) -> None:
        while self.num_bytes > self.max_bytes:
            _, array = self._arrays.popitem(last=False)
            self.num_bytes -= array.nbytes


CHUNK_CACHE = ChunkCache()
"""The cache of this process, over all files that it reads."""

if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=CHUNK_CACHE.forget)
