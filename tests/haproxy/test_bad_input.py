"""What is wrong is refused clearly, what is large is carried, and the rest goes on as before."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import httpx
import pytest

from tests.fixtures.running import Running, wait_until

pytestmark = pytest.mark.haproxy

PODS = "/api/v1/namespaces/storefront-prod/pods"
MAPS = "/api/v1/namespaces/storefront-staging/configmaps"
LARGE = 2_000_000


@pytest.fixture(autouse=True)
def all_goes_on(system: Running) -> Iterator[None]:
    """Whatever a test asks, each replica serves the same list before and after, over connections that were open."""
    clients = [system.client("alice", replica, keep_alive=True) for replica in system.replicas]
    before = [client.get(PODS).json()["items"] for client in clients]
    assert before[0] == before[1] != []
    yield
    assert [client.get(PODS).json()["items"] for client in clients] == before
    for client in clients:
        client.close()


def _refusal(answer: httpx.Response) -> tuple[int, str]:
    """Code and message of a Status, which is what every refusal is."""
    told = answer.json()
    assert (told["kind"], told["status"], told["code"]) == ("Status", "Failure", answer.status_code)
    return answer.status_code, told["message"]


def _asked(system: Running) -> int:
    """How many requests of clients upstream has seen."""
    rows = [row for row in system.requests_seen() if row["cause"] == "client" and row["resource"] != "/sandbox"]
    return sum(row["requests"] for row in rows)


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"labelSelector": "a=b=c"}, "found '=', expected: ',' or 'end of string'"),
        ({"labelSelector": "a in (b"}, "unable to parse requirement: found ''"),
        ({"fieldSelector": "abc"}, "invalid selector: 'abc'; can't understand 'abc'"),
        ({"fieldSelector": "spec.nosuch=x"}, "field label not supported: spec.nosuch"),
        ({"limit": "abc"}, 'strconv.ParseInt: parsing "abc": invalid syntax'),
        ({"continue": "abc"}, "continue key is not valid"),
        ({"resourceVersion": "abc"}, "invalid resource version"),
    ],
)
def test_malformed_options(system: Running, params: dict[str, str], said: str) -> None:
    """Each fault is named in upstream's words, for lists and watches alike where both take the option."""
    with system.client("alice") as client:
        code, message = _refusal(client.get(PODS, params=params))
        assert code == 400
        assert said in message
        if "Selector" in next(iter(params)):
            assert _refusal(client.get(PODS, params={**params, "watch": "1"})) == (code, message)


@pytest.mark.parametrize("token", ["nobody", "x" * 9000, "a b"])
def test_tokens_that_nobody_has(system: Running, token: str) -> None:
    """A wrong, expired or broken token is 401 for reads and writes, and lets nothing through to upstream."""
    with system.client("alice") as client:
        headers = {"Authorization": f"Bearer {token}"}
        before = _asked(system)
        assert _refusal(client.get(PODS, headers=headers)) == (401, "Unauthorized")
        assert client.post(MAPS, headers=headers, json={"metadata": {"name": "x"}}).status_code == 401
        assert _asked(system) == before


def test_headers_of_17_kilobytes(system: Running) -> None:
    """Refused with what the limit is."""
    with system.client("alice") as client:
        code, message = _refusal(client.get(PODS, headers={"X-Long": "x" * 17_000}))
        assert code == 431
        assert "16384" in message


def test_an_object_of_two_megabytes(system: Running) -> None:
    """It is written through one replica, and read whole from both: alone, in lists, as Table, and in a watch."""
    data = {"blob": "x" * LARGE}
    with system.client("alice") as client:
        rv = client.get(MAPS).json()["metadata"]["resourceVersion"]
        lines: list[str] = []

        def follow() -> None:
            params = {"watch": "1", "resourceVersion": rv, "timeoutSeconds": "20"}
            with system.client("alice") as watching, watching.stream("GET", MAPS, params=params) as answer:
                for line in answer.iter_lines():
                    lines.append(line)
                    if len(lines) == 2:
                        return

        watch = threading.Thread(target=follow)
        watch.start()
        try:
            made = client.post(MAPS, json={"metadata": {"name": "large"}, "data": data})
            assert made.status_code == 201
            for replica in system.replicas:
                with system.client("alice", replica) as one:
                    assert one.get(f"{MAPS}/large").json()["data"] == data
                    listed = {item["metadata"]["name"]: item for item in one.get(MAPS).json()["items"]}
                    assert listed["large"]["data"] == data
                    table = one.get(MAPS, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
                    assert len(table.content) < LARGE
                    assert ["large", 1] in [row["cells"][:2] for row in table.json()["rows"]]
        finally:
            assert client.delete(f"{MAPS}/large").status_code == 200
        wait_until(lambda: len(lines) == 2)
        watch.join(30)
    events = [json.loads(line) for line in lines]
    assert [event["type"] for event in events] == ["ADDED", "DELETED"]
    assert all(event["object"]["data"] == data for event in events)
