"""Events, which the core group and events.k8s.io serve with different names for the same fields."""

from __future__ import annotations

from typing import NamedTuple

from kube.version import ServerVersion
from tables.cell import Cell, Object
from tables.fields import UNKNOWN, mapping, name, since
from tables.gotext import lower, trim_space
from tables.printer import Column, KindTable

_SERIES_COUNTS_ITSELF = ServerVersion(1, 23)
"""Before, the first event of a series was added to the series' own count."""


class EventSummary(NamedTuple):
    """What an event's cells show, whichever group served it."""

    last_seen: Cell
    type: str
    reason: str
    target: str
    subobject: str
    source: str
    message: str
    first_seen: Cell
    occurrences: int
    name: str


def _summary(  # the fields that the two groups name differently
    event: Object,
    version: ServerVersion,
    *,
    regarding: Object,
    message: str,
    component: str,
    host: str,
    first: str | None,
    last: str | None,
    count: int,
) -> EventSummary:
    first_seen: Cell = since(first)
    if first_seen == UNKNOWN:
        first_seen = since(event.get("eventTime"))
    last_seen: Cell = since(last)
    if last_seen == UNKNOWN:
        last_seen = first_seen
    series = event.get("series")
    if series is not None:
        last_seen = since(series.get("lastObservedTime"))
        count = series.get("count") or 0
        if version < _SERIES_COUNTS_ITSELF:
            count = (count + 1 + 2**31) % 2**32 - 2**31  # as an int32 overflows
    elif count == 0:
        count = 1
    kind, object_name = lower(regarding.get("kind") or ""), regarding.get("name")
    return EventSummary(
        last_seen=last_seen,
        type=event.get("type") or "",
        reason=event.get("reason") or "",
        target=f"{kind}/{object_name}" if object_name else kind,
        subobject=regarding.get("fieldPath") or "",
        source=f"{component}, {host}" if host else component,
        message=trim_space(message),
        first_seen=first_seen,
        occurrences=count,
        name=name(event),
    )


def _core(event: Object, version: ServerVersion) -> EventSummary:
    source = mapping(event, "source")
    return _summary(
        event,
        version,
        regarding=mapping(event, "involvedObject"),
        message=event.get("message") or "",
        component=source.get("component") or event.get("reportingComponent") or "",
        host=source.get("host") or event.get("reportingInstance") or "",
        first=event.get("firstTimestamp"),
        last=event.get("lastTimestamp"),
        count=event.get("count") or 0,
    )


def _events_group(event: Object, version: ServerVersion) -> EventSummary:
    source = mapping(event, "deprecatedSource")
    return _summary(
        event,
        version,
        regarding=mapping(event, "regarding"),
        message=event.get("note") or "",
        component=source.get("component") or event.get("reportingController") or "",
        host=source.get("host") or event.get("reportingInstance") or "",
        first=event.get("deprecatedFirstTimestamp"),
        last=event.get("deprecatedLastTimestamp"),
        count=event.get("deprecatedCount") or 0,
    )


_COLUMNS = (
    Column("Last Seen", lambda event: event.last_seen),
    Column("Type", lambda event: event.type),
    Column("Reason", lambda event: event.reason),
    Column("Object", lambda event: event.target),
    Column("Subobject", lambda event: event.subobject, priority=1),
    Column("Source", lambda event: event.source, priority=1),
    Column("Message", lambda event: event.message),
    Column("First Seen", lambda event: event.first_seen, priority=1),
    Column("Count", lambda event: event.occurrences, priority=1),
    Column("Name", lambda event: event.name, format="name", priority=1),
)

CORE_EVENTS = KindTable(kind="Event", resources=("events.v1",), columns=_COLUMNS, summarize=_core)

EVENTS = KindTable(
    kind="Event",
    resources=("events.v1.events.k8s.io", "events.v1beta1.events.k8s.io"),
    columns=_COLUMNS,
    summarize=_events_group,
)

TABLES = (CORE_EVENTS, EVENTS)
