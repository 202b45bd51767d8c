"""Workers whose time is nearly over take no new block, finish the one they have, and leave."""

from __future__ import annotations

import asyncio

from distributed import Status, Worker, WorkerPlugin

POLL_S = 0.5


class Drain(WorkerPlugin):
    """Drains each worker that has a lifetime before that is over.

    At the end of its lifetime Dask lets a worker go in the middle of a call, which is lost.

    Parameters
    ----------
    drain_s : float
        Seconds before the end of its life from which a worker takes no new call.
    """

    name = "volproc-drain"

    def __init__(self, drain_s: float) -> None:
        self.drain_s = drain_s

    def setup(self, worker: Worker) -> None:
        """Plan the end of a worker that has just joined."""
        if worker.lifetime:
            worker.loop.call_later(max(0.0, worker.lifetime - self.drain_s), drain, worker)


async def drain(worker: Worker) -> None:
    """Take no new call, finish those that run, hand results over, and leave."""
    while worker.status in (Status.running, Status.paused):
        worker.status = Status.paused  # again: Dask's watch over memory may have resumed it
        if not (worker.state.executing or worker.data):
            await worker.close_gracefully(reason="volproc-drained")
            return
        await asyncio.sleep(POLL_S)
