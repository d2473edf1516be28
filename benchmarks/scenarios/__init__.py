"""The scenarios, by name. Each is a function of the bench that returns its figures."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.scenarios import memory, requests, watches

Scenario = Callable[[Bench], list[Figure]]

SHORT: dict[str, Scenario] = {
    "tables and lists": requests.tables_and_lists,
    "pages": requests.pages,
    "whole lists": requests.whole_lists,
    "gets": requests.gets,
    "forwarded": requests.forwarded,
    "watch lag": watches.lag,
    "fan-out": watches.fan_out,
    "memory and start": memory.memory_and_start,
}

FULL: dict[str, Scenario] = {
    **SHORT,
    "others during whole lists": requests.others_during_whole_lists,
    "stalled readers": watches.stalled_readers,
    "idle watches": watches.idle_watches,
    "two replicas": requests.two_replicas,
}
