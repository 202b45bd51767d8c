"""Config of what runs the work."""

from __future__ import annotations

from pydantic import Field

from volproc.config.loading import Config


class ClusterConfig(Config):
    """Arguments of `volproc.cluster.connect`, as a file."""

    cluster: str = "serial"
    """``serial``, ``threads``, ``local``, ``cuda``, ``tcp://HOST:PORT`` or a scheduler file."""

    num_workers: int | None = Field(default=None, ge=1)
    """Threads or processes; by default one a core, or one a GPU."""

    threads_per_worker: int = Field(default=1, ge=1)
    """Blocks that one process works on at the same time."""

    memory_limit_gib: float | None = Field(default=None, gt=0)
    """Memory of one worker process, GiB; no limit by default."""

    dashboard_address: str | None = None
    """Where the dashboard listens, ``HOST:PORT``; a free port of this machine by default."""

    timeout_s: float = Field(default=5.0, gt=0)
    """Seconds to wait for a scheduler, and again for its first worker."""

    @property
    def memory_limit_bytes(self) -> int | None:
        """Memory of one worker process, bytes."""
        return None if self.memory_limit_gib is None else int(self.memory_limit_gib * 2**30)
