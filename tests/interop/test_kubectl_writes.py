"""Commands that write and look whether it took effect: upstream's writes, seen through larder."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fixtures.running import Running
from tests.interop.conftest import sides_of
from tests.interop.kubectl import Kubectl, Ran, without_ages

pytestmark = pytest.mark.interop

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: applied, labels: {color: red}}
data: {v: "1"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: applied}
spec:
  replicas: 2
  selector: {matchLabels: {app: applied}}
  template:
    metadata: {labels: {app: applied}}
    spec: {containers: [{name: main, image: "registry.example/applied:1"}]}
"""

SCRIPT = (
    "diff -f -",
    "apply -f - --dry-run=server",
    "apply -f -",
    "get -f - -o name",
    "rollout status deployment/applied --timeout=20s",
    "wait --for=condition=Available deployment/applied --timeout=20s",
    "wait --for=jsonpath={.status.readyReplicas}=2 deployment/applied --timeout=20s",
    "wait --for=condition=Ready pod -l app=applied --timeout=20s",
    "diff -f -",
    "apply -f -",
    "label configmap applied size=big",
    "get configmap applied --show-labels",
    "annotate configmap applied note=x",
    "get configmap applied -o jsonpath={.metadata.annotations.note}",
    'patch configmap applied -p {"data":{"v":"2"}}',
    "get configmap applied -o jsonpath={.data.v}",
    "diff -f -",
    "apply -f -",
    "get configmap applied -o jsonpath={.data.v}",
    "scale deployment applied --replicas=3",
    "get deployment applied -o jsonpath={.spec.replicas}",
    "rollout status deployment/applied --timeout=20s",
    "wait --for=jsonpath={.status.availableReplicas}=3 deployment/applied --timeout=20s",
    "set image deployment/applied main=registry.example/applied:2",
    "get deployment applied -o jsonpath={.spec.template.spec.containers[0].image}",
    "rollout status deployment/applied --timeout=20s",
    "get replicasets -l app=applied --no-headers",
    "delete -f - --wait=true",
    "get configmap,deployment applied",
    "wait --for=delete pod -l app=applied --timeout=30s",
)
"""What somebody types one after the other, with the manifest on standard input where `-f -` says so."""

_FREE = (
    (re.compile(r"/tmp/(LIVE|MERGED)-\d+"), r"/tmp/\1"),
    (re.compile(r"\d{4}-\d\d-\d\d[T ][\d:.]+(?:Z| \+0000)"), "<time>"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "<uid>"),
    (re.compile(r'resourceVersion: "\d+"'), "resourceVersion: <rv>"),
    (re.compile(r"applied-[0-9a-f]+(?:-[0-9a-z]{5})?"), "applied-<random>"),
    (re.compile(r"storefront-(?:staging|preview)"), "<namespace>"),
    (re.compile(r"(?m)^index .*$"), "index"),
)


def _said(command: str, ran: Ran) -> tuple[str, int, list[str], str]:
    """How it ended and what it printed, without names and times, and without progress on the way."""
    texts = []
    for text in (ran.out, ran.err):
        comparable = without_ages(text)
        for pattern, replacement in _FREE:
            comparable = pattern.sub(replacement, comparable)
        texts.append(comparable)
    lines = texts[0].splitlines()
    if command.startswith("rollout status"):
        lines = lines[-1:]
    if command.startswith("wait --for=delete"):
        # How many are still there to be waited for is a matter of moments.
        lines = [line for line in lines if line != "pod/applied-<random> condition met"]
    return command, ran.code, sorted(lines) if command.startswith("wait") else lines, texts[1]


def _play(kubectl: Kubectl, namespace: str) -> list[tuple[str, int, list[str], str]]:
    said = []
    for command in SCRIPT:
        stdin = MANIFEST if "-f -" in command else None
        said.append(_said(command, kubectl.run(*command.split(), "-n", namespace, stdin=stdin)))
    return said


def test_a_session_of_writes_goes_as_before_upstream(system: Running, program: Path) -> None:
    """An owner applies, waits, labels, scales and deletes: each command ends and prints as it does at upstream."""
    sides = sides_of(system, program, "alice")
    with ThreadPoolExecutor(2) as pool:
        played = pool.map(_play, (sides.larder, sides.upstream), ("storefront-staging", "storefront-preview"))
    through, straight = played
    for ours, theirs in zip(through, straight, strict=True):
        assert ours == theirs
    failed = [said[0] for said in through if said[1] != 0]
    assert failed == ["diff -f -", "diff -f -", "get configmap,deployment applied"], "what differs, and what is gone"


def test_what_is_refused_is_refused_in_upstreams_words(system: Running, program: Path) -> None:
    """Writes that upstream refuses: of another's namespace, of what is there already, of what is no object."""
    sides = sides_of(system, program, "alice")
    refused = (
        ("create configmap x -n payments-prod", None),
        ("delete pod nosuch -n storefront-prod", None),
        ("create namespace storefront-prod", None),
        ("create configmap web-settings -n storefront-prod", None),
        ("apply -f -", "apiVersion: v1\nkind: Nosuch\nmetadata: {name: x}\n"),
        ("apply -f - -n nosuch", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"),
    )
    for command, stdin in refused:
        assert sides.same(*command.split(), stdin=stdin).code != 0
