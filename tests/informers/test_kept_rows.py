"""Rows that cannot be made here: each record has upstream's row of its very version, or Tables are not ours."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from informers import description
from informers.metrics import REGISTRY
from store.meta import TableInfo
from tables.row import Row, finish
from tests.informers.eventually import until
from tests.informers.stage import Stage
from tests.informers.upstream import CONFIG_MAPS, Fault, Upstream, columns

MOODS = columns(("Name", "string"), ("Mood", "string"), ("Age", "string"))


@pytest.fixture(autouse=True)
def short_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again in seconds is tried again in a moment."""
    monkeypatch.setattr(description, "RETRY_SECONDS", 0.2)


@pytest.fixture
def moody(upstream: Upstream) -> Upstream:
    """An upstream whose ConfigMaps have a column that is unknown here."""
    become_moody(upstream)
    return upstream


def become_moody(upstream: Upstream) -> None:
    """The Tables of a version that is not known here."""
    upstream.served[CONFIG_MAPS].columns = MOODS
    upstream.served[CONFIG_MAPS].cells = mood


def mood(obj: dict[str, Any]) -> list[Any]:
    """Cells that tell the version, as no printer here would."""
    metadata = obj["metadata"]
    return [metadata["name"], f"<mood {metadata['resourceVersion']}>", "<unknown>"]


async def table(stage: Stage) -> TableInfo:
    """What the store says of the Tables."""
    found = (await stage.meta(CONFIG_MAPS)).table
    assert found is not None
    return found


async def kept(stage: Stage) -> bool:
    """Whether upstream's rows are kept."""
    return (await table(stage)).kept


async def all_rows_are_upstreams(stage: Stage) -> None:
    """Every record has upstream's row of its own version, and upstream's bytes."""
    assert await stage.matches_upstream(CONFIG_MAPS)
    for record in (await stage.objects(CONFIG_MAPS)).values():
        wanted = f'{{"cells":["{record.name}","\\u003cmood {record.rv}\\u003e","\\u003cunknown\\u003e"]'
        assert record.row is not None
        assert finish(record.row, 0.0).decode() == wanted


@pytest.mark.asyncio
async def test_rows_come_with_the_objects(stage: Stage, moody: Upstream) -> None:
    """One list and one watch, of Tables, bring the objects to the byte and upstream's rows; deletions too."""
    moody.put(CONFIG_MAPS, "free", "a")
    moody.put(CONFIG_MAPS, "team-a", "b", data={"text": "<&>"})
    await stage.start(CONFIG_MAPS)
    position = (await stage.watched(CONFIG_MAPS)).position
    info = await table(stage)
    assert (info.served, info.kept, info.reason) == (False, True, "no printer for its columns (Name, Mood, Age)")
    await all_rows_are_upstreams(stage)
    moody.put(CONFIG_MAPS, "free", "a", data={"n": "2"})
    moody.put(CONFIG_MAPS, "free", "c")
    last = moody.delete(CONFIG_MAPS, "team-a", "b")
    await stage.caught_up(CONFIG_MAPS, last)
    await all_rows_are_upstreams(stage)
    events = await stage.events(CONFIG_MAPS, position)
    assert [(event.type, event.record.name) for event in events] == [("M", "a"), ("A", "c"), ("D", "b")]
    assert finish(events[2].record.row or pytest.fail("no row"), 0.0).startswith(b'{"cells":["b","\\u003cmood ')
    assert [verb for verb, resource, _ in moody.requests if resource == str(CONFIG_MAPS)] == [
        "table", "list", "table", "watch-table",  # columns, their objects compared, the list, the watch
    ]  # fmt: skip
    assert await kept(stage)


@pytest.mark.asyncio
async def test_bookmarks_of_tables(stage: Stage, moody: Upstream) -> None:
    """A bookmark in a Table moves the position; the columns may come with it alone."""
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    moody.rv += 10
    await stage.caught_up(CONFIG_MAPS, moody.bookmark(CONFIG_MAPS))
    last = moody.put(CONFIG_MAPS, "free", "a")
    await stage.caught_up(CONFIG_MAPS, last)
    await all_rows_are_upstreams(stage)
    assert await kept(stage)
    assert (await table(stage)).zero_row == Row((b'{"cells":[""]',))


@pytest.mark.asyncio
async def test_no_rows_are_no_proof(stage: Stage, upstream: Upstream) -> None:
    """Rows that were strange once stay so while there are none to compare."""
    upstream.put(CONFIG_MAPS, "free", "a")
    upstream.served[CONFIG_MAPS].cells = mood
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    await stage.caught_up(CONFIG_MAPS, upstream.delete(CONFIG_MAPS, "free", "a"))
    asked = upstream.count("table", CONFIG_MAPS)
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: upstream.count("table", CONFIG_MAPS) > asked + 1)  # the sample, and a list of rows
    last = upstream.put(CONFIG_MAPS, "free", "b")
    await stage.caught_up(CONFIG_MAPS, last)
    assert await kept(stage)
    await all_rows_are_upstreams(stage)


@pytest.mark.asyncio
async def test_a_refresh_that_fails_is_tried_again(stage: Stage, upstream: Upstream) -> None:
    """Upstream refuses the list that rows are taken from: it is asked again in its time, not at once and for ever."""
    upstream.put(CONFIG_MAPS, "free", "a")
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    become_moody(upstream)
    upstream.misbehave("list", str(CONFIG_MAPS), Fault("status", 2, 500, "not now"))
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: kept(stage))
    await all_rows_are_upstreams(stage)
    assert upstream.count("list", CONFIG_MAPS) == 1 + 3  # of the start, and of the comparisons: two refused


@pytest.mark.asyncio
async def test_rows_that_become_strange(stage: Stage, upstream: Upstream) -> None:
    """Rows that differ from one day to the next: the watch goes over to Tables, and no event tells of it."""
    for number in range(30):
        upstream.put(CONFIG_MAPS, "free", f"c{number}")
    running = await stage.start(CONFIG_MAPS)
    position = (await stage.watched(CONFIG_MAPS)).position
    assert (await table(stage)).served
    become_moody(upstream)
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: kept(stage))
    await all_rows_are_upstreams(stage)
    assert await stage.events(CONFIG_MAPS, position) == []
    last = upstream.put(CONFIG_MAPS, "free", "c1", data={"a": "1"})
    await stage.caught_up(CONFIG_MAPS, last)
    await all_rows_are_upstreams(stage)
    assert (await table(stage)).since == position


@pytest.mark.asyncio
async def test_changes_while_rows_are_fetched(stage: Stage, upstream: Upstream) -> None:
    """Objects that change while the form does: none is lost, none waits, and in the end all have their rows."""
    for number in range(20):
        upstream.put(CONFIG_MAPS, "free", f"c{number}")
    running = await stage.start(CONFIG_MAPS)
    position = (await stage.watched(CONFIG_MAPS)).position
    become_moody(upstream)
    running.reflector.describer.learn_again(new_bytes=False)
    told = []
    for number in range(60):
        told.append(upstream.put(CONFIG_MAPS, "free", f"c{number % 25}", data={"n": str(number)}))
        await asyncio.sleep(0.002)
    await stage.caught_up(CONFIG_MAPS, told[-1])
    assert [event.rv for event in await stage.events(CONFIG_MAPS, position)] == told
    await until(lambda: kept(stage))
    await all_rows_are_upstreams(stage)


@pytest.mark.asyncio
async def test_rows_that_become_known(stage: Stage, moody: Upstream) -> None:
    """Columns that are known again: our own rows are served, and the objects come plainly."""
    upstream, known = moody, Upstream().served[CONFIG_MAPS]
    upstream.put(CONFIG_MAPS, "free", "a", data={"x": "1"})
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    upstream.served[CONFIG_MAPS].columns, upstream.served[CONFIG_MAPS].cells = known.columns, known.cells
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: _served(stage))
    await until(lambda: upstream.requests[-1][0] == "watch")
    last = upstream.put(CONFIG_MAPS, "free", "b", data={"x": "1"})
    await stage.caught_up(CONFIG_MAPS, last)
    rows = [finish(record.row, 0.0) for record in (await stage.objects(CONFIG_MAPS)).values() if record.row]
    assert sorted(rows) == [f'{{"cells":["{name}",1,"\\u003cunknown\\u003e"]'.encode() for name in ("a", "b")]


async def _served(stage: Stage) -> bool:
    return (await table(stage)).served


@pytest.mark.asyncio
async def test_a_takeover_resumes_in_tables(stage: Stage, moody: Upstream) -> None:
    """Another worker goes on at the store's position, without a list, and without asking for the columns again."""
    moody.put(CONFIG_MAPS, "free", "a")
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    await running.stop()
    await until(lambda: not moody.watching(CONFIG_MAPS))
    moody.put(CONFIG_MAPS, "free", "a", data={"n": "2"})
    last = moody.put(CONFIG_MAPS, "free", "b")
    moody.requests.clear()
    await stage.start(CONFIG_MAPS, name="two")
    await stage.caught_up(CONFIG_MAPS, last)
    await all_rows_are_upstreams(stage)
    assert await kept(stage)
    assert {verb for verb, resource, _ in moody.requests if resource == str(CONFIG_MAPS)} == {"watch-table"}


@pytest.mark.asyncio
async def test_a_history_that_is_gone(stage: Stage, moody: Upstream) -> None:
    """After a 410 the difference is told as events, each with its row."""
    moody.put(CONFIG_MAPS, "free", "a")
    moody.put(CONFIG_MAPS, "free", "b")
    await stage.start(CONFIG_MAPS)
    position = (await stage.watched(CONFIG_MAPS)).position
    await moody.stop()
    moody.put(CONFIG_MAPS, "free", "a", data={"n": "2"})
    moody.delete(CONFIG_MAPS, "free", "b")
    moody.compact()
    last = moody.put(CONFIG_MAPS, "free", "c")
    await moody.start()
    await stage.caught_up(CONFIG_MAPS, last)
    await all_rows_are_upstreams(stage)
    assert sorted(event.type for event in await stage.events(CONFIG_MAPS, position)) == ["A", "D", "M"]
    assert await kept(stage)


@pytest.mark.asyncio
async def test_columns_that_change_under_the_watch(stage: Stage, moody: Upstream) -> None:
    """A watch that comes with other columns: objects go on, the rows are those of the new columns in the end."""
    moody.put(CONFIG_MAPS, "free", "a")
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    moody.served[CONFIG_MAPS].columns = columns(("Name", "string"), ("Humour", "string"), ("Age", "string"))
    moody.drop_watches(CONFIG_MAPS)
    last = moody.put(CONFIG_MAPS, "free", "b")
    await stage.caught_up(CONFIG_MAPS, last)
    await until(lambda: _shows(stage, b"Humour"))
    await all_rows_are_upstreams(stage)


async def _shows(stage: Stage, column: bytes) -> bool:
    info = await table(stage)
    return info.kept and column in info.columns


@pytest.mark.asyncio
async def test_an_object_that_upstream_cannot_print(stage: Stage, moody: Upstream) -> None:
    """It is stored without a row, and no Tables are given until it has one."""
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    moody.unprintable.add("bad")
    last = moody.put(CONFIG_MAPS, "free", "bad")
    await stage.caught_up(CONFIG_MAPS, last)
    await until(lambda: _not_kept(stage))
    assert "upstream could not print" in (await table(stage)).reason
    assert (await stage.objects(CONFIG_MAPS))["free/bad"].row is None
    moody.unprintable.clear()
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: kept(stage))
    await all_rows_are_upstreams(stage)


async def _not_kept(stage: Stage) -> bool:
    return not await kept(stage)


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", [Fault("status", 99, 500, "no table handler registered"), Fault("reset", 99)])
async def test_tables_that_cannot_be_watched(stage: Stage, moody: Upstream, fault: Fault) -> None:
    """Upstream refuses watches of Tables: the objects come plainly, and later it is asked again."""
    running = await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    assert REGISTRY.get_sample_value("larder_informer_table_kept", {"resource": str(CONFIG_MAPS)}) == 1
    moody.misbehave("watch-table", str(CONFIG_MAPS), fault)  # until it is asked otherwise
    moody.drop_watches(CONFIG_MAPS)
    last = moody.put(CONFIG_MAPS, "free", "a")
    await stage.caught_up(CONFIG_MAPS, last)
    await until(lambda: _not_kept(stage))
    assert f"its Tables cannot be followed: {fault.body}" in (await table(stage)).reason
    assert REGISTRY.get_sample_value("larder_informer_table_kept", {"resource": str(CONFIG_MAPS)}) == 0
    assert await stage.matches_upstream(CONFIG_MAPS)
    moody.faults.clear()
    running.reflector.describer.learn_again(new_bytes=False)
    await until(lambda: kept(stage))
    await all_rows_are_upstreams(stage)


@pytest.mark.asyncio
async def test_tables_of_other_objects(stage: Stage, moody: Upstream) -> None:
    """Objects that stand otherwise in Tables than in lists are not taken from there: no rows are kept."""
    moody.table_objects = lambda obj: {**obj, "data": {"masked": "1"}}
    moody.put(CONFIG_MAPS, "free", "a", data={"n": "1"})
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    info = await table(stage)
    assert (info.served, info.kept) == (False, False)
    assert "; and in its Tables are other objects than in its lists: " in info.reason
    assert await stage.matches_upstream(CONFIG_MAPS)
    assert (await stage.objects(CONFIG_MAPS))["free/a"].row is None


@pytest.mark.asyncio
async def test_ages_go_on(stage: Stage, moody: Upstream) -> None:
    """Age is what passes since the creation, whatever upstream printed of it then; other cells stay as they came."""
    created = dt.datetime.now(dt.UTC).replace(microsecond=0) - dt.timedelta(seconds=30)

    def cells(obj: dict[str, Any]) -> list[Any]:
        age = int((dt.datetime.now(dt.UTC) - created).total_seconds())
        return [obj["metadata"]["name"], f"{age}s", f"{age}s"]

    moody.served[CONFIG_MAPS].cells = cells
    moody.rv += 1
    metadata = {"name": "a", "namespace": "free", "uid": "u", "resourceVersion": str(moody.rv)}
    metadata["creationTimestamp"] = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    moody.objects[CONFIG_MAPS]["free", "a"] = {"metadata": metadata}
    await stage.start(CONFIG_MAPS)
    await stage.watched(CONFIG_MAPS)
    row = (await stage.objects(CONFIG_MAPS))["free/a"].row
    assert row is not None
    assert row.times == (created.timestamp(),)
    assert finish(row, created.timestamp() + 300).endswith(b's","5m"]')
