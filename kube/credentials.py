"""Who we are to upstream, and how to know that it is upstream: from a kubeconfig, or as a pod in the cluster.

Tokens and certificates in files are read again when they change, plugins are asked again before their
login expires and when upstream refuses it. Nothing here talks to upstream.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kube import credential_plugin, kubeconfig
from kube.credential_plugin import PluginLogin
from kube.upstream_error import CredentialsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
RECHECK_SECONDS = 10.0
"""How often files are looked at. Projected tokens are replaced long before they expire."""
EARLY_SECONDS = 60.0
"""A plugin's login is renewed so long before it expires: requests take time, and clocks differ."""


class Login(Protocol):
    """Where the Authorization header comes from."""

    async def authorization(self) -> str:
        """The header's value now, "" for none. Raises CredentialsError."""

    async def renew(self) -> bool:
        """Upstream refused the login: get another. False if there is no other."""

    def certificate(self) -> tuple[bytes, bytes] | None:
        """A client certificate and its key (PEM) that come with the login."""


class Credentials:
    """The way to one API server.

    `server` is its URL without a slash at the end; it may have a path. `proxy` is the URL of an HTTP
    proxy on the way, "" for none. `server_name` replaces the URL's host in checking the certificate.
    """

    def __init__(
        self,
        server: str,
        login: Login,
        *,
        authority: _Pem | None = None,
        certificate: _Pem | None = None,
        key: _Pem | None = None,
        insecure: bool = False,
        server_name: str = "",
        proxy: str = "",
        source: str = "",
    ) -> None:
        self.server = server.rstrip("/")
        self.server_name = server_name
        self.proxy = proxy
        self.source = source
        self._login = login
        self._authority = authority
        self._certificate = certificate
        self._key = key
        self._insecure = insecure
        self._contexts: dict[bool, _CachedContext] = {}

    async def authorization(self) -> str:
        """The value of our Authorization header, "" for none.

        Raises:
            CredentialsError: a file or a plugin that gives it fails.
        """
        return await self._login.authorization()

    async def renew(self) -> bool:
        """Get another login after upstream's 401; False if there is no other."""
        renewed = await self._login.renew()
        for cached in self._contexts.values():
            cached.checked = 0.0
        return renewed

    def ssl_context(self, *, own: bool = True) -> ssl.SSLContext | None:
        """The TLS settings as of now; None for plain HTTP.

        `own`: with our client certificate. Never for a request in another's name: upstream looks at the
        certificate before the token, and would take the caller for us.

        Raises:
            CredentialsError: a certificate or key cannot be read.
        """
        if not self.server.startswith("https:"):
            return None
        now = time.monotonic()
        cached = self._contexts.get(own)
        if cached is not None and cached.checked and now - cached.checked < RECHECK_SECONDS:
            return cached.context
        certificate = self._client_certificate() if own else None
        made_of = (self._authority.content() if self._authority else None, certificate)
        if cached is None or cached.made_of != made_of:
            cached = _CachedContext(self._build_context(*made_of), made_of)
            self._contexts[own] = cached
        cached.checked = now
        return cached.context

    def _client_certificate(self) -> tuple[bytes, bytes] | None:
        given = self._login.certificate()
        if given is not None:
            return given
        if self._certificate is None or self._key is None:
            return None
        return self._certificate.content(), self._key.content()

    def _build_context(self, authority: bytes | None, certificate: tuple[bytes, bytes] | None) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cadata=authority.decode() if authority else None)
        except (ssl.SSLError, ValueError) as error:
            raise CredentialsError(f"the certificate authority in {self.source} is not PEM: {error}") from error
        if self._insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if certificate is not None:
            _load_certificate(context, *certificate, self.source)
        return context


def load(path: str | Path | None = None, context: str | None = None) -> Credentials:
    """The credentials of a kubeconfig's context, or of the pod that this runs in.

    Without `path`: `$KUBECONFIG`, else the pod's service account, else `~/.kube/config`.

    Raises:
        CredentialsError: what is missing, and what to do about it.
    """
    if path is not None:
        return from_kubeconfig(kubeconfig.read([Path(path).expanduser()], str(path), context))
    if not os.environ.get("KUBECONFIG") and context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    paths, source = kubeconfig.default_paths()
    return from_kubeconfig(kubeconfig.read(paths, source, context))


def in_cluster(folder: Path = SERVICE_ACCOUNT) -> Credentials:
    """The service account of the pod that this runs in.

    Raises:
        CredentialsError: not in a pod, or its token is not mounted.
    """
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST", ""), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise CredentialsError("KUBERNETES_SERVICE_HOST is not set, so this is no pod: name a --kubeconfig")
    if not (folder / "token").exists():
        raise CredentialsError(f"{folder}/token is missing: set automountServiceAccountToken, or name a --kubeconfig")
    if ":" in host:
        host = f"[{host}]"
    return Credentials(
        f"https://{host}:{port}",
        _TokenFile(folder / "token"),
        authority=_Pem(path=folder / "ca.crt"),
        source=str(folder),
    )


def from_kubeconfig(context: kubeconfig.Context) -> Credentials:
    """The credentials of one context.

    Raises:
        CredentialsError: something in it cannot be used.
    """
    cluster, user, source = context.cluster, context.user, context.source
    server = str(cluster.get("server") or "")
    if not server.startswith(("http://", "https://")):
        raise CredentialsError(f"the cluster of context {context.name!r} in {source} has no server URL (http or https)")
    proxy = str(cluster.get("proxy-url") or "")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise CredentialsError(f"the proxy-url {proxy} in {source} is not supported: only http and https proxies are")
    if user.get("as"):
        raise CredentialsError(f"the user of context {context.name!r} impersonates: name one with rights of its own")
    return Credentials(
        server,
        _login(context),
        authority=_Pem.of(cluster, "certificate-authority"),
        certificate=_Pem.of(user, "client-certificate"),
        key=_Pem.of(user, "client-key"),
        insecure=bool(cluster.get("insecure-skip-tls-verify")),
        server_name=str(cluster.get("tls-server-name") or ""),
        proxy=proxy,
        source=source,
    )


def _login(context: kubeconfig.Context) -> Login:
    user = context.user
    if user.get("tokenFile"):
        return _TokenFile(Path(user["tokenFile"]))
    if user.get("token"):
        return _Fixed(f"Bearer {user['token']}")
    if user.get("exec"):
        return _Plugin(lambda: credential_plugin.run_exec(user["exec"]))
    if user.get("auth-provider"):
        return _Plugin(lambda: credential_plugin.run_auth_provider(context.merged, context.name))
    if user.get("username"):
        pair = f"{user['username']}:{user.get('password') or ''}"
        return _Fixed("Basic " + base64.b64encode(pair.encode()).decode())
    return _Fixed("")


@dataclass(slots=True)
class _CachedContext:
    """TLS settings, what they were made of, and when that was last compared with the files (monotonic; 0: never)."""

    context: ssl.SSLContext
    made_of: tuple[Any, ...]
    checked: float = 0.0


class _Pem:
    """Certificate or key text: given, or in a file that may be replaced."""

    def __init__(self, *, data: bytes = b"", path: Path | None = None) -> None:
        self._data = data
        self._path = path

    @classmethod
    def of(cls, settings: dict[str, Any], name: str) -> _Pem | None:
        """The entry `NAME-data` (base64) or `NAME` (a file) of a kubeconfig's section, if it has one."""
        if settings.get(f"{name}-data"):
            try:
                return cls(data=base64.b64decode(settings[f"{name}-data"], validate=False))
            except ValueError as error:
                raise CredentialsError(f"{name}-data of the kubeconfig is not base64: {error}") from error
        return cls(path=Path(settings[name])) if settings.get(name) else None

    def content(self) -> bytes:
        if self._path is None:
            return self._data
        try:
            return self._path.read_bytes()
        except OSError as error:
            raise CredentialsError(f"cannot read {self._path}, which the kubeconfig names: {error.strerror}") from error


class _Fixed:
    """A login that never changes."""

    def __init__(self, authorization: str) -> None:
        self._authorization = authorization

    async def authorization(self) -> str:
        return self._authorization

    async def renew(self) -> bool:
        return False

    def certificate(self) -> tuple[bytes, bytes] | None:
        return None


class _TokenFile:
    """A bearer token in a file that somebody keeps fresh."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._token = ""
        self._read_at = 0.0

    async def authorization(self) -> str:
        now = time.monotonic()
        if not self._token or now - self._read_at >= RECHECK_SECONDS:
            self._token = self._read()
            self._read_at = now
        return f"Bearer {self._token}"

    async def renew(self) -> bool:
        before, self._token = self._token, self._read()
        return self._token != before

    def certificate(self) -> tuple[bytes, bytes] | None:
        return None

    def _read(self) -> str:
        try:
            token = self._path.read_text().strip()
        except OSError as error:
            raise CredentialsError(f"cannot read the token file {self._path}: {error.strerror}") from error
        if not token:
            raise CredentialsError(f"the token file {self._path} is empty")
        return token


class _Plugin:
    """A login that a plugin gives, and gives anew before it expires."""

    def __init__(self, run: Callable[[], Awaitable[PluginLogin]]) -> None:
        self._run = run
        self._login: PluginLogin | None = None
        self._lock = asyncio.Lock()

    async def authorization(self) -> str:
        async with self._lock:
            login = self._login
            if login is None or (login.expires is not None and time.time() >= login.expires - EARLY_SECONDS):
                login = self._login = await self._run()
            return login.authorization

    async def renew(self) -> bool:
        refused = self._login
        async with self._lock:
            if self._login is refused:
                self._login = await self._run()
            return self._login != refused

    def certificate(self) -> tuple[bytes, bytes] | None:
        login = self._login
        return (login.certificate, login.key) if login is not None and login.certificate else None


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes, source: str) -> None:
    """OpenSSL takes them from a file only: a private one, for a moment."""
    with tempfile.NamedTemporaryFile(prefix="larder-", suffix=".pem") as file:
        file.write(certificate + b"\n" + key)
        file.flush()
        try:
            context.load_cert_chain(file.name)
        except (ssl.SSLError, OSError) as error:
            raise CredentialsError(f"the client certificate or key in {source} cannot be used: {error}") from error
