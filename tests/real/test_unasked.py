"""What a real API server is asked while clients read through larder, by its own audit log: by clients, nothing."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from larder.up_settings import UpSettings
from tests.chaos.clients import Place
from tests.chaos.writing import prepare
from tests.fixtures.running import Running, wait_until
from tests.interop import kubectl
from tests.interop.kubectl import Kubectl
from tests.real.apiserver import TOKENS, RealApiServer
from tests.real.every import every_server

pytestmark = pytest.mark.real

POLICY = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nrules: [{level: Metadata}]\n"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PROTOBUF = "application/vnd.kubernetes.protobuf,application/json"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
PATHS = (
    "/api/v1/configmaps", "/api/v1/namespaces", "/api/v1/namespaces/west", "/api/v1/namespaces/west/configmaps",
    "/api/v1/services", "/api/v1/pods?limit=1", "/api/v1/configmaps?resourceVersion=0", "/api/v1/nodes",
    "/apis/example.com/v1/widgets", "/apis/apps/v1/deployments?labelSelector=app", "/api/v1/namespaces/west/pods/no",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=5", "/api/v1/serviceaccounts?fieldSelector=metadata.name=x",
)  # fmt: skip
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
COMMANDS = (
    "get namespaces",
    "get pods -A -o wide",
    "get configmaps -n west -o yaml",
    "get widgets -A",
    "api-resources",
)


@contextmanager
def _asked(assets: Path, directory: Path) -> Iterator[tuple[Running, Path]]:
    """Larder before a real server that keeps a log of what it is asked."""
    (directory / "apiserver").mkdir()
    policy, log = directory / "policy.yaml", directory / "audit.log"
    policy.write_text(POLICY)
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={log}", "--audit-log-maxsize=1000")
    tokens = {**TOKENS, "mallory-token": ("mallory", [])}
    with RealApiServer(assets, directory / "apiserver", extra_flags=flags, tokens=tokens) as real:
        asyncio.run(prepare(Place(lambda: real.url, real.ssl_context())))
        kubeconfig = str(real.kubeconfig("larder-token", "larder"))
        settings = UpSettings(kubeconfig=kubeconfig, directory=str(directory / "parts"))
        system = Running(settings, ())
        try:
            system.start()
            yield system, log
        finally:
            system.stop()


def _entries(log: Path, since: int = 0) -> list[dict[str, Any]]:
    lines = log.read_text().splitlines()[since:]
    return [json.loads(line) for line in lines if line]


def _reads(entries: list[dict[str, Any]]) -> Counter[str]:
    """Gets, lists and watches of resources by whoever is no part of larder or of the API server itself."""
    return Counter(
        f"{entry['verb']} {entry['requestURI']}"
        for entry in entries
        if entry["verb"] in {"get", "list", "watch"} and "objectRef" in entry
        if not entry.get("userAgent", "").startswith(("larder-", "kube-apiserver"))
    )


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.timeout(300)
def test_no_read_reaches_upstream(assets: Path, tmp_path: Path) -> None:
    """Lists, gets, Tables, watches, pages and kubectl, as administrator and as one who sees a part."""
    with _asked(assets, tmp_path) as (system, log):
        for user in ("admin", "mallory"):
            for replica in system.replicas:
                with system.client(user, replica) as client:  # who they are is asked for once, and is no read
                    client.get("/api/v1/configmaps")
        with system.client("admin") as client:
            wait_until(lambda: client.get(PATHS[8], headers={"Accept": TABLE}).headers["X-Larder-Source"] == "cache")
        since = len(_entries(log))
        answered = _read_everything(system, tmp_path)
        assert answered > 100
        with system.client("admin") as client:  # and one that is not covered, to see that the log would tell
            assert client.get("/api/v1/secrets").status_code == 200
        wait_until(lambda: _reads(_entries(log, since)))
        assert set(_reads(_entries(log, since))) == {"list /api/v1/secrets"}
    _check_informer(_entries(log))  # old servers tell of watches when they are over


def _read_everything(system: Running, directory: Path) -> int:
    """How many reads were answered."""
    answered = 0
    for user in ("admin", "mallory"):
        with system.client(user) as client:
            watches = [
                threading.Thread(target=client.get, args=(f"{path}?watch=1&timeoutSeconds=3",))
                for path in ("/api/v1/configmaps", "/apis/example.com/v1/widgets")
            ]
            for watch in watches:
                watch.start()
            for path in PATHS:
                for accept in ("application/json", TABLE, METADATA, PROTOBUF):
                    answer = client.get(path, headers={"Accept": accept})
                    assert answer.status_code in {200, 403, 404, 406}, answer.text
                    answered += 1
            for watch in watches:
                watch.join()
    program = kubectl.plain()
    if program is not None:
        caller = Kubectl(program, system.stack.kubeconfigs["you"], directory / "home")
        answered += sum(caller.run(*command.split(), "--token=admin-token").code == 0 for command in COMMANDS)
    return answered


def _check_informer(entries: list[dict[str, Any]]) -> None:
    """The informer lists each resource once, whatever pages that takes, and watches it once."""
    lists: Counter[str] = Counter()
    watches: dict[str, set[str]] = {}
    for entry in entries:
        if not entry.get("userAgent", "").startswith("larder-informer") or "objectRef" not in entry:
            continue
        target = urlsplit(entry["requestURI"])
        query = parse_qs(target.query)
        if entry["verb"] == "watch":
            watches.setdefault(target.path, set()).add(entry["auditID"])
        elif (
            entry["verb"] == "list" and query.get("limit") != ["1"] and not query.keys() & {"continue", "includeObject"}
        ):
            # Without those that ask how far upstream is, further pages, and the Tables that rows are compared with.
            lists[target.path] += 1
    assert len(lists) > 20
    lists[DEFINITIONS] -= 1  # read for discovery, too: they say which columns Tables have
    assert {path: count for path, count in lists.items() if count > 1} == {}
    assert {path: ids for path, ids in watches.items() if len(ids) > 1} == {}
    assert lists.keys() == watches.keys()
