"""The sandbox as kubectl finds it: what a person types first works."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest

from sandbox.server import SandboxServer

pytestmark = [pytest.mark.asyncio, pytest.mark.interop]

DEPLOYMENT: dict[str, Any] = {
    "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "shop", "namespace": "default"},
    "spec": {
        "replicas": 1, "selector": {"matchLabels": {"app": "shop"}},
        "template": {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {"containers": [{"name": "main", "image": "shop:1"}, {"name": "side", "image": "side:1"}]},
        },
    },
}  # fmt: skip


@pytest.fixture
def program() -> str:
    """The path of kubectl."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed: the sandbox is tested without it")
    return found


async def _kubectl(program: str, server: SandboxServer, user: str, *arguments: str, stdin: Any = None) -> str:
    who = ("--kubeconfig", str(server.kubeconfig(user)), "--cache-dir", str(server.directory / "cache"))
    process = await asyncio.create_subprocess_exec(
        program, *who, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await process.communicate(b"" if stdin is None else json.dumps(stdin).encode())
    return out.decode()


async def test_a_deployment_is_applied_changed_scaled_and_deleted(program: str, server: SandboxServer) -> None:
    """Apply twice changes nothing; a new image is merged into its container; scale, label and delete do their work."""

    async def kubectl(*arguments: str, stdin: Any = None) -> str:
        return await _kubectl(program, server, "admin", *arguments, stdin=stdin)

    assert "created" in await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    assert "unchanged" in await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = json.loads(json.dumps(DEPLOYMENT))
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "shop:2"
    assert "configured" in await kubectl("apply", "-f", "-", stdin=changed)
    images = await kubectl("get", "deploy", "shop", "-o", "jsonpath={.spec.template.spec.containers[*].image}")
    assert images == "shop:2 side:1"
    assert "scaled" in await kubectl("scale", "deploy", "shop", "--replicas=3")
    assert "labeled" in await kubectl("label", "deploy", "shop", "team=a")
    assert "annotated" in await kubectl("annotate", "deploy", "shop", "note=b")
    shown = await kubectl("get", "deploy", "-l", "team=a", "-o", "wide")
    assert "shop:2,side:1" in shown
    assert "deleted" in await kubectl("delete", "deploy", "shop")
    assert "not found" in await kubectl("get", "deploy", "shop")


async def test_people_are_told_what_they_are_and_may(program: str, server: SandboxServer) -> None:
    """Own resources are listed, others are refused, and `explain` and `api-resources` answer."""
    assert "web-" in await _kubectl(program, server, "alice", "get", "pods", "-n", "storefront-prod")
    assert "Forbidden" in await _kubectl(program, server, "alice", "get", "pods", "-n", "payments-prod")
    assert "tenants" in await _kubectl(program, server, "alice", "api-resources", "--api-group=capsule.clastix.io")
    assert "Server Version" in await _kubectl(program, server, "bob", "version")
