"""Python's own clients: the official one and lightkube, whose watches are begun again when a replica is killed."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.fixtures.running import Running, wait_until
from tests.interop import history
from tests.interop.history import Event

pytestmark = pytest.mark.interop

kubernetes = pytest.importorskip("kubernetes", reason="the official Python client is not installed")
lightkube = pytest.importorskip("lightkube", reason="lightkube is not installed")

MAPS = "/api/v1/configmaps"
WRITES = 40


class Collecting:
    """A watch in a thread of its own: `events` until `stop` is set, and how often it began."""

    def __init__(self, stream: Callable[[Collecting], Iterator[Event]]) -> None:
        self.events: list[Event] = []
        self.stop = threading.Event()
        self.begun = 0
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._collect, args=(stream,), daemon=True)
        self._thread.start()

    def _collect(self, stream: Callable[[Collecting], Iterator[Event]]) -> None:
        try:
            for event in stream(self):
                self.events.append(event)
                if self.stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - shown by the test
            self.error = error


def _official(system: Running, user: str, rv: str) -> Callable[[Collecting], Iterator[Event]]:
    """Its Watch goes on by itself when a stream ends, not when it breaks: then the caller begins at the last RV."""
    import urllib3

    client = kubernetes.config.new_client_from_config(str(system.stack.kubeconfigs[user]))
    api = kubernetes.client.CoreV1Api(client)

    def stream(told: Collecting) -> Iterator[Event]:
        last = rv
        while not told.stop.is_set():
            told.begun += 1
            watch = kubernetes.watch.Watch()
            try:
                for event in watch.stream(
                    api.list_config_map_for_all_namespaces, resource_version=last, allow_watch_bookmarks=True
                ):
                    metadata = event["object"].metadata
                    last = metadata.resource_version
                    if event["type"] != "BOOKMARK":
                        yield event["type"], f"{metadata.namespace}/{metadata.name}", last
            except urllib3.exceptions.HTTPError:
                told.stop.wait(0.1)

    return stream


def _lightkube(system: Running, user: str, rv: str) -> Callable[[Collecting], Iterator[Event]]:
    """Its watch goes on by itself in either case, if it is told to."""
    from lightkube.resources.core_v1 import ConfigMap
    from lightkube.types import OnErrorAction, OnErrorResult

    config = lightkube.KubeConfig.from_file(str(system.stack.kubeconfigs[user]))
    client = lightkube.Client(config=config)

    def stream(told: Collecting) -> Iterator[Event]:
        def go_on(error: Exception, _times: int) -> OnErrorResult:
            told.begun += 1
            return OnErrorResult(OnErrorAction.RETRY, 0.1)

        told.begun += 1
        for word, item in client.watch(ConfigMap, namespace="*", resource_version=rv, on_error=go_on):
            yield word, f"{item.metadata.namespace}/{item.metadata.name}", item.metadata.resourceVersion

    return stream


@pytest.mark.parametrize("user", ["admin", "alice"])
@pytest.mark.parametrize("kind", [_official, _lightkube], ids=["kubernetes", "lightkube"])
def test_watch_resumes_after_a_death(
    system: Running, kind: Callable[[Running, str, str], Callable[[Collecting], Iterator[Event]]], user: str
) -> None:
    """The replica that serves the watch is killed under it: what it tells is upstream's history, each event once."""
    with system.upstream() as upstream:
        rv = history.version(upstream, MAPS)
        watch = Collecting(kind(system, user, rv))
        try:
            history.wait_for_watches(system, 1)
            writer = history.Writer(upstream, random.Random(5))
            writer.write(WRITES)
            history.kill_whoever_serves(system)
            writer.write(WRITES)
            expected = history.since(upstream, MAPS, rv)
            wait_until(lambda: watch.error is not None or expected[-1] in watch.events)
            assert watch.error is None
            assert watch.events == expected
            assert watch.begun > 1
        finally:
            watch.stop.set()
            writer.write(5)  # so that it wakes up and ends
    system.wait_until_all_ready()


def test_official_client_lists_and_gets(system: Running) -> None:
    """Typed lists in pages, gets, selectors, and the words of a refusal, from either replica."""
    api = kubernetes.client.CoreV1Api(
        kubernetes.config.new_client_from_config(str(system.stack.kubeconfigs["alice"]))
    )  # fmt: skip
    found, token = [], None
    while True:
        page = api.list_pod_for_all_namespaces(limit=3, _continue=token)
        found += [(pod.metadata.namespace, pod.metadata.name) for pod in page.items]
        token = page.metadata._continue
        if not token:
            break
    with system.upstream() as upstream:
        expected = [tuple(key.split("/")) for key in history.objects(upstream, "/api/v1/pods")]
    assert found == [key for key in expected if key[0].startswith("storefront-")]
    namespace, name = found[0]
    assert api.read_namespaced_pod(name, namespace).status.phase == "Running"
    frontend = api.list_namespaced_pod("storefront-prod", label_selector="tier=frontend").items
    assert {pod.metadata.labels["app.kubernetes.io/name"] for pod in frontend} == {"web"}
    with pytest.raises(kubernetes.client.ApiException, match="Forbidden") as refused:
        api.list_namespaced_pod("payments-prod")
    assert refused.value.status == 403
    with pytest.raises(kubernetes.client.ApiException) as missing:
        api.read_namespaced_pod("nosuch", "storefront-prod")
    assert (missing.value.status, 'pods \\"nosuch\\" not found' in missing.value.body) == (404, True)


def test_lightkube_lists(system: Running) -> None:
    """Its lists, whose pages are read behind the caller's back, are upstream's."""
    from lightkube.resources.core_v1 import ConfigMap, Node

    client = lightkube.Client(config=lightkube.KubeConfig.from_file(str(system.stack.kubeconfigs["admin"])))
    found = {
        f"{one.metadata.namespace}/{one.metadata.name}": one.metadata.resourceVersion
        for one in client.list(ConfigMap, namespace="*", chunk_size=4)
    }
    with system.upstream() as upstream:
        assert found == history.objects(upstream, MAPS)
    assert [node.metadata.name for node in client.list(Node)] == ["control-1", "worker-1", "worker-2", "worker-3"]
