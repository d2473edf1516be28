"""While upstream is away, kubectl goes on reading, and writes fail clearly; when it is back, nothing begins anew."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.fixtures.running import Running, wait_until
from tests.interop.conftest import sides_of
from tests.interop.kubectl import Kubectl

pytestmark = [pytest.mark.interop, pytest.mark.timeout(400)]

NAMESPACE = "storefront-preview"
RESUME_SECONDS = 90.0
"""The informer's longest pause between two attempts is thirty seconds."""

READS = (
    "api-resources -o wide",
    "api-versions",
    "version",
    "explain pods",
    "explain tenants",
    "get pods -A -o wide",
    "get pods -A --chunk-size=3",
    "get all -n storefront-prod",
    "get deployments -n storefront-prod -o yaml",
    "get tenants",
    "get namespaces -o custom-columns=N:.metadata.name",
    "get pods nosuch",
    "events -A",
    "describe deployment web -n storefront-prod",
    "rollout status deployment/web -n storefront-prod",
    "wait --for=condition=Available deployment --all -n storefront-prod --timeout=5s",
)


def _fresh(system: Running, program: Path, user: str, home: Path) -> Kubectl:
    """A user's kubectl that has never asked anything; the user has been heard of, on each replica."""
    for replica in system.replicas:
        with system.client(user, replica) as client:
            assert client.get("/api/v1/namespaces").status_code == 200
    return Kubectl(program, system.stack.kubeconfigs[user], home)


def test_reads_go_on_and_writes_are_refused(system: Running, program: Path, tmp_path: Path) -> None:
    """A kubectl with an empty cache discovers, lists, watches and explains; a write is a clear 503; then all go on."""
    before = sides_of(system, program, "admin")
    expected = {command: before.larder.run(*command.split()) for command in READS}
    kubectl = _fresh(system, program, "admin", tmp_path / "fresh")
    alice = _fresh(system, program, "alice", tmp_path / "alice")
    watch = ("get", "configmaps", "-n", NAMESPACE, "-w", "-o", "name")
    relists = system.relists()
    assert relists > 0
    with ExitStack() as exits:
        old = exits.enter_context(kubectl.follow(*watch))
        wait_until(lambda: len(old.lines) == 2)
        with system.upstream_down():
            for command in READS:
                ran = kubectl.run(*command.split())
                assert ran.ageless == expected[command].ageless, command
            assert alice.run("get", "pods", "-A", "--no-headers").out.count("storefront-") > 5
            assert "storefront-prod" in alice.run("describe", "namespace", "storefront-prod").out
            new = exits.enter_context(alice.follow(*watch))
            wait_until(lambda: len(new.lines) == 2)
            for command in (
                f"create configmap refused -n {NAMESPACE} --from-literal=a=b",
                f"delete configmap web-settings -n {NAMESPACE}",
                f"label configmap web-settings -n {NAMESPACE} a=b",
            ):
                _refused(kubectl, command)
            _refused(kubectl, "get secrets -A")
            with system.client("admin") as client:
                answer = client.post(f"/api/v1/namespaces/{NAMESPACE}/configmaps", json={"metadata": {"name": "x"}})
                assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
        assert kubectl.run("create", "configmap", "back", "-n", NAMESPACE).code == 0
        for one in (old, new):
            wait_until(lambda one=one: one.lines[-1] == "configmap/back", RESUME_SECONDS)  # type: ignore[misc]
        assert kubectl.run("delete", "configmap", "back", "-n", NAMESPACE).code == 0
        for one in (old, new):
            wait_until(lambda one=one: len(one.lines) == 4)  # type: ignore[misc]
            assert one.process.poll() is None, one.complaints
            assert one.lines == [*old.lines[:2], "configmap/back", "configmap/back"]
    assert system.relists() == relists, "the informer resumes, and lists nothing again"


def _refused(kubectl: Kubectl, command: str) -> None:
    """What needs upstream is refused, and says so."""
    ran = kubectl.run(*command.split())
    assert ran.code == 1
    assert "upstream cannot be reached" in ran.err, ran.err


def test_a_stranger_is_refused_while_nobody_can_vouch(system: Running) -> None:
    """Whose token no replica has seen gets 503 while upstream is away, not 401, and is let in when it is back."""
    with system.client("grace") as grace:
        with system.upstream_down():
            answer = grace.get("/api/v1/namespaces")
            assert (answer.status_code, answer.json()["reason"]) == (503, "ServiceUnavailable")
        wait_until(lambda: grace.get("/api/v1/namespaces").status_code == 200)
