"""Blocks of a stage that wait, are ready, finished or given up."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from itertools import filterfalse

from volproc.core.types import Index

LOOKAHEAD = 4096
"""Blocks that may wait for others before no further one is looked at."""


class BlockQueue:
    """Gives blocks in raster order, as far as those that they need are finished.

    Parameters
    ----------
    indices : iterable of index
        Blocks, in raster order; read as far as is needed.
    done : set of index
        Blocks that are finished already, and not given; not to be changed meanwhile.
    needs : callable
        Blocks that must be finished before a given one; they come earlier in ``indices``.

    Notes
    -----
    Memory is that of the finished blocks' indices, where blocks need others, and of `LOOKAHEAD`
    waiting ones.
    """

    def __init__(
        self,
        indices: Iterable[Index],
        done: AbstractSet[Index],
        needs: Callable[[Index], Iterable[Index]] | None,
    ) -> None:
        self._all = iter(indices)
        self._known = done
        self._done: set[Index] = set()
        self._needs = needs
        self._ready: deque[Index] = deque()
        self._missing: dict[Index, int] = {}
        self._unlocks: dict[Index, list[Index]] = {}
        self._failed: set[Index] = set()
        self._unmet: list[tuple[Index, Index]] = []

    def next_ready(self) -> Index | None:
        """Take a block that can begin now; None if there is none."""
        while not self._ready and len(self._missing) < LOOKAHEAD:
            index = next(self._all, None)
            if index is None:
                return None
            if index in self._known:
                continue
            missing = list(filterfalse(self._is_done, self._needs(index))) if self._needs else []
            failed = next((i for i in missing if i in self._failed), None)
            if failed is not None:
                self._give_up(index, failed)
            elif not missing:
                self._ready.append(index)
            else:
                self._missing[index] = len(missing)
                for other in missing:
                    self._unlocks.setdefault(other, []).append(index)
        return self._ready.popleft() if self._ready else None

    def again(self, index: Index) -> None:
        """Let a block that was taken begin once more, before the others."""
        self._ready.appendleft(index)

    def waiting(self) -> list[Index]:
        """Blocks that wait for others."""
        return list(self._missing)

    def finish(self, index: Index) -> None:
        """Let the blocks begin that waited for this one alone."""
        if self._needs:
            self._done.add(index)
        for other in self._unlocks.pop(index, ()):
            if other not in self._missing:
                continue  # it was given up
            self._missing[other] -= 1
            if not self._missing[other]:
                del self._missing[other]
                self._ready.append(other)

    def fail(self, index: Index) -> None:
        """Give up the blocks that need one that failed."""
        self._failed.add(index)
        for other in self._unlocks.pop(index, ()):
            if self._missing.pop(other, None) is not None:
                self._give_up(other, index)

    def take_unmet(self) -> list[tuple[Index, Index]]:
        """Blocks that were given up since the last call, each with the one that it needs."""
        unmet, self._unmet = self._unmet, []
        return unmet

    def _is_done(self, index: Index) -> bool:
        return index in self._done or index in self._known

    def _give_up(self, index: Index, needed: Index) -> None:
        self._unmet.append((index, needed))
        self.fail(index)
