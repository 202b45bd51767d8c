"""Calls on a Dask scheduler, local or far: one future a call, released when it is consumed."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import dask.config
from distributed import Client, Future, as_completed
from distributed import connect as distributed_connect
from distributed.scheduler import KilledWorker, NoWorkerError

from volproc.cluster.session import Session
from volproc.core.errors import ClusterError


class DaskExecutor(Session):
    """Runs calls on the workers of a Dask scheduler.

    Parameters
    ----------
    client : distributed.Client
        Connection to the scheduler; closed with this executor.
    cluster : distributed cluster, optional
        What was started for this executor, and ends with it.
    has_dashboard : bool
        Whether the scheduler's dashboard has pages to show.
    environment : dict of str
        Environment variables of this process before the cluster was started. They are put back
        at the end, because a nanny sets those of its workers in its own process too.

    Notes
    -----
    Calls are submitted by explicit keys that never repeat, so that a second attempt is not
    answered from the first one's result. Each future is released as soon as its outcome was
    handed over: results that the client holds on to would stay in a worker's memory.
    """

    has_processes = True

    def __init__(
        self,
        client: Client,
        *,
        cluster: Any = None,
        has_dashboard: bool = True,
        environment: dict[str, str | None] | None = None,
    ) -> None:
        self.client = client
        self.dashboard = (client.dashboard_link or "") if has_dashboard else ""
        self._cluster = cluster
        self._environment = environment or {}
        self._done = as_completed([], loop=client.loop, raise_errors=False)
        self._under_way: dict[str, tuple[str, Future]] = {}
        self._token = uuid4().hex[:8]
        self._numbers = count()

    @property
    def num_workers(self) -> int:
        """Threads of all workers, now; at least 1."""
        try:
            return max(1, sum(self.client.nthreads().values()))
        except (OSError, RuntimeError, AttributeError) as error:  # as a closed client answers
            raise self._lost() from error

    def submit(self, key: str, function: Callable[..., Any], *args: Any) -> None:
        """Begin one call on any worker.

        Raises
        ------
        ClusterError
            If the scheduler is gone.
        """
        name = f"{key}-{self._token}-{next(self._numbers)}"
        if self.client.status != "running":
            raise self._lost()
        future = self.client.submit(function, *args, key=name, pure=False)
        self._under_way[name] = (key, future)
        self._done.add(future)

    def completed(self) -> Iterator[tuple[str, Any, BaseException | None]]:
        """Yield (key, result, error) as calls end; a worker that died is an error of its call."""
        for future in self._done:
            key, _ = self._under_way.pop(future.key)
            result: Any = None
            error: BaseException | None = None
            try:
                result = future.result()
            except KilledWorker as killed:
                error = self._killed(key, killed)
            except NoWorkerError as nobody:
                error = _no_workers(key, nobody)
            except CancelledError as cancelled:
                error = self._lost(key)
                error.__cause__ = cancelled
            except Exception as raised:  # whatever the call raised: handed to the caller
                error = raised
            future.release()
            yield key, result, error

    @contextmanager
    def as_current(self) -> Iterator[None]:
        """Let Dask compute on these workers."""
        # Where a scheduler is configured, Dask would not ask for a client.
        with dask.config.set(scheduler=None), self.client.as_current():
            yield

    def close(self) -> None:
        """Cancel what is under way, close the connection, stop what was started."""
        if self.client.status == "running" and self._under_way:
            self.client.cancel([future for _, future in self._under_way.values()], force=True)
        self._under_way.clear()
        self.client.close(timeout=5)
        if self._cluster is not None:
            self._cluster.close(timeout=30)
            self._cluster = None
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

    def _killed(self, key: str, error: KilledWorker) -> ClusterError:
        """Error of a call that took its worker down too often."""
        msg = (
            f"{key} was running when its worker died, {error.allowed_failures + 1} times; the last "
            f"one was {error.last_worker.address}. Most often that is memory: use smaller chunks, "
            "fewer workers or more memory for each, or look for the cause in the workers' log."
        )
        killed = ClusterError(msg)
        killed.__cause__ = error
        return killed

    def _lost(self, key: str = "") -> ClusterError:
        """Error of a scheduler that went away."""
        where = self.client.scheduler.address if self.client.scheduler else "the cluster"
        msg = (
            f"the connection to the scheduler at {where} was lost"
            f"{f' while {key} was under way' if key else ''}. Start the cluster again and run the "
            "same command: finished blocks are not done again."
        )
        return ClusterError(msg)


def _no_workers(key: str, error: BaseException) -> ClusterError:
    """Error of a call that no worker is left for."""
    msg = (
        f"{key} could not run: no worker is left, and none came back in time. Look for the cause "
        "in the workers' log, start workers, and run the same command again: finished blocks are "
        "not done again."
    )
    gone = ClusterError(msg)
    gone.__cause__ = error
    return gone


def reach(address: str, *, timeout_s: float) -> DaskExecutor:
    """Connect to a scheduler that runs already.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT``, or the path of the scheduler file that the scheduler wrote.
    timeout_s : float
        Seconds to wait for the scheduler, and again for its first worker.

    Raises
    ------
    ClusterError
        If nothing answers, if there is no worker, or if versions do not fit.
    """
    where = address if "://" in address else _read_scheduler_file(address)
    _knock(where, timeout_s)
    client = Client(where, timeout=timeout_s, set_as_default=False)
    try:
        client.wait_for_workers(1, timeout=timeout_s)
        check_versions(client.get_versions(packages=["volproc"]))
    except TimeoutError as error:
        client.close()
        msg = (
            f"the scheduler at {address} has no workers, waited {timeout_s:g} s. Start some: "
            f"dask worker {address} --nthreads 1."
        )
        raise ClusterError(msg) from error
    except ClusterError:
        client.close()
        raise
    return DaskExecutor(client)


def check_versions(versions: dict[str, Any]) -> None:
    """Refuse workers whose packages differ from the client's where that breaks runs.

    Parameters
    ----------
    versions : dict
        What `distributed.Client.get_versions` says of ``client``, ``scheduler``, ``workers``.

    Raises
    ------
    ClusterError
        Naming each package with both versions.
    """
    here = _packages(versions["client"])
    others = {"the scheduler": versions["scheduler"]} | {
        f"worker {name}": said for name, said in (versions["workers"] or {}).items()
    }
    differences = []
    for name, said in others.items():
        there = _packages(said)
        # The scheduler never runs a block: only what it speaks and unpickles has to fit.
        needed = here if name != "the scheduler" else here.keys() - {"volproc", "numpy"}
        differences += [
            f"{name} has {package} {there.get(package) or 'not installed'}, here is {here[package]}"
            for package in sorted(needed)
            if there.get(package) != here[package]
        ]
    if differences:
        more = f" and {len(differences) - 4} more" if len(differences) > 4 else ""
        msg = (
            f"the cluster runs other versions: {'; '.join(differences[:4])}{more}. Use the same "
            "environment for scheduler, workers and this command."
        )
        raise ClusterError(msg)


def _packages(said: dict[str, Any]) -> dict[str, str]:
    """Versions that must agree; of Python the first two numbers."""
    packages = dict(said.get("packages") or {})
    python = str(packages.get("python") or "")
    chosen = {
        name: packages.get(name) or ""
        for name in ("dask", "distributed", "cloudpickle", "numpy", "volproc")
    }
    return chosen | {"python": ".".join(python.split(".")[:2])}


def _read_scheduler_file(path: str) -> str:
    """Address inside a scheduler file."""
    cure = (
        f"Start the scheduler with dask scheduler --scheduler-file {path}, or give its address as "
        "tcp://HOST:PORT."
    )
    try:
        return str(json.loads(Path(path).expanduser().read_text())["address"])
    except FileNotFoundError:
        msg = f"the scheduler file {path} does not exist. {cure}"
        raise ClusterError(msg) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is not a scheduler file, got {type(error).__name__}: {error}. {cure}"
        raise ClusterError(msg) from error


def _knock(address: str, timeout_s: float) -> None:
    """Refuse an address where no scheduler answers.

    A client that fails to connect keeps trying in the background until it is collected, and
    complains then; so none is made before something answered. The thread is for callers that
    have an event loop of their own, such as notebooks.
    """

    async def knock() -> None:
        comm = await distributed_connect(address, timeout=timeout_s)
        await comm.close()

    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, knock()).result()
    except (OSError, TimeoutError, ValueError) as error:
        why = f" ({error})" if isinstance(error, ValueError) else f" within {timeout_s:g} s"
        msg = (
            f"no Dask scheduler answers at {address}{why}. Check host and port, and that the "
            "scheduler runs: dask scheduler --port 8786."
        )
        raise ClusterError(msg) from error
