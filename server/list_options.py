"""The options of a list, watch or get: decoded, defaulted and validated as upstream does, in its order.

A request meets these checks one after the other; each is a function, so that authorization and the
read itself can stand between them:

    paths.parse              400 of a broken path                     (kube.paths)
    check_timeout            400, before anybody is identified
    …identify, authorize…    401, 403
    check_route              404, 405
    negotiation.negotiate    406
    parse / parse_get        400, 422, 400: query, ListOptions, field labels, name
    check_watchable          405
    resource_version         400 or 500                               (the first thing that storage does)
    …read…                   404, 410, 504 …
    check_shape, check_include_object, check_stream                   (server.negotiation)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from kube import fields, status
from kube.durations import DurationError, parse_duration
from kube.paths import RequestInfo
from kube.query import Query
from kube.resource_version import InvalidResourceVersion, Match
from kube.resource_version import parse as parse_resource_version
from kube.resources import GVR, NAMESPACES, Resource
from kube.selectors import EVERY_FIELD, EVERYTHING, FieldSelector, FieldTerm, LabelSelector, SelectorError
from kube.strconv import NumError, parse_int, quote
from kube.version import ServerVersion
from server.list_rules import Given, list_faults, watch_faults, with_initial_events

WATCH_OPTIONS_SINCE = ServerVersion(1, 27)
"""sendInitialEvents exists, and watches are validated by rules of their own."""
REQUEST_DEADLINE_SINCE = ServerVersion(1, 21)
EXPORT_REFUSED_SINCE = ServerVersion(1, 21)
TOKEN_FIRST_SINCE = ServerVersion(1, 29)
INVALID_VERSION_IS_400_SINCE = ServerVersion(1, 33)
PAGES_FROM_CACHE_SINCE = ServerVersion(1, 31)
EXACT_FROM_CACHE_SINCE = ServerVersion(1, 34)

MAX_CACHED_QUERY = 512
"""Longest raw query whose options are kept: repeated ones are short, and pages never repeat."""

DEFAULT_REQUEST_SECONDS = 60.0
"""Upstream's `--request-timeout`: the longest that a request other than a watch may take."""


@dataclass(frozen=True, slots=True)
class ListOptions:
    """What a list or watch asks for, beyond the resource and namespace.

    `resource_version` is the text (""/"0" have meanings of their own), `continue_token` is opaque here.
    `limit` is 0 for none. `send_initial_events` is None where unset, and already defaulted otherwise.
    `timeout_seconds` is of a watch: None where unset (upstream then picks one), negative means over at once.
    `field_selector` has all terms; `single_name` and `namespace_from_selector` say what they fix.
    """

    label_selector: LabelSelector = EVERYTHING
    field_selector: FieldSelector = EVERY_FIELD
    resource_version: str = ""
    match: Match = Match.UNSET
    limit: int = 0
    continue_token: str = ""
    watch: bool = False
    allow_bookmarks: bool = False
    send_initial_events: bool | None = None
    timeout_seconds: int | None = None
    include_object: str = ""
    single_name: str = ""
    """Every selected object has this name: from the path, or an exact `metadata.name`."""
    namespace_from_selector: str | None = None
    """From 1.27 on: a list of all namespaces with this exact `metadata.namespace` is that namespace's list."""

    @property
    def selects_everything(self) -> bool:
        """Whether neither selector restricts anything: only then lists carry remainingItemCount."""
        return self.label_selector.empty and self.field_selector.empty


@dataclass(frozen=True, slots=True)
class GetOptions:
    """What a get asks for, beyond the object."""

    resource_version: str = ""
    include_object: str = ""
    export: bool = False
    """1.20 alone: without what the server sets. Not ours to answer: forward."""


def check_timeout(info: RequestInfo, version: ServerVersion) -> float | None:
    """The seconds that the request may take, by its `timeout` parameter; None for a watch.

    Comes before authentication.

    Raises:
        BadRequest: `timeout` is no duration (from 1.21 on; before, nothing looked at it).
    """
    if version < REQUEST_DEADLINE_SINCE:
        return None if info.verb == "watch" else DEFAULT_REQUEST_SECONDS
    if info.verb in ("watch", "proxy") or info.subresource in ("log", "exec", "attach", "portforward", "proxy"):
        return None
    text = info.query.text("timeout")
    if not text:
        return DEFAULT_REQUEST_SECONDS
    try:
        seconds = parse_duration(text)
    except DurationError as error:
        raise status.bad_request(f"invalid timeout specified in the request URL - {error}") from None
    return seconds if 0 < seconds < DEFAULT_REQUEST_SECONDS else DEFAULT_REQUEST_SECONDS


def check_route(info: RequestInfo, resource: Resource, *, custom: bool) -> None:
    """Refuse the paths and methods that a known, served resource does not have.

    For reads (GET, HEAD) of the resource itself; subresources are upstream's to answer. Comes after
    authorization, which does not know what exists.

    Raises:
        NotFound: a built-in resource has no such route.
        PlainError: 404, likewise of a custom resource.
        StatusError: 405 for a HEAD of a built-in resource, or a verb that the resource has not.
    """
    if custom:
        _check_custom_route(info, resource)
    else:
        _check_built_in_route(info, resource)


def _check_custom_route(info: RequestInfo, resource: Resource) -> None:
    """Custom resources have no router: their handler looks at scopes and verbs alone."""
    check_scope(info, resource)
    if not info.verb:
        raise status.method_not_allowed(resource.gvr, info.verb)


def check_scope(info: RequestInfo, resource: Resource) -> None:
    """Refuse a path of a custom resource that is of the other scope.

    Raises:
        PlainError: 404.
    """
    across = info.is_collection  # lists and watches may go across namespaces
    if bool(info.namespace) != resource.namespaced and not (resource.namespaced and across):
        raise status.plain_404()


def _check_built_in_route(info: RequestInfo, resource: Resource) -> None:
    """Built-in resources have a route for each form of path and method."""
    anywhere = len(info.parts) < 2 if resource.namespaced else resource.gvr == NAMESPACES and not info.nested
    served = bool(info.namespace) == resource.namespaced or anywhere
    unnamed_rest = len(info.parts) > 1 and not info.path_name
    unwatchable = info.legacy_watch and "watch" not in resource.verbs
    if not served or unnamed_rest or unwatchable or info.verb == "proxy":
        raise status.not_found_route()
    if not info.verb or (info.is_read and not _is_routed_read(info, resource)):
        raise status.method_not_allowed_route()


def _is_routed_read(info: RequestInfo, resource: Resource) -> bool:
    """Whether the router has this read: it knows GET alone, and a watch only as a parameter of the list."""
    if info.method != "GET":
        return False
    return info.legacy_watch or ("get" if info.verb == "get" else "list") in resource.verbs


def check_watchable(info: RequestInfo, resource: Resource) -> None:
    """Refuse a watch of a resource that has none. Comes after the options.

    Raises:
        StatusError: 405.
    """
    if info.verb == "watch" and "watch" not in resource.verbs:
        raise status.method_not_allowed(resource.gvr, "watch")


def parse(
    info: RequestInfo,
    query: Query,
    version: ServerVersion,
    resource: Resource,
    *,
    custom: bool = False,
    selectable: Iterable[str] = (),
    watch_list: bool | None = None,
) -> ListOptions:
    """The options of a list or watch.

    Args:
        info: the request, by `kube.paths.parse`.
        query: its query.
        version: upstream's.
        resource: what is listed.
        custom: whether it is of a CustomResourceDefinition.
        selectable: the jsonPaths of its selectable fields, of this version.
        watch_list: whether upstream's gate WatchList is on; None: as in that version by default.

    Raises:
        BadRequest: an option that does not decode, a selector or field label that is refused, or a
            field selector that contradicts the path's name.
        StatusError: 422, options that do not go together.
    """
    gate = watch_list_default(version) if watch_list is None else watch_list
    asked = _Asked(info.verb, info.name, bool(info.namespace), resource, version, custom, tuple(selectable), gate)
    if len(query.raw) > MAX_CACHED_QUERY or "continue" in query:
        return _parse(query.raw, asked)
    return _parse_cached(query.raw, asked)


def parse_get(query: Query, version: ServerVersion) -> GetOptions:
    """The options of a get.

    Raises:
        BadRequest: `export`, from 1.21 on.
    """
    export = query.flag("export")
    if export and version >= EXPORT_REFUSED_SINCE:
        raise status.bad_request("the export parameter, deprecated since v1.14, is no longer supported")
    return GetOptions(query.text("resourceVersion"), query.text("includeObject"), export)


def resource_version(text: str, *, verb: str, version: ServerVersion, from_etcd: bool = False) -> int:
    """The number of an option's resource version, 0 for "" and "0".

    Comes with the read, after all other options, and (on a list) after the continue token.

    Args:
        text: the option.
        verb: `list`, `get` or `watch`: lists answer differently from 1.33 on.
        version: upstream's.
        from_etcd: whether upstream asks etcd for this list (see `served_by_etcd`) or object.

    Raises:
        StatusError: 400 or an unclassified 500.
    """
    try:
        return parse_resource_version(text)
    except InvalidResourceVersion as error:
        if verb != "watch" and (from_etcd or (verb == "list" and version >= INVALID_VERSION_IS_400_SINCE)):
            raise status.bad_request(f"invalid resource version: {error.field_error}") from None
        raise status.unclassified_500(error.field_error) from None


def without_watch_cache(gvr: GVR) -> bool:
    """Whether upstream has no watch cache for the resource."""
    return gvr.resource == "events" and gvr.group in ("", "events.k8s.io")


def served_by_etcd(options: ListOptions, gvr: GVR, version: ServerVersion) -> bool:
    """Whether upstream asks etcd, not its watch cache, for a list with a resource version.

    It does so for events always, until 1.30 for pages, and until 1.33 for exact versions (1.33 looks at their form
    before that, which this is not asked about).
    """
    if without_watch_cache(gvr):
        return True
    if options.match is Match.EXACT:
        return version < EXACT_FROM_CACHE_SINCE
    if options.limit > 0 and options.resource_version != "0":
        exact = options.match is Match.UNSET
        return version < (EXACT_FROM_CACHE_SINCE if exact else PAGES_FROM_CACHE_SINCE)
    return False


def check_version_of_page(options: ListOptions, version: ServerVersion) -> None:
    """Refuse a resource version that is none beside a continue token: until 1.28 before the token was looked at.

    Raises:
        StatusError: 400.
    """
    if options.continue_token and not options.watch and version < TOKEN_FIRST_SINCE:
        resource_version(options.resource_version, verb="list", version=version, from_etcd=True)


def check_continue(options: ListOptions) -> None:
    """Refuse a continue token together with a resource version. Comes after the token was decoded.

    Raises:
        BadRequest: 400.
    """
    if options.continue_token and options.resource_version not in ("", "0"):
        raise status.bad_request("specifying resource version is not allowed when using continue")


def check_name(name: str, problem: str) -> None:
    """Refuse to get an object whose name cannot be stored; `problem` is from `kube.paths.invalid_name`.

    Raises:
        BadRequest: 400.
    """
    if problem:
        raise status.bad_request(f"Name parameter invalid: {quote(name)}: {problem}")


def watch_list_default(version: ServerVersion) -> bool:
    """Whether the gate WatchList is on where nobody set it: beta in 1.32, off again in 1.33, on since 1.34."""
    return version >= ServerVersion(1, 34) or version == ServerVersion(1, 32)


class _Asked(NamedTuple):
    """What options depend on beside the query itself."""

    verb: str
    name: str
    namespaced: bool
    resource: Resource
    version: ServerVersion
    custom: bool
    selectable: tuple[str, ...]
    gate: bool


def _parse(raw: str, asked: _Asked) -> ListOptions:
    query = Query.parse(raw, asked.version)
    options = _decode(query, asked.version)
    given = Given(
        query.text("resourceVersionMatch"),
        options.resource_version,
        options.continue_token,
        options.watch,
        options.send_initial_events,
    )
    if asked.gate:
        given = with_initial_events(given)
    if options.watch and asked.version >= WATCH_OPTIONS_SINCE:
        faults = watch_faults(given, gate=asked.gate)
    else:
        faults = list_faults(given)
    if faults:
        raise status.invalid_list_options(faults)
    options = replace(
        options,
        match=Match(given.match),
        send_initial_events=given.send_initial_events,
        watch=options.watch or asked.verb == "watch",
    )
    return _with_fields(options, asked)


_parse_cached = lru_cache(maxsize=4096)(_parse)


def _decode(query: Query, version: ServerVersion) -> ListOptions:
    """The raw options, decoded in upstream's order: numbers first, then selectors."""
    try:
        timeout_seconds = _integer(query, "timeoutSeconds")
        limit = _integer(query, "limit")
        label_selector = LabelSelector.parse(query.text("labelSelector"), version)
        field_selector = FieldSelector.parse(query.text("fieldSelector"))
    except (NumError, SelectorError) as error:
        raise status.bad_request(str(error)) from None
    send_initial_events = None
    if version >= WATCH_OPTIONS_SINCE and "sendInitialEvents" in query:
        send_initial_events = query.flag("sendInitialEvents")
    return ListOptions(
        label_selector=label_selector,
        field_selector=field_selector,
        resource_version=query.text("resourceVersion"),
        limit=max(limit or 0, 0),
        continue_token=query.text("continue"),
        watch=query.flag("watch"),
        allow_bookmarks=query.flag("allowWatchBookmarks"),
        send_initial_events=send_initial_events,
        timeout_seconds=timeout_seconds or None,
        include_object=query.text("includeObject"),
    )


def _integer(query: Query, name: str) -> int | None:
    text = query.get(name)
    return None if text is None else parse_int(text)


def _with_fields(options: ListOptions, asked: _Asked) -> ListOptions:
    """The options with field labels checked and the name and namespace that they fix."""
    resource = asked.resource
    try:
        selector = fields.check(
            options.field_selector,
            resource.gvr,
            asked.version,
            custom=asked.custom,
            namespaced=resource.namespaced,
            selectable=asked.selectable,
        )
    except SelectorError as error:
        raise status.bad_request(str(error)) from None
    name = selector.required(fields.NAME)
    if asked.name:
        if selector.empty:
            name = asked.name
            selector = FieldSelector((FieldTerm(fields.NAME, "=", name),))
        elif name != asked.name:
            raise status.bad_request("fieldSelector metadata.name doesn't match requested name")
    namespace = None
    if resource.namespaced and not asked.namespaced and asked.version >= WATCH_OPTIONS_SINCE:
        namespace = selector.required(fields.NAMESPACE) or None
    return replace(options, field_selector=selector, single_name=name or "", namespace_from_selector=namespace)
