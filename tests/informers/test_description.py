from __future__ import annotations

from typing import Any

import msgspec
import pytest

from informers import description
from informers.columns import unfaithful
from kube.printed import Printed
from store.errors import NotSynced
from store.meta import TableInfo
from tables.custom import crd_printer
from tables.printer import Printer
from tables.row import finish
from tests.informers.eventually import until
from tests.informers.stage import Stage
from tests.informers.upstream import CONFIG_MAPS, CRDS, WIDGETS, Fault, Served, Upstream, columns, widget_definition

SIZE = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}
COLOUR = {"name": "Colour", "type": "string", "jsonPath": ".spec.colour"}


async def table(stage: Stage, gvr: Any = CONFIG_MAPS) -> TableInfo:
    """What the store says of the resource's Tables."""
    found = (await stage.meta(gvr)).table
    assert found is not None
    return found


async def row(stage: Stage, key: str, gvr: Any = CONFIG_MAPS) -> bytes:
    """The wire text of a stored row."""
    found = (await stage.objects(gvr))[key].row
    assert found is not None
    return finish(found, 0.0)


def serve_widgets(upstream: Upstream, *extra: dict[str, Any]) -> None:
    """Widgets whose definition has these columns, and upstream's Tables of them."""
    names = [column["name"] for column in extra]
    definitions = columns(("Name", "string"), *((column["name"], column["type"]) for column in extra))
    upstream.serve(
        Served(
            WIDGETS, "Widget", True, typed=False, columns=definitions,
            cells=lambda obj: [obj["metadata"]["name"], *(obj["spec"].get(name.lower()) for name in names)],
        )
    )  # fmt: skip
    upstream.put(CRDS, "", "widgets.shop.example.com", **widget_definition(list(extra)))


@pytest.mark.asyncio
async def test_right_rows_are_served(stage: Stage, upstream: Upstream) -> None:
    """Rows that are as upstream's make Tables from the store, with upstream's own columns."""
    upstream.put(CONFIG_MAPS, "free", "c", data={"a": "1"})
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    info = await table(stage)
    assert (info.served, info.reason) == (True, "")
    assert info.columns.startswith(b'[{"name":"Name","type":"string","format":"name"')
    assert await row(stage, "free/c") == b'{"cells":["c",1,"\\u003cunknown\\u003e"]'


@pytest.mark.asyncio
async def test_a_row_that_differs(stage: Stage, upstream: Upstream) -> None:
    """One cell that differs in a sample: Tables come from upstream, and why is written down."""
    upstream.put(CONFIG_MAPS, "free", "c", data={"a": "1"})
    upstream.served[CONFIG_MAPS].cells = lambda obj: [obj["metadata"]["name"], 7, "<unknown>"]
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    info = await table(stage)
    assert not info.served
    assert info.reason.startswith('the row of free/c is {"cells":["c",7')


@pytest.mark.asyncio
@pytest.mark.parametrize("status", [406, 500])
async def test_no_table_at_all(stage: Stage, upstream: Upstream, status: int) -> None:
    """A resource of which upstream gives no Table is followed all the same."""
    upstream.misbehave("table", str(CONFIG_MAPS), Fault("status", 1, status, "no table handler registered"))
    upstream.put(CONFIG_MAPS, "free", "c")
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    assert (await table(stage)).reason == "upstream gives no Table: no table handler registered"
    assert await stage.matches_upstream(CONFIG_MAPS)


@pytest.mark.asyncio
async def test_another_look_finds_upstream_right(stage: Stage, upstream: Upstream) -> None:
    """What was different once is compared again, and served when it is right."""
    upstream.put(CONFIG_MAPS, "free", "c")
    right = upstream.served[CONFIG_MAPS].cells
    upstream.served[CONFIG_MAPS].cells = lambda _: ["wrong", 0, ""]
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    upstream.served[CONFIG_MAPS].cells = right
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: _served(stage))


async def _served(stage: Stage, gvr: Any = CONFIG_MAPS) -> bool:
    return (await table(stage, gvr)).served


@pytest.mark.asyncio
async def test_columns_of_a_definition_change(stage: Stage, upstream: Upstream) -> None:
    """A CRD with other columns: rows are made anew without events, and meanwhile Tables are not served."""
    serve_widgets(upstream, SIZE)
    upstream.put(WIDGETS, "free", "w", spec={"size": 3, "colour": "red"})
    running = await stage.start(WIDGETS)
    position = (await stage.watched(WIDGETS)).position
    assert await row(stage, "free/w", WIDGETS) == b'{"cells":["w",3]'
    serve_widgets(upstream, SIZE, COLOUR)
    running.reflector.describer.learn_again(new_bytes=True)
    await until(lambda: _columns(stage, b"Colour"))
    await until(lambda: _served(stage, WIDGETS))
    assert await row(stage, "free/w", WIDGETS) == b'{"cells":["w",3,"red"]'
    assert await stage.events(WIDGETS, position) == []
    last = upstream.put(WIDGETS, "free", "w2", spec={"size": 4, "colour": "blue"})
    await stage.caught_up(WIDGETS, last)
    assert await row(stage, "free/w2", WIDGETS) == b'{"cells":["w2",4,"blue"]'


async def _columns(stage: Stage, name: bytes) -> bool:
    return name in (await table(stage, WIDGETS)).columns


@pytest.mark.asyncio
async def test_a_newer_upstream_writes_other_bytes(stage: Stage, upstream: Upstream) -> None:
    """After an upgrade the same versions of objects are taken in as upstream writes them now, without events."""
    upstream.put(CONFIG_MAPS, "free", "c", data={"a": "1"})
    await stage.start(CONFIG_MAPS)
    position = (await stage.watched(CONFIG_MAPS)).position
    await stage.running[0].stop()
    upstream.objects[CONFIG_MAPS]["free", "c"]["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    await stage.start(CONFIG_MAPS, name="two", version="v1.21.0")
    await until(lambda: stage.matches_upstream(CONFIG_MAPS))
    await until(lambda: _version(stage, "v1.21.0"))
    assert await stage.events(CONFIG_MAPS, position) == []


async def _version(stage: Stage, version: str) -> bool:
    meta = await stage.meta(CONFIG_MAPS)
    return meta.version == version and "unfinished" not in meta.digest


@pytest.mark.asyncio
async def test_an_object_that_cannot_be_printed(
    stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A printer fails on an object: it is stored without a row, and Tables come from upstream until it is right."""
    plain = Printer.row
    broken = True

    def failing(self: Printer, obj: dict[str, Any]) -> Any:
        if broken and obj.get("metadata", {}).get("name") == "bad":
            raise ZeroDivisionError("bad object")
        return plain(self, obj)

    monkeypatch.setattr(Printer, "row", failing)
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    last = upstream.put(CONFIG_MAPS, "free", "bad")
    await stage.caught_up(CONFIG_MAPS, last)
    await until(lambda: _not_served(stage))
    assert "the row of free/bad cannot be printed" in (await table(stage)).reason
    assert (await stage.objects(CONFIG_MAPS))["free/bad"].row is None
    broken = False
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: _served(stage))
    assert (await stage.objects(CONFIG_MAPS))["free/bad"].row is not None


async def _not_served(stage: Stage) -> bool:
    return not await _served(stage)


@pytest.mark.asyncio
async def test_an_unfinished_refresh_is_taken_up(
    stage: Stage, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends while rows are made anew leaves that to the next."""
    serve_widgets(upstream, SIZE)
    upstream.put(WIDGETS, "free", "w", spec={"size": 3, "colour": "red"})
    running = await stage.start(WIDGETS)
    await stage.watched(WIDGETS)

    async def never(self: description.Describer) -> None:
        raise NotSynced("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(description.Describer, "_refresh", never)
        serve_widgets(upstream, SIZE, COLOUR)
        running.reflector.describer.learn_again(new_bytes=False)
        await until(lambda: _columns(stage, b"Colour"))
        assert not await _served(stage, WIDGETS)
        await running.stop()
    await stage.start(WIDGETS, name="two")
    await until(lambda: _served(stage, WIDGETS))
    assert await row(stage, "free/w", WIDGETS) == b'{"cells":["w",3,"red"]'


def test_samples_allow_for_the_clock() -> None:
    """A row that upstream printed a moment earlier or later is right; one that is off by a minute is not."""
    definition = {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    printer = crd_printer([definition])
    obj = {"metadata": {"name": "w", "creationTimestamp": "1970-01-01T00:00:00Z"}}

    def sample(age: str) -> Printed:
        return Printed(msgspec.json.encode(obj), f'["w","{age}"]'.encode(), b"", b"[]")

    assert unfaithful(printer, [sample("60s")], 60.5) == ""
    assert unfaithful(printer, [sample("62s")], 60.5) == ""
    assert "upstream and" in unfaithful(printer, [sample("119s")], 60.5)
