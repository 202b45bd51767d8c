"""Where schedulers listen, and certificates."""

from pathlib import Path

import pytest

from volproc.cluster.network import Network, make_certificates
from volproc.core.errors import ClusterError


@pytest.mark.parametrize(
    ("network", "is_open"),
    [
        (Network(), False),
        (Network(host="127.0.0.1"), False),
        (Network(host="localhost"), False),
        (Network(host="0.0.0.0"), True),
        (Network(host="login1"), True),
        (Network(interface="ib0"), True),
    ],
)
def test_only_loopback_is_closed_to_other_machines(network: Network, is_open: bool) -> None:
    assert network.is_open == is_open


def test_a_scheduler_listens_on_loopback_by_default() -> None:
    assert Network().listens == {"host": "127.0.0.1"}
    assert Network(interface="ib0").listens == {"interface": "ib0"}


def test_two_places_to_listen_are_refused() -> None:
    with pytest.raises(ClusterError, match=r'host "login1" and interface "ib0" both say where'):
        Network(host="login1", interface="ib0")


def test_some_certificates_without_the_others_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="cert_file and key_file is missing"):
        Network(ca_file="ca.pem")
    with pytest.raises(ClusterError, match=r"the ca_file ca\.pem does not exist"):
        Network(ca_file="ca.pem", cert_file="cert.pem", key_file="key.pem").security()
    (tmp_path / "ca.pem").write_text("no certificate")
    path = str(tmp_path / "ca.pem")
    with pytest.raises(ClusterError, match=r"TLS cannot use .*Give PEM files"):
        Network(ca_file=path, cert_file=path, key_file=path).security()


def test_certificates_of_a_run_are_for_its_user_alone(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    made = make_certificates(tmp_path / "tls")
    assert (tmp_path / "tls").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "tls").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    assert made.security().require_encryption
    with pytest.raises(ClusterError, match="cannot be written into"):
        make_certificates(tmp_path / "tls")


def test_certificates_that_cannot_be_made_say_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cryptography", None)
    with pytest.raises(ClusterError, match=r"cryptography is not installed.*volproc\[slurm\]"):
        make_certificates(tmp_path / "tls")
