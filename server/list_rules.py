"""Which options of lists and watches go together: upstream's validation of ListOptions.

The faults come in upstream's order, with its words; all of them go into one 422.
"""

from __future__ import annotations

from typing import NamedTuple

from kube.resource_version import Match
from kube.status import FieldError
from kube.strconv import quote

_NEEDS_VERSION = "resourceVersionMatch is forbidden unless resourceVersion is provided"
_NO_CONTINUE = "resourceVersionMatch is forbidden when continue is provided"
_NO_EXACT_ZERO = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
_NEEDS_NOT_OLDER_THAN = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
_NEEDS_GATE = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
_NEEDS_INITIAL_EVENTS = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"


class Given(NamedTuple):
    """The options that the rules are about; `match` as it was written, known or not."""

    match: str
    resource_version: str
    continue_token: str
    watch: bool
    send_initial_events: bool | None


def with_initial_events(given: Given) -> Given:
    """The options with the gate WatchList on: a watch that says nothing of its start gets initial events."""
    says_nothing = given.send_initial_events is None and not given.match and given.resource_version in ("", "0")
    if not given.watch or not says_nothing:
        return given
    return given._replace(send_initial_events=True, match=Match.NOT_OLDER_THAN.value)


def list_faults(given: Given) -> list[FieldError]:
    """The rules of lists, and before 1.27 of watches too."""
    faults = []
    if given.match:
        if given.watch:
            faults.append(_forbidden("resourceVersionMatch", "resourceVersionMatch is forbidden for watch"))
        if not given.resource_version:
            faults.append(_forbidden("resourceVersionMatch", _NEEDS_VERSION))
        if given.continue_token:
            faults.append(_forbidden("resourceVersionMatch", _NO_CONTINUE))
        if given.match not in (Match.EXACT.value, Match.NOT_OLDER_THAN.value):
            faults.append(_unsupported("resourceVersionMatch", given.match, '"Exact", "NotOlderThan", ""'))
        if given.match == Match.EXACT.value and given.resource_version == "0":
            faults.append(_forbidden("resourceVersionMatch", _NO_EXACT_ZERO))
    if given.send_initial_events is not None:
        faults.append(_forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return faults


def watch_faults(given: Given, *, gate: bool) -> list[FieldError]:
    """The rules of watches from 1.27 on; `gate`: whether WatchList is on."""
    faults = []
    if given.send_initial_events is not None:
        if given.match != Match.NOT_OLDER_THAN.value:
            faults.append(_forbidden("resourceVersionMatch", _NEEDS_NOT_OLDER_THAN))
        if not gate:
            faults.append(_forbidden("sendInitialEvents", _NEEDS_GATE))
    if given.match:
        if given.send_initial_events is None:
            faults.append(_forbidden("resourceVersionMatch", _NEEDS_INITIAL_EVENTS))
        if given.match != Match.NOT_OLDER_THAN.value:
            faults.append(_unsupported("resourceVersionMatch", given.match, '"NotOlderThan"'))
        if given.continue_token:
            faults.append(_forbidden("resourceVersionMatch", _NO_CONTINUE))
    return faults


def _forbidden(field: str, text: str) -> FieldError:
    return FieldError(field, "FieldValueForbidden", f"Forbidden: {text}")


def _unsupported(field: str, value: str, supported: str) -> FieldError:
    text = f"Unsupported value: {quote(value)}: supported values: {supported}"
    return FieldError(field, "FieldValueNotSupported", text)
