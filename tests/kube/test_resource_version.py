from __future__ import annotations

import pytest

from kube.resource_version import InvalidResourceVersion, Match, parse


def test_resource_versions_are_numbers() -> None:
    """Decimal uint64; an empty one is 0."""
    assert [parse(text) for text in ("", "0", "1814", "00", "18446744073709551615")] == [0, 0, 1814, 0, 2**64 - 1]


def test_anything_else_says_what_upstream_says() -> None:
    """The exception holds strconv's message, and the field error that storage shows."""
    with pytest.raises(InvalidResourceVersion) as caught:
        parse("abc")
    assert str(caught.value) == 'strconv.ParseUint: parsing "abc": invalid syntax'
    assert caught.value.field_error == (
        'resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax'
    )


def test_matches_are_the_words_of_the_parameter() -> None:
    """The enum reads its own values."""
    assert [Match(text) for text in ("", "Exact", "NotOlderThan")] == [Match.UNSET, Match.EXACT, Match.NOT_OLDER_THAN]
