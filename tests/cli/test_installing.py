"""What docs/installing.md gives to copy works as it stands there."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml

from informers.settings import InformerSettings
from informers.worker import run
from larder.up import free_port, probe
from sandbox import kubeconfig
from sandbox.access import Person
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from server.app import running
from server.settings import ServerSettings
from store.embedded import EmbeddedRedis

DOCUMENT = Path(__file__).parents[2] / "docs" / "installing.md"
SERVED_HERE = {"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"}


def _yaml_blocks() -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)


def test_the_configuration_file_is_one() -> None:
    """Each section is settings of its part."""
    settings: dict[str, Any] = yaml.safe_load(_yaml_blocks()[1])
    assert msgspec.convert(settings["informer"], InformerSettings, strict=False).redis_url
    assert msgspec.convert(settings["server"], ServerSettings, strict=False).tls_cert
    assert set(settings) == {"informer", "server"}


@pytest.mark.asyncio
async def test_the_rights_are_enough_and_no_more_than_said(tmp_path: Path) -> None:
    """With them an informer syncs everything and a replica serves tenants, by token; neither may write."""
    with EmbeddedRedis() as redis:
        async with SandboxServer(tmp_path, SandboxSettings(life_seconds=0)) as sandbox:
            for obj in yaml.safe_load_all(_yaml_blocks()[0]):
                assert obj["kind"] in SERVED_HERE
                sandbox.sandbox.cluster.load(obj)
            own = {name: _account(sandbox, tmp_path, name) for name in ("larder-informer", "larder-server")}
            health = f"127.0.0.1:{free_port()}"
            informing = asyncio.create_task(
                run(InformerSettings(kubeconfig=own["larder-informer"], redis_url=redis.url, metrics_listen=health))
            )
            settings = ServerSettings(
                kubeconfig=own["larder-server"], redis_url=redis.url, listen="127.0.0.1:0",
                metrics_listen="127.0.0.1:0", drain_seconds=0.1,
            )  # fmt: skip
            async with running(settings) as server, asyncio.timeout(60):
                for address in (health, f"127.0.0.1:{server.metrics_port}"):
                    while await asyncio.to_thread(probe, address):
                        assert not informing.done(), informing.exception()
                        await asyncio.sleep(0.05)
                async with httpx.AsyncClient(
                    base_url=f"http://127.0.0.1:{server.port}", headers={"Authorization": "Bearer alice-token"}
                ) as alice:
                    pods = await alice.get("/api/v1/pods")
                assert pods.headers["x-larder-source"] == "cache"
                places = {pod["metadata"]["namespace"] for pod in pods.json()["items"]}
                assert places == {"storefront-prod", "storefront-staging", "storefront-preview"}
            async with httpx.AsyncClient(base_url=sandbox.url, verify=False) as client:
                for name in own:
                    written = await client.post(
                        "/api/v1/namespaces/default/configmaps", headers={"Authorization": f"Bearer {name}-token"},
                        json={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}},
                    )  # fmt: skip
                    assert written.status_code == 403
            informing.cancel()
            await asyncio.wait({informing})


def _account(sandbox: SandboxServer, folder: Path, name: str) -> str:
    """A kubeconfig of a service account of the namespace `larder`."""
    groups = ("system:serviceaccounts", "system:serviceaccounts:larder", "system:authenticated")
    sandbox.sandbox.cluster.access.tokens[f"{name}-token"] = Person(f"system:serviceaccount:larder:{name}", groups)
    text = kubeconfig.text(sandbox.url, sandbox.authority.pem, name, token=f"{name}-token")
    return str(kubeconfig.write(folder / f"{name}.kubeconfig", text))
