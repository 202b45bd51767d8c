"""Where a scheduler listens, and the certificates by which both sides know each other."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volproc.core.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Security

FILES = ("ca_file", "cert_file", "key_file")
"""What TLS needs, PEM."""

LOOPBACK = "127.0.0.1"
"""Reached from this machine only."""


@dataclass(frozen=True, slots=True)
class Network:
    """Where a scheduler listens, and how it is spoken to.

    Parameters
    ----------
    host : str
        Address or name of this machine on which a scheduler that is started here listens; by
        default 127.0.0.1, which other machines cannot reach.
    interface : str
        The same by the name of a network interface, as ``ib0``.
    ca_file, cert_file, key_file : str
        PEM files for TLS: the authority, the certificate that it signed, and its key. All three
        or none; without them Dask's own configuration is asked
        (``DASK_DISTRIBUTED__COMM__TLS__CA_FILE`` and so on).

    Raises
    ------
    ClusterError
        If both ``host`` and ``interface`` are given, or some of the files but not all.
    """

    host: str = ""
    interface: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def __post_init__(self) -> None:
        if self.host and self.interface:
            msg = (
                f'host "{self.host}" and interface "{self.interface}" both say where the scheduler '
                "listens. Give one of them."
            )
            raise ClusterError(msg)
        lacks = [name for name in FILES if not getattr(self, name)]
        if 0 < len(lacks) < len(FILES):
            msg = f"TLS needs ca_file, cert_file and key_file, {' and '.join(lacks)} is missing."
            raise ClusterError(msg + " Give all three.")

    @property
    def has_certificates(self) -> bool:
        """Whether TLS was asked for here."""
        return bool(self.ca_file)

    @property
    def listens(self) -> dict[str, str]:
        """``host`` or ``interface``, as Dask takes them."""
        return {"interface": self.interface} if self.interface else {"host": self.host or LOOPBACK}

    @property
    def is_open(self) -> bool:
        """Whether other machines can reach a scheduler that listens here."""
        return bool(self.interface) or not _is_loopback(self.host or LOOPBACK)

    def security(self) -> Security:
        """Certificates as Dask takes them.

        Raises
        ------
        ClusterError
            If a file is missing, or is no certificate or key.
        """
        from distributed import Security  # only where a scheduler is spoken to

        if not self.has_certificates:
            return Security()
        paths = {name: Path(getattr(self, name)).expanduser() for name in FILES}
        for name, path in paths.items():
            if not path.is_file():
                msg = f"the {name} {path} does not exist. Give the path of a PEM file."
                raise ClusterError(msg)
        return secure(*map(str, paths.values()))


def secure(ca_file: str, cert_file: str, key_file: str) -> Security:
    """One certificate for client, scheduler and workers; whatever is not encrypted is refused.

    Raises
    ------
    ClusterError
        If a file is no certificate or key.
    """
    from distributed import Security

    roles: dict[str, Any] = {}
    for role in ("client", "scheduler", "worker"):
        roles |= {f"tls_{role}_cert": cert_file, f"tls_{role}_key": key_file}
    security = Security(tls_ca_file=ca_file, require_encryption=True, **roles)
    try:
        security.get_connection_args("client")
    except (ssl.SSLError, OSError) as error:
        msg = (
            f"TLS cannot use {ca_file}, {cert_file} and {key_file}: {error}. Give PEM files: an "
            "authority, a certificate that it signed, and the key of that certificate."
        )
        raise ClusterError(msg) from error
    return security


def certificates_in(folder: Path, network: Network) -> Network:
    """The same network with the certificates that `make_certificates` leaves in a folder."""
    paths = {name: str(folder / f"{name.removesuffix('_file')}.pem") for name in FILES}
    return Network(network.host, network.interface, **paths)


def make_certificates(folder: Path, network: Network | None = None) -> Network:
    """Make an authority and a certificate for one run, in files that only this user can read.

    Parameters
    ----------
    folder : path
        Where; made if it is not there. Workers have to see it under the same name.
    network : Network
        Where the scheduler will listen.

    Returns
    -------
    network : Network
        The same with certificates.

    Raises
    ------
    ClusterError
        If the package ``cryptography`` is not installed, or the files cannot be written.
    """
    from distributed import Security

    try:
        made = Security.temporary()
    except ImportError as error:
        msg = (
            "certificates for this run cannot be made: cryptography is not installed. Install it "
            '(pip install "volproc[slurm]"), or give ca_file, cert_file and key_file.'
        )
        raise ClusterError(msg) from error
    contents = (made.tls_ca_file, made.tls_worker_cert, made.tls_worker_key)
    network = certificates_in(folder, network or Network())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for name, content in zip(FILES, contents, strict=True):
            path = getattr(network, name)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(content)
    except OSError as error:
        msg = f"certificates cannot be written into {folder}: {error}. Give another log_folder."
        raise ClusterError(msg) from error
    return network


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
