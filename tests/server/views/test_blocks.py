"""Blocks, spaces and their past: the pieces that answers are cut from, against plain Python."""

from __future__ import annotations

import asyncio
import random
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kube.fields import NAME, NAMESPACE
from kube.selectors import FieldSelector, LabelSelector
from server import deflate
from server.assembly import Assembly
from server.block import MOST, Block, cut
from server.history import Change, History, undo
from server.matching import Selectors
from server.objects import ItemForm, Shape, in_struct_order, without_annotation
from server.rendering import Kept, render
from server.snapshot import Page, Piece
from server.space import Space
from server.text import Text
from store.record import Record
from tests.server.views.cluster import VERSION, record_of

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = st.integers(0, 150).map(lambda number: f"n{number:03}")
SHAPE = Shape(b'"kind":"Pod","apiVersion":"v1",', custom=False)
TABLE = ItemForm("table", "v1", "Metadata")


def _record(name: str, rv: int = 1, labels: dict[str, str] | None = None, data: str = "") -> Record:
    return record_of("a", name, rv, labels or {}, data)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["put", "remove"]), NAMES), max_size=400))
def test_a_space_is_a_sorted_dict(steps: list[tuple[str, str]]) -> None:
    """After any puts and removals a space has what a dict has, in order, in blocks of bounded size."""
    space = Space("a")
    model: dict[str, Record] = {}
    for rv, (step, name) in enumerate(steps, 1):
        if step == "put":
            record = _record(name, rv)
            assert space.put(record) == model.get(name)
            model[name] = record
        else:
            assert space.remove(name) == model.pop(name, None)
        assert space.get(name) == model.get(name)
    assert list(space) == [model[name] for name in sorted(model)]
    assert space.count == len(model)
    assert space.packed_bytes == sum(len(record.packed) for record in model.values())
    assert [block.names[0] for block in space.blocks] == space.firsts
    assert all(0 < len(block) <= MOST for block in space.blocks)


def test_blocks_are_cut_where_objects_are_large() -> None:
    """A block holds some 32 objects, or fewer if they are large; one that has grown too long is halved."""
    small = [_record(f"n{number:03}") for number in range(100)]
    assert [len(block) for block in cut(small)] == [32, 32, 32, 4]
    large = [_record(f"n{number:03}", data="x" * 300_000) for number in range(5)]
    assert [len(block) for block in cut(large)] == [1, 1, 1, 1, 1]
    space = Space("a", large[:1])
    for record in large[1:]:
        space.put(record)
    assert [len(block) for block in space.blocks] == [1, 1, 1, 1, 1]
    assert Block(small[:70]).too_big


def test_a_block_in_use_is_not_changed() -> None:
    """Who holds the blocks of a space sees none of the later changes."""
    space = Space("a", [_record(f"n{number:03}") for number in range(40)])
    held = list(space.blocks)
    before = [record for block in held for record in block.records]
    space.put(_record("n005", 7))
    space.remove("n001")
    space.evict(1)
    assert [record for block in held for record in block.records] == before


LABELS = st.dictionaries(st.sampled_from(["app", "tier", "n"]), st.sampled_from(["", "1", "2", "web", "x"]), max_size=3)
SELECTORS = st.sampled_from(
    ["app=web", "app!=web", "app", "!app", "app in (web,x)", "app notin (web,)", "n>1", "n<2", "app=web,tier!=x", "x"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(LABELS, min_size=1, max_size=40), SELECTORS)
def test_masks_select_what_the_matcher_does(labels: list[dict[str, str]], text: str) -> None:
    """A label selector's mask of a block has the bits of just those objects that match."""
    block = Block([_record(f"n{number:03}", labels=each) for number, each in enumerate(labels)])
    selector = LabelSelector.parse(text, VERSION)
    mask = Selectors(labels=selector).mask(block, "a")
    assert block.selected(mask) == [record for record in block.records if selector.matches(record.labels)]


FIELDS = st.sampled_from(
    [
        "spec.nodeName=",
        "spec.nodeName!=",
        "spec.nodeName=x",
        "none=",
        "none!=",
        "metadata.name=n003",
        "metadata.name!=n003",
        "metadata.namespace=a",
        "metadata.namespace!=a",
        "metadata.name!=n001,spec.nodeName=x",
    ]
)


@given(st.lists(st.sampled_from(["", "x", "y"]), min_size=1, max_size=40), FIELDS)
def test_field_masks_select_what_the_matcher_does(nodes: list[str], text: str) -> None:
    """A field selector's mask too, name and namespace among the fields, a missing field reading as empty."""
    block = Block([_record(f"n{number:03}", data=node) for number, node in enumerate(nodes)])
    selector = FieldSelector.parse(text)
    mask = Selectors(fields=selector).mask(block, "a")
    expected = [
        record
        for record in block.records
        if selector.matches({**record.fields, NAME: record.name, NAMESPACE: record.namespace})
    ]
    assert block.selected(mask) == expected


@given(st.lists(st.binary(max_size=300), max_size=8))
def test_checksums_combine(pieces: list[bytes]) -> None:
    """The checksum of the whole comes from those of the pieces, by libz and by our own arithmetic."""
    for combine in (deflate.combine, deflate.combine_slowly):
        crc = 0
        for piece in pieces:
            crc = combine(crc, zlib.crc32(piece), len(piece))
        assert crc == zlib.crc32(b"".join(pieces))


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=200)), max_size=6), st.binary(max_size=50))
def test_segments_make_a_gzip_file(pieces: list[tuple[bool, bytes]], last: bytes) -> None:
    """Compressed and raw pieces in any order are a gzip file of their bytes."""
    file = deflate.Gzip()
    for raw, piece in pieces:
        if raw:
            file.add_raw(piece)
        else:
            file.add(deflate.compress(piece))
    file.close(last)
    whole = b"".join(piece for _, piece in pieces) + last
    assert zlib.decompress(b"".join(file.parts), zlib.MAX_WBITS | 16) == whole
    assert file.size == sum(map(len, file.parts))


def test_long_raw_pieces_take_several_blocks() -> None:
    """A stored block of deflate holds 65535 bytes; longer pieces are cut."""
    file = deflate.Gzip()
    file.add_raw(b"x" * 200_000)
    file.close(b"y" * 131_070)
    assert zlib.decompress(b"".join(file.parts), zlib.MAX_WBITS | 16) == b"x" * 200_000 + b"y" * 131_070


@pytest.mark.asyncio
async def test_only_the_rows_that_read_otherwise_are_made_anew() -> None:
    """As time passes a Table's text is made of the same parts, but for the rows whose ages have changed."""
    records = [_record(f"n{number}") for number in range(3)]
    kept = Kept(1 << 20)
    block = Block(records)
    rendering = kept.rendering(block, TABLE)

    async def fetch(_: object) -> list[Record]:
        raise AssertionError("all bodies are there")

    first = await rendering.at(1060.0, block, TABLE, SHAPE, fetch)
    assert await rendering.at(1060.9, block, TABLE, SHAPE, fetch) is first
    assert first.until == 1061.0
    second = await rendering.at(1061.0, block, TABLE, SHAPE, fetch)
    assert second.tails is first.tails
    assert b'"60s"' in first.body()
    assert b'"61s"' in second.body()
    back = await rendering.at(1010.0, block, TABLE, SHAPE, fetch)
    assert b'"10s"' in back.body()


def _inflated(segment: deflate.Segment) -> bytes:
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(segment.data)
    assert (segment.length, segment.crc) == (len(inflated), zlib.crc32(inflated))
    return inflated


AGES = st.sampled_from([9e6, 9e6, 9e6, 7.0, 117.0, 117.5, 177.0, 597.0])
"""Most are of rows that will not tick."""
SIZES = st.sampled_from([9000, 3000, 0])
MOMENTS = st.lists(st.tuples(st.sampled_from([0.5, 1.0, 3.0, 61.0, -9000.0]), st.booleans()), max_size=12)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(AGES, SIZES), min_size=6, max_size=24), MOMENTS)
def test_ticked_texts_are_those_made_anew(rows: list[tuple[float, int]], moments: list[tuple[float, bool]]) -> None:
    """As rows tick at different times, a Table's text inflates to what one made just then does, each time or seldom."""
    notes = ["".join(random.Random(seed).choices("abcdef", k=15_000)) for seed in range(3)]
    records = [
        record_of("a", f"n{number}", 1, {"note": notes[number % 3][:size]}, born=1e9 - age)
        for number, (age, size) in enumerate(rows)
    ]
    block, rendering, now = Block(records), Kept(1 << 20).rendering(Block(records), TABLE), 1e9

    async def fetch(_: object) -> list[Record]:
        raise AssertionError("all bodies are there")

    async def live() -> None:
        nonlocal now
        for step, compressed in [(0.0, True), *moments]:
            now += step
            text = await rendering.at(now, block, TABLE, SHAPE, fetch)
            assert text.body() == render(records, TABLE, SHAPE, now).body()
            if compressed:
                assert _inflated(await text.segment()) == text.body()

    asyncio.run(live())


@pytest.mark.asyncio
async def test_a_tick_compresses_the_unit_that_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """An age that stays as long as it was costs its own unit; one that grows also those that refer to its row."""
    records = [record_of("a", f"n{n:02}", 1, {"note": "x" * 4000}, born=1000.0 + 100 * n) for n in range(32)]
    block, rendering = Block(records), Kept(1 << 20).rendering(Block(records), TABLE)
    compressed: list[deflate.Piece] = []

    async def counted(pieces: Sequence[deflate.Piece]) -> list[deflate.Segment]:
        compressed.extend(pieces)
        return [deflate.compress(*piece) for piece in pieces]

    async def fetch(_: object) -> list[Record]:
        raise AssertionError("all bodies are there")

    monkeypatch.setattr("server.text.compress_off_loop", counted)
    units = []
    for now in (1009.0, 1010.0, 1011.0):
        text = await rendering.at(now, block, TABLE, SHAPE, fetch)
        del compressed[:]
        assert _inflated(await text.segment()) == text.body()
        units.append(len(compressed))
    assert units[0] == len(text._units) > 4
    assert units[1:] == [2, 1]


def test_texts_are_joined_by_commas() -> None:
    """The text of a block is its items with commas between, plain or compressed."""
    records = [_record(f"n{number}") for number in range(3)]
    text = render(records, ItemForm("object"), SHAPE, 0.0)
    assert text.body() == b",".join(record.body() for record in records)
    assert text.length == len(text.body())
    assert _inflated(asyncio.run(text.segment())) == text.body()


@pytest.mark.asyncio
async def test_what_is_streamed_once_is_not_kept() -> None:
    """A streamed list leaves nothing behind; one that comes again is kept, and reads the same each time."""
    block = Block([_record(f"n{number}") for number in range(3)])
    kept = Kept(1 << 20)

    async def fetch(_: object) -> list[Record]:
        raise AssertionError("all bodies are there")

    async def stream() -> bytes:
        page = Page([Piece(block, block.full), Piece(block, 0b011)], 5, ("a", "n1"), 0)
        return b"".join([part async for part in Assembly(page, TABLE, SHAPE, 1060.0, kept, fetch).stream()])

    rows = [SHAPE.item(record, TABLE, 1060.0) for record in block.records]
    for least in (0, 1, 1):
        assert await stream() == b",".join(rows + rows[:2])
        assert (kept.bytes > 0) == bool(least)


def test_renderings_stay_within_their_budget() -> None:
    """Above the budget the renderings that were not used since the last sweep are let go."""
    kept = Kept(3000)
    blocks = [Block([_record(f"n{number}")]) for number in range(10)]
    for block in blocks:
        rendering = kept.rendering(block, TABLE)
        rendering.text = Text([b"x" * 1000])
        rendering.used = True
        kept.weigh(rendering)
        assert kept.bytes <= 3000
    assert sum(block.renderings[TABLE].text is not None for block in blocks) == 3
    blocks.clear()
    del block, rendering
    assert kept.bytes == 0


def _change(rv: int, name: str, old: int | None, *, deleted: bool = False) -> Change:
    record = _record(name, rv)
    return Change(rv, 0, "D" if deleted else "M", "-", record, _record(name, old) if old is not None else None)


def test_the_past_is_undone_from_the_first_change_on() -> None:
    """Undoing changes gives each object's state before the first of them."""
    changes = [_change(5, "a", None), _change(6, "b", 2), _change(7, "a", 5), _change(8, "b", 6, deleted=True)]
    before = undo(changes)
    assert before["a", "a"] is None
    assert before["a", "b"] is not None
    assert before["a", "b"].rv == 2


def test_histories_forget_the_oldest_first() -> None:
    """Within its budget a history has all changes after an RV; what was dropped is told."""
    history = History(10 * 800)
    for rv in range(1, 3000):
        history.append(_change(rv, "a", None))
    assert len(history) < 20
    assert [change.rv for change in history.after(2995)] == [2996, 2997, 2998, 2999]
    assert history.trimmed == 2999 - len(history)
    history.shrink(0)
    assert (len(history), history.trimmed) == (0, 2999)


def test_older_changes_join_those_that_are_there() -> None:
    """Changes read from the log are merged in order, and none is there twice."""
    history = History(1 << 20)
    for rv in (5, 7):
        history.append(_change(rv, "a", None))
    history.prepend([_change(rv, "b", None) for rv in (3, 5, 6)])
    assert [change.rv for change in history.after(0)] == [3, 5, 6, 7]


def test_metadata_of_custom_resources_is_put_in_order() -> None:
    """PartialObjectMetadata has the keys of Go's structs in their order, whatever order they came in."""
    text = (
        b'{"annotations":{"b":"1","a":"\\u003c"},"creationTimestamp":"t","generation":1,"managedFields":['
        b'{"apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}},"manager":"m","operation":"Update","time":"t"}'
        b'],"name":"q","ownerReferences":[{"apiVersion":"v1","controller":true,"kind":"K","name":"o","uid":"u"}],"uid":"x"}'
    )
    assert in_struct_order(text) == (
        b'{"name":"q","uid":"x","generation":1,"creationTimestamp":"t","annotations":{"b":"1","a":"\\u003c"},'
        b'"ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"u","controller":true}],"managedFields":['
        b'{"manager":"m","operation":"Update","apiVersion":"v1","time":"t","fieldsType":"FieldsV1","fieldsV1":{"f:a":{}}}]}'
    )


def test_one_annotation_can_be_hidden() -> None:
    """The others stay as they are, with their bytes."""
    text = b'{"name":"a","annotations":{"x":"1","y":"\\u003c"},"uid":"3f"}'
    assert without_annotation(text, "x") == b'{"name":"a","annotations":{"y":"\\u003c"},"uid":"3f"}'
    assert without_annotation(text, "none") == text
