"""What kubectl prints while things change is what it prints when it watches upstream itself."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.fixtures.running import Running, wait_until
from tests.interop.kubectl import Following, Ran, Sides, without_ages

pytestmark = pytest.mark.interop

NAMESPACE = "storefront-staging"

WATCHES = (
    "get configmaps -w",
    "get configmaps -w -o wide --output-watch-events",
    "get configmaps -w --output-watch-events",
    "get configmaps -w -o json --output-watch-events",
    "get configmaps -w -o yaml",
    "get configmaps -w -o name",
    "get configmaps -w --show-labels -l color=red --output-watch-events",
    "get configmaps -w -o custom-columns=N:.metadata.name,C:.metadata.labels.color,V:.data.v -l color",
    'get configmaps -w -o jsonpath={.metadata.name}={.data.v}{"\\n"} --field-selector=metadata.name=watched',
    "get configmaps --watch-only --output-watch-events",
    "get configmaps -A -w -l color=red",
    "get configmap watched-before -w",
    "get pods -w -o wide --output-watch-events",
    "get events -w",
)  # fmt: skip


def _one(*arguments: str, sides: Sides) -> Ran:
    ran = sides.larder.run(*arguments)
    assert ran.code == 0, ran.err
    return ran


def _change_everything(sides: Sides) -> None:
    """A map comes, changes its labels in and out of a selector, and goes; a pod comes, starts and goes."""
    name = ("-n", NAMESPACE, "configmap", "watched")
    _one("create", "configmap", "watched", "-n", NAMESPACE, "--from-literal=v=1", sides=sides)
    _one("label", *name, "color=red", sides=sides)
    _one("patch", *name, "-p", '{"data":{"v":"2"}}', sides=sides)
    _one("label", *name, "--overwrite", "color=blue", sides=sides)
    _one("annotate", *name, "note=x", sides=sides)
    _one("label", *name, "--overwrite", "color=red", sides=sides)
    _one("run", "watched", "-n", NAMESPACE, "--image=registry.example/x:1", sides=sides)
    _one("wait", "-n", NAMESPACE, "--for=condition=Ready", "pod/watched", "--timeout=15s", sides=sides)
    _one("delete", "-n", NAMESPACE, "pod", "watched", sides=sides)
    _one("label", *name, "color-", sides=sides)
    _one("delete", *name, sides=sides)
    _one("delete", "-n", NAMESPACE, "configmap", "watched-before", sides=sides)


@pytest.fixture
def watches(system: Running, sides: Sides) -> Iterator[dict[str, tuple[Following, Following]]]:
    """Every watch, on both sides, as far as its first lines."""
    _one("create", "configmap", "watched-before", "-n", NAMESPACE, "--from-literal=v=0", sides=sides)
    before = _watches_of_upstream(system)
    with ExitStack() as exits:
        found = {}
        for command in WATCHES:
            arguments = command.split()
            if "-A" not in arguments:
                arguments += ["-n", NAMESPACE]
            found[command] = (
                exits.enter_context(sides.larder.follow(*arguments)),
                exits.enter_context(sides.upstream.follow(*arguments)),
            )
        wait_until(lambda: sum(system.metric(at, "larder_watches") for at in range(2)) == len(WATCHES))
        wait_until(lambda: _watches_of_upstream(system) == before + len(WATCHES))
        yield found


def _watches_of_upstream(system: Running) -> int:
    """How many watches clients have begun there."""
    return sum(row["requests"] for row in system.requests_seen() if (row["cause"], row["verb"]) == ("client", "watch"))


def test_watches_print_the_same(sides: Sides, watches: dict[str, tuple[Following, Following]]) -> None:
    """Each kind of watch across a create, label changes and a delete, beside the same watch of upstream."""
    _change_everything(sides)
    with contextlib.suppress(AssertionError):  # said below, by command
        wait_until(lambda: all(_told(larder) == _told(upstream) for larder, upstream in watches.values()), 8)
    for command, (larder, upstream) in watches.items():
        assert larder.process.poll() is None, (command, larder.complaints)
        assert _told(larder) == _told(upstream), command
        assert larder.complaints == upstream.complaints, command
    selected = [line.split()[0] for line in watches[WATCHES[6]][0].lines if "watched " in line]
    assert selected == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]


def _told(one: Following) -> list[Any]:
    """The lines without ages, or the events themselves."""
    if not one.text.startswith("{"):
        return [without_ages(line) for line in one.lines]
    decoder, text, events = json.JSONDecoder(), one.text, []
    while text := text.lstrip():
        event, end = decoder.raw_decode(text)
        events.append(event)
        text = text[end:]
    return events
