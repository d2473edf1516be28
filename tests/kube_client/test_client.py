from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from kube.buffered import Buffered
from kube.client import UpstreamClient
from kube.credentials import Credentials, _Fixed, _TokenFile
from kube.list_watch import list_pages, watch
from kube.status import Expired, StatusError, TooManyRequests
from kube.upstream_error import UpstreamBroken, UpstreamTimeout, UpstreamUnreachable
from tests.informers.eventually import until
from tests.informers.upstream import CONFIG_MAPS, Fault, Upstream


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A scripted upstream."""
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest_asyncio.fixture
async def client(upstream: Upstream) -> AsyncIterator[UpstreamClient]:
    """A client of it."""
    async with UpstreamClient(Credentials(upstream.url, _Fixed("Bearer own")), user_agent="larder-test/1") as made:
        yield made


@pytest.mark.asyncio
async def test_pages_are_one_list(upstream: Upstream, client: UpstreamClient) -> None:
    """A list comes in pages of one state, unpacked, its objects byte by byte as upstream has them."""
    for number in range(7):
        upstream.put(CONFIG_MAPS, "a", f"c{number}", data={"text": "<é>"})
    pages = []
    async for page in list_pages(client, CONFIG_MAPS, limit=3):
        pages.append(page)
        upstream.put(CONFIG_MAPS, "a", "later")
    assert [len(page.items) for page in pages] == [3, 3, 1]
    assert {page.rv for page in pages} == {107}
    assert [page.remaining for page in pages] == [4, 1, None]
    expected = upstream.item(CONFIG_MAPS, upstream.objects[CONFIG_MAPS]["a", "c0"])
    assert pages[0].items[0] == expected
    assert upstream.headers_seen[0]["user-agent"] == "larder-test/1"


@pytest.mark.asyncio
async def test_a_forgotten_page_is_expired(upstream: Upstream, client: UpstreamClient) -> None:
    """A continue token that is too old ends the list with 410."""
    for number in range(4):
        upstream.put(CONFIG_MAPS, "a", f"c{number}")
    pages = list_pages(client, CONFIG_MAPS, limit=3)
    await anext(pages)
    upstream.forget_pages()
    with pytest.raises(Expired):
        await anext(pages)


@pytest.mark.asyncio
async def test_watch(upstream: Upstream, client: UpstreamClient) -> None:
    """A watch gives history, then changes and bookmarks; its first batch is empty."""
    upstream.put(CONFIG_MAPS, "a", "x")
    seen: list[tuple[str, bytes]] = []
    batches = 0
    async with aclosing(watch(client, CONFIG_MAPS, 100)) as events:
        async for batch in events:
            batches += 1
            if batches == 1:
                assert batch == []
            seen += batch
            if len(seen) == 1:
                upstream.delete(CONFIG_MAPS, "a", "x")
                upstream.bookmark(CONFIG_MAPS)
            if len(seen) == 3:
                break
    assert [kind for kind, _ in seen] == ["ADDED", "DELETED", "BOOKMARK"]
    query = upstream.requests[-1][2]
    assert query["allowWatchBookmarks"] == "true"
    assert 300 <= int(query["timeoutSeconds"]) <= 600


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["status", "error-event"])
async def test_watch_from_a_forgotten_past(upstream: Upstream, client: UpstreamClient, kind: str) -> None:
    """410 is Expired, as a status of the answer and as an event of the stream."""
    upstream.misbehave("watch", str(CONFIG_MAPS), Fault(kind, status=410))
    with pytest.raises(Expired):
        async for _ in watch(client, CONFIG_MAPS, 100):
            pass


@pytest.mark.asyncio
async def test_watch_that_is_cut_off(upstream: Upstream, client: UpstreamClient) -> None:
    """Half an event is an error, not an end; whole events before it have been given out."""
    events = watch(client, CONFIG_MAPS, 100)
    await anext(events)
    await until(lambda: upstream.watching(CONFIG_MAPS))
    upstream.put(CONFIG_MAPS, "a", "x")
    upstream.cut_event(CONFIG_MAPS)
    assert [kind for kind, _ in await anext(events)] == ["ADDED"]
    with pytest.raises(UpstreamBroken):
        await anext(events)


@pytest.mark.asyncio
async def test_refusals(upstream: Upstream, client: UpstreamClient) -> None:
    """What upstream refuses is raised as its own status, by its code."""
    upstream.misbehave("list", str(CONFIG_MAPS), Fault("status", status=429, body="slow down"))
    with pytest.raises(TooManyRequests):
        await anext(list_pages(client, CONFIG_MAPS))
    # The HTTP library tries once more where an idle connection breaks.
    upstream.misbehave("list", str(CONFIG_MAPS), Fault("reset", times=2))
    with pytest.raises(UpstreamBroken):
        await anext(list_pages(client, CONFIG_MAPS))
    upstream.misbehave("get", "/version", Fault("stall"))
    with pytest.raises(UpstreamTimeout):
        await client.request("GET", "/version", timeout_seconds=0.1)


@pytest.mark.asyncio
async def test_unreachable_server_says_what_to_look_at() -> None:
    """Nothing listens there: the message names the server and where its address is from."""
    credentials = Credentials("http://127.0.0.1:9", _Fixed(""), source="/etc/kubeconfig")
    async with UpstreamClient(credentials, user_agent="t") as client:
        with pytest.raises(UpstreamUnreachable) as raised:
            await client.request("GET", "/version")
    assert str(raised.value) == (
        "cannot connect to http://127.0.0.1:9 (from /etc/kubeconfig): Connection refused."
        " Is the API server up, and the address right?"
    )


@pytest.mark.asyncio
async def test_a_refused_login_is_renewed_once(upstream: Upstream, tmp_path: Path) -> None:
    """After 401 the token file is read again, and the request is sent again if there was another token in it."""
    upstream.token = "new"
    file = tmp_path / "token"
    file.write_text("old")
    async with UpstreamClient(Credentials(upstream.url, _TokenFile(file)), user_agent="t") as client:
        assert (await client.request("GET", "/version")).status == 401
        file.write_text("new")
        assert (await client.request("GET", "/version")).status == 200
        assert await client.get_json("/api") == {
            "kind": "APIVersions",
            "versions": ["v1"],
            "serverAddressByClientCIDRs": [],
        }


@pytest.mark.asyncio
async def test_forwarded_requests_carry_the_callers_login(upstream: Upstream, client: UpstreamClient) -> None:
    """The caller's token goes along, hop-by-hop headers do not; our own login only where it is asked for."""
    sent = [("authorization", "Bearer theirs"), ("connection", "close"), ("x-two", "1"), ("x-two", "2")]
    answer = await client.forward("GET", "/version?x=%2F", sent)
    assert answer.status == 200
    assert dict(answer.headers)["content-type"].startswith("application/json")
    assert b"gitVersion" in b"".join([chunk async for chunk in answer.chunks()])
    answer.close()
    assert upstream.headers_seen[-1]["authorization"] == "Bearer theirs"
    assert "user-agent" not in upstream.headers_seen[-1]
    answer = await client.forward("GET", "/version", [*sent, ("impersonate-user", "bob")], own=True)
    assert answer.status == 200
    answer.close()
    assert upstream.headers_seen[-1]["authorization"] == "Bearer own"


@pytest.mark.asyncio
async def test_leaving_a_stream_closes_it(upstream: Upstream, client: UpstreamClient) -> None:
    """A caller that goes away in the middle of a watch ends it upstream too."""
    async with client.stream("GET", f"{CONFIG_MAPS.path()}?watch=1&resourceVersion=100", []):
        await until(lambda: upstream.watching(CONFIG_MAPS))
    await until(lambda: not upstream.watching(CONFIG_MAPS))


@pytest.mark.asyncio
async def test_request_bodies_are_streamed(upstream: Upstream, client: UpstreamClient) -> None:
    """A body may come in pieces; what the server says to it is passed on, errors too."""

    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"a":'
        yield b"1}"

    answer = await client.forward("POST", "/nowhere", [("content-type", "application/json")], pieces())
    assert answer.status == 404
    assert await answer.read() == b"404 page not found\n"
    answer.close()


def test_status_errors_are_one_tree() -> None:
    """Callers can catch every refusal as StatusError."""
    assert issubclass(Expired, StatusError)


@pytest.mark.asyncio
async def test_connections_are_read_through_one_buffer(upstream: Upstream, client: UpstreamClient) -> None:
    """As long as this can be asked of the HTTP library, whose connections are its own affair."""
    await client.request("GET", "/api/v1/configmaps")
    assert client._session is not None
    kept = [protocol for idle in client._session.connector._conns.values() for protocol, _ in idle]  # type: ignore[union-attr]
    assert [type(protocol.transport.get_protocol()) for protocol in kept] == [Buffered]  # type: ignore[union-attr]
