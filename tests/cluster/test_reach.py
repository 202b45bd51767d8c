"""Schedulers that speak TLS, by address and by file, with the right certificates and others."""

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import dask.config
import pytest
from distributed import LocalCluster

from volproc.cluster import connect
from volproc.cluster.network import Network, make_certificates
from volproc.core.errors import ClusterError

pytest.importorskip("cryptography")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return make_certificates(tmp_path_factory.mktemp("ours") / "tls")


@pytest.fixture(scope="module")
def secured(ours: Network) -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tls://",
        security=ours.security(),
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster


def test_a_scheduler_with_tls_is_reached_by_address_and_by_file(
    secured: LocalCluster, ours: Network, tmp_path: Path
) -> None:
    assert secured.scheduler_address.startswith("tls://")
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": secured.scheduler_address}))
    for spec in (secured.scheduler_address, str(file)):
        with connect(spec, network=ours) as executor:
            executor.submit("power", pow, 2, 5)
            assert list(executor.completed()) == [("power", 32, None)]


def test_certificates_of_dasks_configuration_are_used(secured: LocalCluster, ours: Network) -> None:
    names = {"ca-file": ours.ca_file, "client.cert": ours.cert_file, "client.key": ours.key_file}
    configured = {f"distributed.comm.tls.{name}": path for name, path in names.items()}
    with dask.config.set(configured), connect(secured.scheduler_address) as executor:
        assert executor.num_workers == 2


def test_other_certificates_are_refused(secured: LocalCluster, tmp_path: Path) -> None:
    others = make_certificates(tmp_path / "others")
    with pytest.raises(ClusterError, match=r"speaks TLS and refuses these.*same authority\."):
        connect(secured.scheduler_address, network=others, timeout_s=5)


def test_a_scheduler_with_tls_needs_certificates(secured: LocalCluster) -> None:
    with pytest.raises(ClusterError, match=r"no certificates were given.*Give ca_file, cert_file"):
        connect(secured.scheduler_address, timeout_s=5)
    plain = secured.scheduler_address.replace("tls://", "tcp://")
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers.*tls://"):
        connect(plain, timeout_s=1)


def test_certificates_are_never_spoken_in_the_clear(ours: Network) -> None:
    with pytest.raises(ClusterError, match=r"tcp://127\.0\.0\.1:1 is not encrypted"):
        connect("tcp://127.0.0.1:1", network=ours, timeout_s=1)


# Tornado leaves the socket of a handshake that failed to the garbage collector, which warns of it
# in whatever test runs then: hence a process of its own.
REACH = """
import sys
from volproc.cluster import connect
from volproc.cluster.network import Network
from volproc.core.errors import ClusterError

address, ca_file, cert_file, key_file = sys.argv[1:]
network = Network(ca_file=ca_file, cert_file=cert_file, key_file=key_file)
try:
    connect(address, network=network, timeout_s=5)
except ClusterError as error:
    print(error)
"""


@pytest.mark.parametrize("first", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_does_not_speak_tls_blames_no_certificate(ours: Network, first: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"

        def answer() -> None:
            with suppress(OSError):  # closed at the end
                while True:
                    caller, _ = listener.accept()
                    with caller, suppress(OSError):
                        caller.sendall(first)  # before it was spoken to, as a scheduler does
                        caller.recv(100)
                        caller.sendall(b"what?")

        threading.Thread(target=answer, daemon=True).start()
        words = (f"tls://{address}", ours.ca_file, ours.cert_file, ours.key_file)
        said = subprocess.run(
            [sys.executable, "-c", REACH, *map(str, words)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        listener.shutdown(socket.SHUT_RDWR)
    assert re.search(r"does not speak TLS.*leave yours out.*tcp://", said), said
