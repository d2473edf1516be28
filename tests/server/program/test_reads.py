from __future__ import annotations

import asyncio

import pytest

from kube.resources import ROLE_BINDINGS
from tests.authz.objects import PODS, binding, record
from tests.server.program.conftest import Start, client, world
from tests.server.program.stored import Stored
from tests.server.program.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio


async def names(http: object, path: str, **options: object) -> list[str]:
    """The names in a list."""
    answer = await http.get(path, **options)  # type: ignore[attr-defined]
    assert answer.status_code == 200, answer.text
    return [item["metadata"]["name"] for item in answer.json()["items"]]


async def until_seen(http: object, wanted: list[str]) -> None:
    """Ask for pods until these are shown: rights travel to the replica within milliseconds."""
    for _ in range(500):
        if await names(http, "/api/v1/pods") == wanted:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never saw {wanted}")


async def test_each_user_sees_what_is_theirs(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """The same list holds everything for one, some namespaces for another, and is refused to a third."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice:
        assert await names(bob, "/api/v1/pods") == ["db-0", "web-0", "web-1"]
        assert await names(alice, "/api/v1/pods") == ["web-0", "web-1"]
        assert await names(alice, "/api/v1/namespaces/oil-dev/pods") == ["web-0", "web-1"]
        assert await names(alice, "/api/v1/namespaces") == ["oil-dev", "oil-prod"]
        refused = await alice.get("/api/v1/namespaces/gas-dev/pods")
        assert refused.status_code == 403
    async with client(server, "carol-token") as carol:
        refused = await carol.get("/api/v1/pods")
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'pods is forbidden: User "carol" cannot list resource "pods" in API group "" at the cluster scope'
    )
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert upstream.forwarded == []


async def test_answers_from_the_cache_say_so(stored: Stored, start: Start) -> None:
    """Source, age, date, audit ID and Cache-Control stand in every answer; a given audit ID is repeated."""
    await stored.load(*world())
    server = await start()
    server.replica.upstream.clock.set(1_600_000_000.9)
    async with client(server, "bob-token") as bob:
        answer = await bob.get("/api/v1/pods", headers={"Audit-ID": "abc-1"})
        assert answer.headers["audit-id"] == "abc-1"
        assert answer.headers["x-larder-source"] == "cache"
        assert float(answer.headers["x-larder-age"]) >= 0
        assert answer.headers["cache-control"] == "no-cache, private"
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["date"] == "Sun, 13 Sep 2020 12:26:40 GMT"
        missing = await bob.get("/api/v1/namespaces/oil-dev/pods/none")
        assert missing.status_code == 404
        assert missing.headers["date"] == answer.headers["date"]
        assert missing.headers["audit-id"]


async def test_what_the_router_refuses_has_no_warning(
    stored: Stored, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a deprecated resource answers and errors carry the Warning, except a 404, 405 or 406 of the router's."""
    monkeypatch.setattr("server.deprecations.built_in", lambda *_: "it is old")
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        for path, accept, code, warnings in (
            ("/api/v1/pods", "application/json", 200, 1),
            ("/api/v1/pods?limit=x", "application/json", 400, 1),
            ("/api/v1/pods", "application/json;as=Foo;v=v1;g=x", 406, 1),
            ("/api/v1/pods", "text/html", 406, 0),
            ("/api/v1/pods/x", "application/json", 404, 0),
        ):
            answer = await bob.get(path, headers={"Accept": accept})
            assert (answer.status_code, len(answer.headers.get_list("warning"))) == (code, warnings), path
        refused = await bob.request("HEAD", "/api/v1/pods")
        assert (refused.status_code, refused.headers.get_list("warning")) == (405, [])


async def test_paths_that_begin_with_two_slashes_are_forwarded(
    stored: Stored, start: Start, upstream: ScriptedUpstream
) -> None:
    """Upstream authorizes them as those of a resource, and then finds none there."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        await bob.get(f"http://127.0.0.1:{server.port}//api/v1/pods")
        await bob.request("OPTIONS", f"http://127.0.0.1:{server.port}//api/v1/pods")
    assert len(upstream.forwarded) == 2


async def test_who_is_nobody_is_unauthorized(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """No credential, a wrong token and credentials of another kind are all 401, for every path."""
    await stored.load(*world())
    server = await start()
    async with client(server) as http:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic YTpi"}):
            for path in ("/api/v1/pods", "/version", "/api/v1/namespaces/oil-dev/pods/web-0/log"):
                answer = await http.get(path, headers=headers)
                assert answer.status_code == 401
                assert answer.json() == {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": "Unauthorized",
                    "reason": "Unauthorized",
                    "code": 401,
                }
    assert upstream.forwarded == []


async def test_anonymous_users_where_they_are_let_in(stored: Stored, start: Start) -> None:
    """With `anonymous` a request without a credential is system:anonymous, and RBAC decides."""
    await stored.load(*world())
    server = await start(anonymous=True)
    async with client(server) as http:
        answer = await http.get("/api/v1/pods")
    assert answer.status_code == 403
    assert 'User "system:anonymous" cannot list' in answer.json()["message"]


async def test_impersonation_is_refused_not_ignored(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """A request that names someone else is refused, also if an equal one without was answered before."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        for path in ("/api/v1/pods", "/apis/example.com/v1/things"):
            await bob.get(path)
            for header in ("Impersonate-User", "impersonate-group", "IMPERSONATE-EXTRA-scope"):
                answer = await bob.get(path, headers={header: "alice"})
                assert answer.status_code == 403
                assert "impersonation is not supported" in answer.json()["message"]
    assert len(upstream.forwarded) == 1


async def test_rights_take_effect_at_once(stored: Stored, start: Start) -> None:
    """A list that is asked for again follows the user's rights, remembered decisions or not."""
    await stored.load(*world())
    server = await start()
    gained = binding("more", "gas-dev", "ClusterRole/pod-reader", "User/alice")
    async with client(server, "alice-token") as alice:
        assert await names(alice, "/api/v1/pods") == ["web-0", "web-1"]
        await stored.put(*gained)
        await until_seen(alice, ["db-0", "web-0", "web-1"])
        await stored.remove(*gained)
        await until_seen(alice, ["web-0", "web-1"])
    assert gained[0] == ROLE_BINDINGS


async def test_reads_are_as_new_as_the_store(stored: Stored, start: Start) -> None:
    """A plain list holds what was in the store when it was asked for."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        for number in range(5):
            await stored.put(PODS, record(f"new-{number}", "oil-dev", stored.position + 1))
            assert f"new-{number}" in await names(bob, "/api/v1/pods")


async def test_options_of_another_request_do_not_stick(stored: Stored, start: Start) -> None:
    """Decisions are remembered per path, query, form and user: none of them leaks into another request."""
    await stored.load(*world())
    server = await start()
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    async with client(server, "bob-token") as bob, client(server, "alice-token") as alice:
        for _ in range(2):
            assert await names(bob, "/api/v1/pods", params={"fieldSelector": "metadata.name=web-0"}) == ["web-0"]
            assert await names(bob, "/api/v1/pods") == ["db-0", "web-0", "web-1"]
            assert (await bob.get("/api/v1/pods", headers={"Accept": table})).json()["kind"] == "Table"
            assert await names(alice, "/api/v1/pods") == ["web-0", "web-1"]
            bad = await bob.get("/api/v1/pods", params={"labelSelector": "a=b=c"})
            assert bad.status_code == 400
            pretty = await bob.get("/api/v1/pods", headers={"User-Agent": "curl/8"})
            assert pretty.text.startswith("{\n")
            assert (await bob.post("/api/v1/pods")).status_code == 404


async def test_heads_that_are_too_long_get_a_status(stored: Stored, start: Start) -> None:
    """A request whose headers exceed the limit is told so, in an API server's form; the limit is 16 KB."""
    await stored.load(*world())
    server = await start()
    async with client(server) as http:
        answer = await http.get("/api/v1/pods", headers={"Authorization": "Bearer " + "x" * 17_000})
        assert answer.status_code == 431
        assert answer.json()["kind"] == "Status"
        assert "16384" in answer.json()["message"]
        answer = await http.get("/api/v1/pods", headers={"Authorization": "Bearer " + "x" * 15_000})
        assert answer.status_code == 401


async def test_odd_methods_and_paths(stored: Stored, start: Start, upstream: ScriptedUpstream) -> None:
    """Methods that nobody knows go where all others go, and broken paths get an answer."""
    await stored.load(*world())
    server = await start()
    async with client(server, "bob-token") as bob:
        assert (await bob.request("FOO", "/api/v1/pods")).status_code == 403
        assert (await bob.options("/apis/example.com/v1/things")).status_code == 404
        assert [seen.method for seen in upstream.forwarded] == ["OPTIONS"]
        assert (await bob.head("/api/v1/pods")).status_code == 405
        head = await bob.head("/apis/capsule.clastix.io/v1beta2/tenants")
        assert head.status_code == 403
    async with client(server, "admin-token") as admin:
        assert (await admin.request("FOO", "/api/v1/pods")).status_code == 405
        assert (await admin.options("/api/v1/pods")).status_code == 405
        assert (await admin.head("/apis/capsule.clastix.io/v1beta2/tenants")).status_code == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /api/v1/%zz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
