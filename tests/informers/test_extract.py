from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from informers.extract import Extractor, Unreadable, metadata_span, with_version
from kube.resources import GVR
from tables.row import Row

PODS = GVR("", "v1", "pods")
TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("metadata"), inner, max_size=3),
    max_leaves=8,
)


def dump(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def extractor(*, typed: bool = True, row: Any = None) -> Extractor:
    """One for pods, without selectable fields."""
    return Extractor(PODS, "Pod", typed=typed, fields=lambda _: {}, row=row, failed=lambda _key, _error: None)


def metadata(annotations: dict[str, Any], rv: int = 7) -> dict[str, Any]:
    """Metadata in the order of built-in kinds."""
    return {"name": "p", "namespace": "a", "uid": "u", "resourceVersion": str(rv), "annotations": annotations}


@given(JSON, JSON, st.dictionaries(TEXT, TEXT, max_size=3))
def test_metadata_is_found_wherever_it_stands(first: Any, last: Any, annotations: dict[str, str]) -> None:
    """The span is that of the top-level member, whatever nested members look like."""
    wanted = metadata(annotations)
    for body in (
        dump({"metadata": wanted, "spec": {"metadata": first}, "status": last}),
        dump({"apiVersion": "v1", "data": {"metadata": first}, "metadata": wanted, "spec": last}),
    ):
        start, end = metadata_span(body)
        assert json.loads(body[start:end]) == wanted


@given(st.dictionaries(TEXT | st.just("x"), TEXT | st.just('"resourceVersion":"7"'), max_size=3))
def test_another_version_is_written_into_the_bytes(annotations: dict[str, str]) -> None:
    """Only the object's own version changes, in built-in and in custom kinds, whatever annotations say."""
    typed = {"metadata": metadata(annotations), "spec": {"resourceVersion": "7"}}
    custom = {"apiVersion": "v1", "kind": "X", "metadata": dict(sorted(metadata(annotations).items())), "spec": {}}
    for obj in (typed, custom):
        record = with_version(extractor().record(dump(obj)), 123456)
        obj["metadata"]["resourceVersion"] = "123456"  # type: ignore[index]
        assert record.body() == dump(obj)
        assert json.loads(record.metadata()) == obj["metadata"]
        assert (record.rv, record.size) == (123456, len(record.body()))


def test_watch_and_list_give_one_form() -> None:
    """The kind that a watch puts in front of a built-in object is not stored."""
    item = dump({"metadata": metadata({}), "spec": {}})
    event = b'{"kind":"Pod","apiVersion":"v1",' + item[1:]
    assert extractor().record(event) == extractor().record(item)
    assert extractor(typed=False).record(event).body() == event


@given(st.dictionaries(TEXT, TEXT, max_size=3), JSON, JSON, st.booleans())
def test_managed_fields_are_stored_and_not_looked_at(
    annotations: dict[str, str], managed: Any, more: Any, last: bool
) -> None:
    """A built-in kind's row is printed from the object without them, a custom one's from the whole; both keep them."""
    printed: list[Any] = []

    def row(obj: Any) -> Row:
        printed.append(obj)
        return Row((b"",))

    own = metadata({**annotations, "managedFields": "[]"})
    with_fields = {**own, "managedFields": managed} if last else {"managedFields": managed, **own}
    obj = {"metadata": with_fields, "spec": {"metadata": more, "managedFields": more}}
    for typed, shown in ((True, {**obj, "metadata": {**with_fields, "managedFields": []}}), (False, obj)):
        record = extractor(typed=typed, row=row).record(dump(obj))
        assert printed.pop() == shown
        assert record.body() == dump(obj)
        assert json.loads(record.metadata()) == with_fields


def test_what_a_record_holds() -> None:
    """Namespace, name, version, uid, labels and the row."""
    obj = {"metadata": {**metadata({}), "labels": {"a": "b"}}}
    record = extractor(row=lambda obj: Row((obj["metadata"]["name"].encode(),))).record(dump(obj))
    assert (record.namespace, record.name, record.rv, record.uid, record.labels) == ("a", "p", 7, "u", {"a": "b"})
    assert record.row == Row((b"p",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"metadata":null}',
        b'{"metadata":{"name":"x"}}',
        b'{"metadata":{"name":"x","resourceVersion":"new"}}',
        b'{"metadata":{"resourceVersion":"1"}}',
        b'{"metadata":{"name":"\xff","resourceVersion":"1"}}',
        b'{"metadata":{"name":1,"resourceVersion":"1"}}',
        b'{"metadata":{"name":"x","resourceVersion":"1","labels":{"a":1}}}',
    ],
)
def test_what_is_no_object(data: bytes) -> None:
    """Bytes without name and version, or with labels that are no texts, are refused as such."""
    with pytest.raises(Unreadable):
        extractor().record(data)
