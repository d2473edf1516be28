"""Records as they are stored: what comes back, and what of it is there once."""

from __future__ import annotations

from store import record
from tests.server.views.cluster import record_of


def test_equal_values_are_there_once() -> None:
    """Decoded records are those that were encoded, and share the strings of equal labels and fields."""
    made = [record_of("a", f"pod-{number}", number, {"app": "web"}, "node-1") for number in range(2)]
    first, second = (record.decode(record.encode(one)) for one in made)
    assert [first, second] == made
    assert first.labels["app"] is second.labels["app"]
    assert first.fields["spec.nodeName"] is second.fields["spec.nodeName"]
