"""Lists in pages, and the choice of objects by selectors and resource versions."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import msgspec

from kube import fields, status
from kube.paths import RequestInfo
from kube.resource_version import InvalidResourceVersion
from kube.resource_version import parse as parse_rv
from kube.selectors import FieldSelector, LabelSelector, SelectorError
from kube.strconv import NumError, parse_int
from sandbox.catalogue import Served
from sandbox.render import SERVER_VERSION
from sandbox.storage import Collection, HistoryGone, Item

Test = Callable[[Item], bool]


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list at `rv`; `token` and `remaining` are of the next."""

    items: list[Item]
    rv: int
    token: str = ""
    remaining: int = 0


def chooser(info: RequestInfo, served: Served) -> Test | None:
    """Whether an object is selected by the query's selectors; None selects all.

    Raises:
        BadRequest: a selector that does not parse, or a field that the resource does not have.
    """
    try:
        labels = LabelSelector.parse(info.query.text("labelSelector"), SERVER_VERSION)
        selector = fields.check(
            FieldSelector.parse(info.query.text("fieldSelector")), served.gvr, SERVER_VERSION,
            custom=served.custom, namespaced=served.resource.namespaced,
        )  # fmt: skip
    except SelectorError as error:
        raise status.bad_request(str(error)) from None
    if labels.empty and selector.empty:
        return None
    by_label, by_field = labels.matcher(), selector.matcher()
    cheap = set(selector.fields()) <= {fields.NAME, fields.NAMESPACE}

    def chosen(item: Item) -> bool:
        if not by_label(item.labels):
            return False
        if selector.empty:
            return True
        values = {} if cheap else fields.extract(served.gvr, item.decoded(), SERVER_VERSION)
        return by_field({**values, fields.NAME: item.name, fields.NAMESPACE: item.namespace})

    return chosen


def wanted_rv(info: RequestInfo) -> int:
    """The request's resourceVersion as a number, 0 without one.

    Raises:
        BadRequest: it is none.
    """
    try:
        return parse_rv(info.query.text("resourceVersion"))
    except InvalidResourceVersion as error:
        raise status.bad_request(f"invalid resource version: {error.field_error}") from None


def page(collection: Collection, info: RequestInfo, current: int) -> Page:
    """The page that a list request asks for; `current` is the store's revision.

    Raises:
        StatusError: 400 for options that do not parse, 410 for a state that is forgotten.
    """
    limit = number(info, "limit")
    test = chooser(info, collection.served)
    text = info.query.text("continue")
    rv, after = current, ""
    if text:
        token = _decode_token(text)
        if info.query.text("resourceVersion") not in {"", "0"}:
            raise status.bad_request("specifying resource version is not allowed when using continue")
        rv, after = (token.rv if token.rv > 0 else current), token.start
    elif info.query.text("resourceVersionMatch") == "Exact":
        rv = wanted_rv(info)
    try:
        items = collection.snapshot(rv, info.namespace if collection.served.resource.namespaced else "", after)
        return _cut(items, test, limit, rv)
    except HistoryGone:
        if text:
            raise status.expired_continue(_encode_token(-1, after)) from None
        raise status.expired_list() from None


def number(info: RequestInfo, name: str) -> int:
    """An integer parameter, 0 where it is absent.

    Raises:
        BadRequest: with strconv's text.
    """
    value = info.query.get(name)
    try:
        return parse_int(value) if value else 0
    except NumError as error:
        raise status.bad_request(str(error)) from None


def _cut(items: Iterator[Item], test: Test | None, limit: int, rv: int) -> Page:
    chosen = items if test is None else filter(test, items)
    if limit <= 0:
        return Page(list(chosen), rv)
    found = list(islice(chosen, limit))
    rest = next(chosen, None)
    if rest is None:
        return Page(found, rv)
    # As upstream: with a selector nobody counts what else it would choose.
    remaining = 1 + sum(1 for _ in chosen) if test is None else 0
    return Page(found, rv, _encode_token(rv, found[-1].key), remaining)


def _encode_token(rv: int, after: str) -> str:
    text = msgspec.json.encode(_Token("meta.k8s.io/v1", rv, f"{after}\0"))
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def _decode_token(text: str) -> _Token:
    try:
        token = msgspec.json.decode(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), type=_Token)
    except (binascii.Error, ValueError) as error:
        raise status.bad_request(f"invalid continue token: continue key is not valid: {error}") from None
    token.start = token.start.removesuffix("\0")
    return token
