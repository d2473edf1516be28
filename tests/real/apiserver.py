"""A real kube-apiserver with its etcd on loopback, for the tests and benchmarks that compare with it.

The binaries are looked for in `$KUBEBUILDER_ASSETS`, then where local builds leave them
(`~/.cache/real-apiserver*/bin`, see `tests/real/build.py`). Nothing is downloaded here: `chosen_assets` returns None
where there are none, and whoever asked says aloud that it skips.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kube.version import ServerVersion

CACHE = Path.home() / ".cache"
"""Local builds are in folders of it, `real-apiserver*/bin`."""

READY_SECONDS = 90
STOP_SECONDS = 10

TOKENS = {
    "admin-token": ("admin", ["system:masters"]),
    "larder-token": ("larder", ["system:masters"]),
    "alice-token": ("alice", ["capsule.clastix.io"]),
    "bob-token": ("bob", ["capsule.clastix.io"]),
    "carol-token": ("carol", []),
    "dave-token": ("dave", []),
    "html-token": ("a<b>&c", ["g"]),
}


def all_assets() -> list[Path]:
    """Every folder with a `kube-apiserver` and an `etcd`, that of the environment first."""
    named = os.environ.get("KUBEBUILDER_ASSETS", "")
    candidates = [Path(named)] if named else []
    candidates += sorted(folder / "bin" for folder in CACHE.glob("real-apiserver*"))
    return [folder for folder in candidates if (folder / "kube-apiserver").exists() and (folder / "etcd").exists()]


def chosen_assets() -> Path | None:
    """The environment's, else the newest that is found, or None."""
    found = all_assets()
    if os.environ.get("KUBEBUILDER_ASSETS") and found:
        return found[0]
    return max(found, key=lambda assets: ServerVersion.parse(version_of(assets)), default=None)


@cache
def version_of(assets: Path) -> str:
    """`v1.20.2`, as the binary says."""
    text = subprocess.run([assets / "kube-apiserver", "--version"], capture_output=True, text=True, check=True)
    return text.stdout.split()[-1]


@dataclass
class RealApiServer:
    """One API server; `start` and `stop` block. Use as a context manager."""

    assets: Path
    directory: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="larder-apiserver-")))
    extra_flags: tuple[str, ...] = ()
    tokens: dict[str, tuple[str, list[str]]] = field(default_factory=lambda: dict(TOKENS))
    url: str = ""
    _processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    _port: int = 0
    _etcd_port: int = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def ca(self) -> Path:
        """The certificate that the server's own is checked against."""
        return self.directory / "ca.crt"

    @property
    def version(self) -> str:
        """`v1.20.2`, as the binary says."""
        return version_of(self.assets)

    @property
    def pids(self) -> list[int]:
        """The API server's and etcd's process ids, in this order."""
        return [process.pid for process in reversed(self._processes)]

    @property
    def etcd(self) -> str:
        """Where its storage listens."""
        return f"http://127.0.0.1:{self._etcd_port}"

    def start(self) -> None:
        """Start etcd and the API server (again on the same port and state after `stop`).

        Raises:
            RuntimeError: one of them ended or was not ready in time; the message ends with its log.
        """
        if not self.ca.exists():
            _write_certificates(self.directory)
            self._write_tokens()
        self._port = self._port or _free_port()
        self._etcd_port, peer = self._etcd_port or _free_port(), _free_port()
        etcd, peer_url = f"http://127.0.0.1:{self._etcd_port}", f"http://127.0.0.1:{peer}"
        self._spawn(
            "etcd",
            [
                "--data-dir",
                str(self.directory / "etcd"),
                "--unsafe-no-fsync",
                "--listen-client-urls",
                etcd,
                "--advertise-client-urls",
                etcd,
                "--listen-peer-urls",
                peer_url,
                "--initial-advertise-peer-urls",
                peer_url,
                "--initial-cluster",
                f"default={peer_url}",
            ],
        )
        self._spawn("kube-apiserver", self._flags(etcd))
        self.url = f"https://127.0.0.1:{self._port}"
        self._wait_ready()

    def stop(self) -> None:
        """Stop both: the API server first, since without etcd it waits for ever."""
        while self._processes:
            process = self._processes.pop()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kubeconfig(self, token: str = "admin-token", name: str = "admin") -> Path:
        """Write a kubeconfig for the holder of `token`; returns its path."""
        path = self.directory / f"{name}.kubeconfig"
        path.write_text(
            "apiVersion: v1\nkind: Config\n"
            f"clusters: [{{name: real, cluster: {{server: '{self.url}', certificate-authority: '{self.ca}'}}}}]\n"
            f"users: [{{name: {name}, user: {{token: {token}}}}}]\n"
            f"contexts: [{{name: real, context: {{cluster: real, user: {name}}}}}]\ncurrent-context: real\n"
        )
        return path

    def ssl_context(self) -> ssl.SSLContext:
        """A client context that trusts this server."""
        return ssl.create_default_context(cafile=str(self.ca))

    def _flags(self, etcd: str) -> list[str]:
        folder = self.directory
        flags = [
            f"--etcd-servers={etcd}",
            f"--secure-port={self._port}",
            "--bind-address=127.0.0.1",
            "--advertise-address=10.96.0.10",
            "--service-cluster-ip-range=10.96.0.0/16",
            f"--tls-cert-file={folder}/server.crt",
            f"--tls-private-key-file={folder}/server.key",
            f"--client-ca-file={folder}/ca.crt",
            f"--token-auth-file={folder}/tokens.csv",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={folder}/sa.key",
            f"--service-account-key-file={folder}/sa.key",
            "--disable-admission-plugins=ServiceAccount",
            "--max-requests-inflight=4000",
            "--max-mutating-requests-inflight=2000",
        ]
        if int(self.version.split(".")[1]) < 24:
            flags.append("--insecure-port=0")
        return [*flags, *self.extra_flags]

    def _spawn(self, program: str, flags: list[str]) -> None:
        with (self.directory / f"{program}.log").open("ab") as log:
            self._processes.append(
                subprocess.Popen(
                    [self.assets / program, *flags],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    cwd=self.directory,
                )
            )

    def _wait_ready(self) -> None:
        request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": "Bearer admin-token"})
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            if any(process.poll() is not None for process in self._processes):
                break
            try:
                with urllib.request.urlopen(request, context=self.ssl_context(), timeout=2) as answer:
                    if answer.read() == b"ok":
                        return
            except (urllib.error.URLError, OSError):
                pass  # not listening or not ready yet: asked again below
            time.sleep(0.3)
        tail = (self.directory / "kube-apiserver.log").read_text(errors="replace")[-2000:]
        self.stop()
        raise RuntimeError(f"kube-apiserver was not ready within {READY_SECONDS} s; its log ends:\n{tail}")

    def _write_tokens(self) -> None:
        lines = [f'{token},{user},uid-{user},"{",".join(groups)}"' for token, (user, groups) in self.tokens.items()]
        (self.directory / "tokens.csv").write_text("\n".join(lines) + "\n")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _write_certificates(directory: Path) -> None:
    """A CA, the server's certificate, and the key that signs service accounts' tokens."""
    now = dt.datetime.now(dt.UTC)
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "larder test CA")])

    def build(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(ca_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=30))
        )

    ca = build(ca_name, ca_key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    _write(directory / "ca.crt", ca.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(directory / "ca.key", _pem(ca_key))
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in ("localhost", "kubernetes.default.svc")]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "10.96.0.1")]
    server = (
        build(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kube-apiserver")]), key)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    )
    _write(directory / "server.crt", server.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(directory / "server.key", _pem(key))
    _write(directory / "sa.key", _pem(ec.generate_private_key(ec.SECP256R1())))


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
