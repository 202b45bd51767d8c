"""Connects to a scheduler that runs already, by address or file, TLS included."""

from __future__ import annotations

import asyncio
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distributed import Client, Security
from distributed import connect as distributed_connect

from volproc.cluster.network import Network
from volproc.cluster.scheduler import DaskExecutor
from volproc.cluster.versions import check_versions
from volproc.core.errors import ClusterError

NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "HTTP_REQUEST")
"""What OpenSSL calls an answer that is no TLS."""


def reach(address: str, *, timeout_s: float, network: Network | None = None) -> DaskExecutor:
    """Connect to a scheduler that runs already.

    Parameters
    ----------
    address : str
        ``tcp://HOST:PORT``, or the path of the scheduler file that the scheduler wrote.
    timeout_s : float
        Seconds to wait for the scheduler, and again for its first worker.
    network : Network
        Certificates, where the scheduler speaks TLS; by default those of Dask's configuration.

    Raises
    ------
    ClusterError
        If nothing answers, if there is no worker, or if versions do not fit.
    """
    where = address if "://" in address else _read_scheduler_file(address)
    security = (network or Network()).security()
    _knock(where, timeout_s, security)
    client = Client(where, timeout=timeout_s, security=security, set_as_default=False)
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


def _knock(address: str, timeout_s: float, security: Security) -> None:
    """Refuse an address where no scheduler answers.

    A client that fails to connect keeps trying in the background until it is collected, and
    complains then; so none is made before something answered. The thread is for callers that
    have an event loop of their own, such as notebooks.
    """

    async def knock() -> None:
        comm = await distributed_connect(
            address, timeout=timeout_s, **security.get_connection_args("client")
        )
        await comm.close()

    try:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(asyncio.run, knock()).result()
    except (OSError, RuntimeError, TimeoutError, TypeError, ValueError) as error:
        raise ClusterError(_silent(address, timeout_s, error)) from error


def _silent(address: str, timeout_s: float, error: Exception) -> str:
    """Say why no scheduler was reached."""
    if address.startswith("tls://"):
        refusal = error.__cause__ if isinstance(error.__cause__, ssl.SSLError) else error
        if isinstance(refusal, TypeError):  # as Dask answers where it has none
            return (
                f"{address} asks for TLS, and no certificates were given. Give ca_file, cert_file "
                "and key_file in the YAML file of the cluster, or the address as "
                f"{address.replace('tls://', 'tcp://')} if the scheduler does not speak TLS."
            )
        if _is_plain(refusal):
            return (
                f"what listens at {address} does not speak TLS. Check the port, start the "
                "scheduler with certificates, or leave yours out and give "
                f"{address.replace('tls://', 'tcp://')}."
            )
        if isinstance(refusal, ssl.SSLError):
            return (
                f"the scheduler at {address} speaks TLS and refuses these certificates, or has "
                f"others ({refusal}). Give ca_file, cert_file and key_file of the same authority."
            )
    if isinstance(error, RuntimeError):
        return f"{address} is not encrypted, and TLS was asked for. Give it as tls://HOST:PORT."
    why = f" ({error})" if isinstance(error, ValueError) else f" within {timeout_s:g} s"
    return (
        f"no Dask scheduler answers at {address}{why}. Check host and port, that the scheduler "
        "runs (dask scheduler --port 8786), and give tls://HOST:PORT if it speaks TLS."
    )


def _is_plain(refusal: BaseException) -> bool:
    """Whether the other side spoke first, or anything but TLS: no certificate is to blame."""
    if isinstance(refusal, ssl.SSLError):
        return refusal.reason in NOT_TLS
    return isinstance(refusal, ValueError) and "cannot convert to SSL" in str(refusal)
