"""Config of what runs the work."""

from __future__ import annotations

from pydantic import Field

from volproc.config.loading import Config


class JobPoolConfig(Config):
    """Jobs of SLURM of one kind."""

    jobs: int = Field(ge=1)
    """Jobs that run at the same time, at most."""

    walltime_h: float = Field(gt=0)
    """Hours after which SLURM ends a job; workers leave before."""

    memory_gib: float = Field(gt=0)
    """Memory of one job, GiB."""

    cores: int = Field(default=1, ge=1)
    """Cores of one job, shared by its processes."""

    processes: int = Field(default=1, ge=1)
    """Worker processes of one job; one where it has a GPU."""

    gpu_request: str = ""
    """How a GPU is asked for."""

    partition: str = ""
    """Where jobs are queued."""

    account: str = ""
    """Who pays."""

    directives: tuple[str, ...] = ()
    """Further options of sbatch, as ``--constraint=a100``."""

    setup: tuple[str, ...] = ()
    """Lines of shell before the worker starts, as ``module load cuda``."""

    python: str = ""
    """Interpreter on the nodes; the path of the one that runs volproc by default."""

    drain_min: float = Field(default=10.0, ge=0)
    """Minutes before its end from which a worker takes no new block."""


class GpuPoolConfig(JobPoolConfig):
    """Jobs with one GPU each."""

    gpu_request: str = "--gres=gpu:1"
    """How a GPU is asked for."""


class ClusterConfig(Config):
    """Arguments of `volproc.cluster.connect`, as a file."""

    cluster: str = "serial"
    """``serial``, ``threads``, ``local``, ``cuda``, ``slurm``, ``tcp://HOST:PORT``,
    ``tls://HOST:PORT`` or a scheduler file."""

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

    host: str = ""
    """Address of this machine on which a scheduler that is started listens; 127.0.0.1, which other
    machines cannot reach, by default."""

    interface: str = ""
    """The same by the name of a network interface, as ``ib0``; workers of ``slurm`` use it too."""

    ca_file: str = ""
    """Certificate of the authority, PEM, for TLS."""

    cert_file: str = ""
    """Certificate that the authority signed, PEM."""

    key_file: str = ""
    """Key of that certificate, PEM."""

    gpu: GpuPoolConfig | None = None
    """Jobs of ``slurm`` that run networks."""

    cpu: JobPoolConfig | None = None
    """Jobs of ``slurm`` that run everything else."""

    log_folder: str = "slurm-logs"
    """Where jobs of ``slurm`` write what they say, on a disk that nodes see."""

    period_s: float = Field(default=30.0, gt=0)
    """Seconds between two looks at the jobs of ``slurm``."""

    @property
    def memory_limit_bytes(self) -> int | None:
        """Memory of one worker process, bytes."""
        return None if self.memory_limit_gib is None else int(self.memory_limit_gib * 2**30)
