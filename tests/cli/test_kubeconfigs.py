"""The kubeconfigs that `larder up` hands out in front of a cluster."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import httpx
import pytest
import yaml

from kube import kubeconfig as files
from kube.upstream_error import CredentialsError
from larder import kubeconfigs
from larder.up import Stack
from larder.up_settings import UpSettings
from sandbox import kubeconfig
from sandbox.server import SandboxServer

CLUSTER = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "c", "cluster": {"server": "https://upstream.example:6443"}}],
    "users": [{"name": "me", "user": {"client-certificate": "certs/me.crt", "client-key": "certs/me.key"}}],
    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "me", "namespace": "oil"}}],
    "current-context": "x",
}


def _context(folder: Path, content: object = CLUSTER) -> files.Context:
    path = folder / "config"
    path.write_text(yaml.safe_dump(content))
    return files.read([path], str(path))


def test_somebody_stays_who_they_are_elsewhere(tmp_path: Path) -> None:
    """The same credentials and namespace, another server; files are named so that they are found from anywhere."""
    context = _context(tmp_path)
    made = yaml.safe_load(kubeconfigs.towards(context, "https://127.0.0.1:8443", None))
    assert made["clusters"][0]["cluster"] == {"server": "https://127.0.0.1:8443"}
    assert made["users"][0] == {
        "name": "me",
        "user": {
            "client-certificate": str(tmp_path / "certs" / "me.crt"),
            "client-key": str(tmp_path / "certs" / "me.key"),
        },
    }
    assert made["contexts"][0]["context"] == {"cluster": "larder", "user": "me", "namespace": "oil"}
    assert kubeconfigs.has_certificate(context)


@pytest.mark.asyncio
async def test_a_client_certificate_is_good_at_larder_too(tmp_path: Path) -> None:
    """As kind and kubeadm make kubeconfigs: the replicas know the cluster's authorities, and forward in her name."""
    async with SandboxServer(tmp_path / "cluster") as cluster:
        alice, admin = (cluster.authority.client(name, groups) for name, groups in
                        (("alice", ["capsule.clastix.io"]), ("kubernetes-admin", ["system:masters"])))  # fmt: skip
        mine = kubeconfig.write(
            tmp_path / "config", kubeconfig.text(cluster.url, cluster.authority.pem, "me", client=admin)
        )
        settings = UpSettings(kubeconfig=str(mine), replicas=1, directory=str(tmp_path / "up"))
        async with Stack(settings, print) as stack:
            tls = ssl.create_default_context(cadata=(stack.ca or b"").decode())
            certificate, key = alice.write(tmp_path, "alice")
            tls.load_cert_chain(certificate, key)
            async with httpx.AsyncClient(base_url=stack.url, verify=tls) as client:
                listed = (await client.get("/api/v1/namespaces")).json()["items"]
                names = {item["metadata"]["name"] for item in listed}
                assert names == {"storefront-prod", "storefront-staging", "storefront-preview"}
                body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "hers"}}
                made = await client.post("/api/v1/namespaces/storefront-prod/configmaps", json=body)
                assert made.status_code == 201
                refused = await client.post("/api/v1/namespaces/payments-prod/configmaps", json=body)
                assert 'User "alice" cannot create' in refused.json()["message"]
        handed = yaml.safe_load(stack.kubeconfigs["you"].read_text())
        assert "client-certificate-data" in handed["users"][0]["user"]


@pytest.mark.asyncio
async def test_what_cannot_work_is_refused_before_anything_starts(tmp_path: Path) -> None:
    """A kubeconfig that leads nowhere and an address that is taken stop `larder up` at once."""
    said: list[str] = []
    with pytest.raises(CredentialsError, match="there is no kubeconfig"):
        await Stack(UpSettings(kubeconfig=str(tmp_path / "none")), said.append).__aenter__()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match="in use"):
            await Stack(UpSettings(listen=listen), said.append).__aenter__()
    assert said == []
