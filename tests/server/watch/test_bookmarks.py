"""Bookmarks have the bytes that real API servers send: every kind of 1.20.2 and of 1.36.3, and those of custom ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kube.resources import GVR
from server.bookmarks import bookmark_form

RECORDED = {
    (minor, path): line
    for minor in (20, 36)
    for path, line in json.loads((Path(__file__).parent / f"bookmarks-1.{minor}.json").read_text()).items()
}
"""Minor version and list path -> the line of a BOOKMARK event, as kube-apiserver 1.20.2 and 1.36.3 (with every feature
gate on) sent it; of the latter the end of the initial events."""


def gvr_of(path: str) -> GVR:
    """The resource of a list path."""
    parts = path.strip("/").split("/")
    return GVR("", *parts[1:]) if parts[0] == "api" else GVR(*parts[1:])


@pytest.mark.parametrize(("minor", "path"), RECORDED)
def test_zero_objects(minor: int, path: str) -> None:
    """Every built-in kind's bookmark equals the real server's, from our table and from upstream's own example."""
    line = RECORDED[minor, path]
    parsed = json.loads(line)["object"]
    expected = line[len('{"type":"BOOKMARK","object":') : -1].encode()
    rv = int(parsed["metadata"]["resourceVersion"])
    for template in (b"", expected):
        form = bookmark_form(gvr_of(path), parsed["kind"], custom=False, minor=minor, template=template)
        assert form.object(rv, initial_end=minor == 36) == expected


PODS = GVR("", "v1", "pods")
CUSTOM = GVR("ex.com", "v2", "foos")


@pytest.mark.parametrize(
    ("gvr", "kind", "minor", "end", "expected"),
    [
        (PODS, "Pod", 36, True,
         (b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","annotations":'
         b'{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null},"status":{}}')),
        (PODS, "Pod", 33, True,
         (b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7","creationTimestamp":null,"annotations":'
         b'{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null},"status":{}}')),
        (GVR("", "v1", "podtemplates"), "PodTemplate", 34, False,
         (b'{"kind":"PodTemplate","apiVersion":"v1","metadata":{"resourceVersion":"7"},'
         b'"template":{"metadata":{},"spec":{"containers":null}}}')),
        (CUSTOM, "Foo", 36, True,
         (b'{"apiVersion":"ex.com/v2","kind":"Foo","metadata":{"annotations":{"k8s.io/initial-events-end":"true"},'
         b'"resourceVersion":"7"}}')),
        (CUSTOM, "Foo", 20, False,
         b'{"apiVersion":"ex.com/v2","kind":"Foo","metadata":{"resourceVersion":"7"}}'),
        (GVR("apps", "v1", "daemonsets"), "DaemonSet", 36, True,
         (b'{"kind":"DaemonSet","apiVersion":"apps/v1","metadata":{"resourceVersion":"7","annotations":'
         b'{"deprecated.daemonset.template.generation":"0","k8s.io/initial-events-end":"true"}},'
         b'"spec":{"selector":null,"template":{"metadata":{},"spec":{"containers":null}},"updateStrategy":{}},'
         b'"status":{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}}')),
    ],
)  # fmt: skip
def test_forms(gvr: GVR, kind: str, minor: int, end: bool, expected: bytes) -> None:
    """The end of the initial events is annotated where Go would put it, and zero times leave with 1.34."""
    form = bookmark_form(gvr, kind, custom=gvr is CUSTOM, minor=minor)
    assert form.object(7, end) == expected


def test_metadata_form() -> None:
    """PartialObjectMetadata has a struct's metadata for custom resources too."""
    form = bookmark_form(CUSTOM, "Foo", custom=True, minor=36)
    assert form.metadata(7, True) == (b'{"resourceVersion":"7","annotations":{"k8s.io/initial-events-end":"true"}}')


def test_template_wins_over_the_table() -> None:
    """A field that a newer upstream prints is taken from its own bookmark, the RV and annotations are ours."""
    template = (
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"99","annotations":'
        b'{"k8s.io/initial-events-end":"true"}},"spec":{"containers":null,"new":0},"status":{}}'
    )
    form = bookmark_form(PODS, "Pod", custom=False, minor=40, template=template)
    assert form.object(7) == (
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"},'
        b'"spec":{"containers":null,"new":0},"status":{}}'
    )


def test_unreadable_template_is_not_used() -> None:
    """A template without metadata falls back to the table."""
    form = bookmark_form(PODS, "Pod", custom=False, minor=36, template=b"{}")
    assert form.object(1).endswith(b'"spec":{"containers":null},"status":{}}')
