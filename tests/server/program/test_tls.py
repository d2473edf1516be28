from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.tls import ServerTls, certificate_names
from tests.server.program.conftest import Start, world
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream


class Pair(NamedTuple):
    """A certificate and its key."""

    cert: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        """PEM files, replaced as a whole; their paths."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for suffix, data in (("crt", self.cert.public_bytes(serialization.Encoding.PEM)), ("key", pem)):
            (folder / f"{name}.{suffix}.new").write_bytes(data)
            (folder / f"{name}.{suffix}.new").replace(folder / f"{name}.{suffix}")
        return str(folder / f"{name}.crt"), str(folder / f"{name}.key")


def issue(
    common_name: str, *organizations: str, by: Pair | None = None, usage: x509.ObjectIdentifier | None = None
) -> Pair:
    """A certificate for 127.0.0.1, issued by an authority or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, name) for name in organizations]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.cert.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
    )
    if usage is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    if usage == ExtendedKeyUsageOID.SERVER_AUTH:
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        builder = builder.add_extension(names, critical=False)
    return Pair(builder.sign(by.key if by else key, hashes.SHA256()), key)


class Authorities(NamedTuple):
    """Everything on disk: the authority, the server's pair, alice's, the master's and a stranger's."""

    folder: Path
    ca: Pair
    ca_file: str
    server: tuple[str, str]

    def client(self, name: str, *groups: str, by: Pair | None = None) -> tuple[str, str]:
        """A client's certificate and key."""
        pair = issue(name, *groups, by=by or self.ca, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
        return pair.write(self.folder, name)

    def https(self, port: int, cert: tuple[str, str] | None = None, token: str = "") -> httpx.AsyncClient:
        """A client that trusts the authority, with a certificate or a token."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if cert is not None:
            context.load_cert_chain(*cert)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=f"https://localhost:{port}", verify=context, headers=headers)


@pytest.fixture
def authorities(tmp_path: Path) -> Authorities:
    """An authority of its own, and a certificate for localhost."""
    ca = issue("test authority")
    server = issue("localhost", by=ca, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    return Authorities(tmp_path, ca, ca.write(tmp_path, "ca")[0], server.write(tmp_path, "server"))


@pytest.mark.asyncio
async def test_client_certificates(
    stored: Stored, start: Start, upstream: ScriptedUpstream, authorities: Authorities
) -> None:
    """CN and O of a verified certificate are user and groups; others come with tokens; strangers do not come in."""
    await stored.load(*world())
    cert, key = authorities.server
    server = await start(tls_cert=cert, tls_key=key, client_ca=authorities.ca_file)
    async with authorities.https(server.port, authorities.client("alice", "devs", "ops")) as alice:
        listed = await alice.get("/api/v1/pods")
        assert [item["metadata"]["name"] for item in listed.json()["items"]] == ["web-0", "web-1"]
        # A token beside the certificate changes nothing: upstream looks at the certificate first too.
        listed = await alice.get("/api/v1/pods", headers={"Authorization": "Bearer bob-token"})
        assert len(listed.json()["items"]) == 2
        await alice.get("/apis/example.com/v1/things")
    seen = upstream.forwarded[-1]
    assert seen.headers["authorization"] == ["Bearer larder-token"]
    assert seen.headers["impersonate-user"] == ["alice"]
    assert sorted(seen.headers["impersonate-group"]) == ["devs", "ops"]
    async with authorities.https(server.port, token="bob-token") as bob:
        assert len((await bob.get("/api/v1/pods")).json()["items"]) == 3
    async with authorities.https(server.port) as nobody:
        assert (await nobody.get("/api/v1/pods")).status_code == 401
    stranger = authorities.client("stranger", by=issue("another authority"))
    async with authorities.https(server.port, stranger) as http:
        with pytest.raises(httpx.TransportError):
            await http.get("/api/v1/pods")


@pytest.mark.asyncio
async def test_masters_are_never_impersonated(
    stored: Stored, start: Start, upstream: ScriptedUpstream, authorities: Authorities
) -> None:
    """A certificate of system:masters reads everything from the cache, but nothing is sent upstream in its name."""
    await stored.load(*world())
    cert, key = authorities.server
    server = await start(tls_cert=cert, tls_key=key, client_ca=authorities.ca_file)
    async with authorities.https(server.port, authorities.client("root", "system:masters")) as root:
        assert len((await root.get("/api/v1/pods")).json()["items"]) == 3
        refused = await root.delete("/api/v1/namespaces/oil-dev/pods/web-0")
        assert refused.status_code == 403
        assert "system:masters are not impersonated" in refused.json()["message"]
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        refused = await root.get("/api/v1/namespaces/oil-dev/pods/web-0/exec", headers=upgrade)
        assert refused.status_code == 403
    assert upstream.forwarded == []


def test_certificate_is_renewed_while_running(authorities: Authorities) -> None:
    """New files hold for new connections at once; half a renewal changes nothing."""
    tls = ServerTls(*authorities.server)
    assert not tls.reload()
    renewed = issue("localhost", by=authorities.ca, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    (authorities.folder / "server.crt").write_bytes(renewed.cert.public_bytes(serialization.Encoding.PEM))
    assert not tls.reload()
    renewed.write(authorities.folder, "server")
    assert tls.reload()
    assert not tls.reload()


def test_names_of_a_certificate() -> None:
    """All organizations are groups, in their order."""
    der = issue("alice", "a", "b").cert.public_bytes(serialization.Encoding.DER)
    assert certificate_names(der) == ("alice", ("a", "b"))
