"""The server's side of TLS: its certificate, renewed while it runs, and the names in a client's certificate."""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
"""How often the files are looked at. cert-manager renews days ahead, and kubelet swaps mounted files atomically."""


@dataclass(slots=True)
class ServerTls:
    """An SSL context that keeps up with its files.

    A new certificate and further client authorities hold for new connections at once. An authority that was
    removed from the file is believed until the restart: OpenSSL cannot take one out of a living context.
    """

    cert: str
    key: str
    client_ca: str | None = None
    context: ssl.SSLContext = field(init=False)
    _seen: tuple[tuple[int, int, int], ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        """Load the files.

        Raises:
            OSError, ssl.SSLError: they are not there, or are no certificate and its key.
        """
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        # Sanic speaks HTTP/1.1 alone; saying so spares clients that offer h2 a wrong guess.
        self.context.set_alpn_protocols(["http/1.1"])
        if self.client_ca:
            self.context.verify_mode = ssl.CERT_OPTIONAL
        self._load()

    def _load(self) -> None:
        seen = self._stamps()
        self.context.load_cert_chain(self.cert, self.key)
        if self.client_ca:
            self.context.load_verify_locations(self.client_ca)
        self._seen = seen

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        stats = [Path(path).stat() for path in (self.cert, self.key, self.client_ca) if path]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def reload(self) -> bool:
        """Load the files again if they changed; whether they did. Files that do not fit leave all as it was."""
        try:
            if self._stamps() == self._seen:
                return False
            # Tried out apart: a key without its certificate (half a renewal) must not spoil the living context.
            trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            trial.load_cert_chain(self.cert, self.key)
            self._load()
        except (OSError, ssl.SSLError) as error:
            _log.error("the TLS files cannot be loaded, the old ones stay: %s", error)
            return False
        _log.info("TLS files reloaded")
        return True

    async def keep_up(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            await asyncio.to_thread(self.reload)


def certificate_names(der: bytes) -> tuple[str, tuple[str, ...]]:
    """Common name and organizations of a certificate's subject; the last common name if there are several.

    Raises:
        ValueError: it is no certificate.
    """
    # Here, since it takes 0.1 s and most replicas never see a client certificate.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    subject = x509.load_der_x509_certificate(der).subject
    names = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    groups = [str(name.value) for name in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    return (names[-1] if names else ""), tuple(groups)
