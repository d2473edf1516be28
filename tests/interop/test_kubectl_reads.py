"""What kubectl prints for a read is what it prints when it asks upstream itself; and upstream is not asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.running import Running
from tests.interop.conftest import plain, sides_of
from tests.interop.kubectl import Sides

pytestmark = pytest.mark.interop

READS = (
    "get pods -A",
    "get pods -A -o wide",
    "get pods -n storefront-prod -o yaml",
    "get pods -n storefront-prod -o json",
    "get pods -A -o name",
    "get pods -A -o custom-columns=IMAGE:.spec.containers[0].image,READY:.status.containerStatuses[0].ready",
    'get pods -A -o jsonpath={range.items[*]}{.metadata.name}{"\\n"}{end}',
    "get pods -A --sort-by=.metadata.creationTimestamp",
    "get pods -A --sort-by=.spec.nodeName -o wide",
    "get pods -A --chunk-size=3",
    "get pods -A -l tier=frontend -L tier,app.kubernetes.io/name",
    "get pods -A -l tier!=frontend --show-labels",
    "get pods -A --field-selector=status.phase=Running,metadata.namespace!=kube-system",
    "get pods,services,deployments -n storefront-prod --show-kind",
    "get all -n payments-prod",
    "get deployments -A -o wide",
    "get nodes -o wide",
    "get namespaces --show-labels",
    "get namespace storefront-prod -o yaml",
    "get configmaps -n storefront-prod web-settings -o json",
    "get tenants",
    "get crd tenants.capsule.clastix.io -o yaml",
    "get clusterroles,clusterrolebindings",
    "get events -A",
    "get secrets -A",
    "get leases -A",
    "events -n storefront-prod",
    "events -A",
    "describe pods -n storefront-prod",
    "describe deployment web -n storefront-prod",
    "describe service web -n storefront-prod",
    "describe nodes",
    "describe namespace storefront-prod",
    "describe tenant storefront",
    "api-resources -o wide",
    "api-resources --verbs=list,watch --namespaced -o name",
    "api-versions",
    "explain pods",
    "explain deployments --api-version=apps/v1",
    "explain tenants",
    "rollout status deployment/web -n storefront-prod",
    "rollout history deployment/web -n storefront-prod",
    "wait --for=condition=Available deployment --all -n storefront-prod --timeout=5s",
    "wait --for=jsonpath={.status.phase}=Running pods --all -n storefront-prod --timeout=5s",
    "version",
    "get pods nosuch",
    "get nosuch",
    "get pods -n nosuch",
    "get pods -l a==b=c",
    "get pods --field-selector=spec.nosuch=x",
    "get pods -o custom-columns=X",
)  # fmt: skip

OF_TENANTS = (
    "get pods -n storefront-prod -o wide",
    "get pods -n payments-prod",
    "get nodes",
    "get configmaps -n storefront-preview -o yaml",
    "describe deployment web -n storefront-prod",
)
"""What upstream lets an owner read itself; the union of their namespaces is larder's alone."""


@pytest.mark.parametrize("command", READS)
def test_reads_print_the_same(sides: Sides, command: str) -> None:
    """One command as administrator, on both sides: standard output, standard error and exit code."""
    sides.same(*command.split())


@pytest.mark.parametrize("command", OF_TENANTS)
def test_reads_of_a_tenant_print_the_same(system: Running, program: Path, command: str) -> None:
    """What an owner may read, and the words of what is refused, are upstream's."""
    sides_of(system, program, "alice").same(*command.split())


def test_the_plain_kubectl_prints_the_same(system: Running) -> None:
    """The kubectl on PATH, which may be one that asks the server first which version it should be."""
    for command in ("version", "get pods -A -o wide", "get deployments -n storefront-prod -o yaml", "api-resources"):
        sides_of(system, plain(), "admin").same(*command.split())


def test_a_tenant_sees_the_union_of_their_namespaces(system: Running, program: Path) -> None:
    """Across all namespaces, an owner gets what an administrator sees of theirs."""
    alice, admin = sides_of(system, program, "alice").larder, sides_of(system, program, "admin").larder
    mine = alice.run("get", "namespaces", "-o", "name").out.split()
    assert mine == ["namespace/storefront-preview", "namespace/storefront-prod", "namespace/storefront-staging"]
    for wide in ((), ("-o", "wide")):
        every = admin.run("get", "pods", "-A", "--no-headers", *wide).ageless[1].splitlines()
        assert alice.run("get", "pods", "-A", "--no-headers", *wide).ageless[1].splitlines() == [
            line for line in every if line.startswith("storefront-")
        ]


def test_reads_of_a_session_do_not_reach_upstream(system: Running, program: Path) -> None:
    """Every command above, through larder alone: upstream sees no get, list or watch of what is covered."""
    with system.upstream() as client:
        client.delete("/sandbox/requests")
    session = [
        (sides_of(system, program, user).larder, command.split())
        for user, commands in (("admin", READS), ("alice", (*OF_TENANTS, "get namespaces", "get pods -A")))
        for command in commands
    ]
    with ThreadPoolExecutor(3) as pool:
        ran = list(pool.map(lambda one: one[0].run(*one[1]), session))
    assert sum(one.code == 0 for one in ran) > 40
    asked = {
        f"{row['verb']} {row['resource']}"
        for row in system.requests_seen()
        if row["cause"] == "client" and row["verb"] in {"get", "list", "watch"} and row["resource"] != "/sandbox"
    }
    assert asked <= {"list secrets", "list leases.coordination.k8s.io", "get leases.coordination.k8s.io"}
    assert "list secrets" in asked, "what is not covered is upstream's to answer"
