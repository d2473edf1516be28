"""Accept → how an answer is written; and what is said where that cannot be.

Callers go in upstream's order: authorization, then `check_route` (server.list_options), then `negotiate`
(406), then the options (400, 422), then the read itself, and only then `check_shape` (406 of a metadata
form that does not fit), `check_include_object` (400) and, on a watch, `check_stream` (406).
Errors are written in the form that `error_form` gives.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from typing import Literal

from kube import status
from kube.query import Query, pretty_wanted
from kube.resources import GVR
from kube.status import ErrorForm
from kube.strconv import parse_quality, quote
from kube.version import ServerVersion

Verb = Literal["get", "list", "watch"]

MAX_CACHED_ACCEPT = 1024
AVAILABLE_NAMED_SINCE = ServerVersion(1, 25)
"""From here on the router's 406 names the types that it has."""
PRETTY_CUSTOM_SINCE = ServerVersion(1, 23)
"""Before, custom resources stayed compact (without a newline at their end), and jsoniter indented the others."""
SUBRESOURCE_TABLES_SINCE = ServerVersion(1, 24)

_META_GROUP = "meta.k8s.io"
_META_VERSIONS = ("v1", "v1beta1")
_JSON, _YAML, _PROTOBUF, _CBOR = "json", "yaml", "vnd.kubernetes.protobuf", "cbor"
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")

_INTERNAL_PACKAGES = {
    "": "core",
    "events.k8s.io": "core",
    "extensions": "networking",
    "internal.apiserver.k8s.io": "apiserverinternal",
}
"""Go packages of the internal types, where they are not the first label of the group's name."""


class Form(Enum):
    """What the body of an answer is."""

    JSON = auto()
    """The objects themselves."""
    YAML = auto()
    """The objects themselves, as YAML."""
    TABLE = auto()
    METADATA = auto()
    """PartialObjectMetadata, or its list."""
    PROTOBUF = auto()
    """Anything in protobuf: upstream's to answer."""
    CBOR = auto()
    """Anything in CBOR: upstream's to answer."""


@dataclass(frozen=True, slots=True)
class Representation:
    """The outcome of a negotiation.

    `meta_version` is that of the Table or the metadata (`v1`, `v1beta1`), "" without a transform.
    `metadata_list`: the list kind was asked for, see `check_shape`. `yaml`: Tables and metadata too can be
    YAML. `pretty` is about JSON bodies only, and never about the events of a watch.
    """

    form: Form
    meta_version: str = ""
    metadata_list: bool = False
    yaml: bool = False
    pretty: bool = False

    @property
    def content_type(self) -> str:
        """Of a whole body; a JSON watch has `application/json` too."""
        if self.form is Form.PROTOBUF:
            return "application/vnd.kubernetes.protobuf"
        if self.form is Form.CBOR:
            return "application/cbor"
        return "application/yaml" if self.yaml else "application/json"

    @property
    def ours(self) -> bool:
        """Whether answers can be made from the store at all; the others are forwarded."""
        return self.form not in (Form.PROTOBUF, Form.CBOR)


@dataclass(frozen=True, slots=True)
class _Clause:
    """One media range of Accept, with its parameters (the last of a name wins)."""

    type: str
    subtype: str
    quality: float
    params: tuple[tuple[str, str], ...]

    def accepts(self, subtype: str) -> bool:
        if self.type == "*":
            return self.subtype == "*"
        return self.type == "application" and self.subtype in (subtype, "*")


def negotiate(
    accept: str | None,
    *,
    verb: Verb,
    custom: bool,
    query: Query,
    user_agent: str = "",
    version: ServerVersion,
    subresource: str = "",
    cbor: bool = False,
) -> Representation:
    """How the answer to a read is to be written.

    Args:
        accept: the first Accept header, None or "" if there is none.
        verb: `watch` for every form of a watch; a Table of a single object is a `get`.
        custom: whether the resource is of a CustomResourceDefinition: these have no router in front.
        query: for `pretty`.
        user_agent: browsers and curl get pretty answers unasked.
        version: upstream's.
        subresource: before 1.24 these had no Tables.
        cbor: whether upstream serves CBOR (the gate CBORServingAndStorage).

    Raises:
        NotAcceptable: 406, from the router's gate (`check_gate`) or from the negotiation proper.
    """
    if not custom:
        check_gate(accept, verb=verb, version=version, cbor=cbor)
    tables = not subresource or version >= SUBRESOURCE_TABLES_SINCE
    representation = _negotiate(accept or "", custom, tables, cbor)
    if representation is None:
        raise status.not_acceptable(_only_accepted(cbor))
    if not representation.pretty and _pretty(query, user_agent):
        representation = _made_pretty(representation)
    return representation


def check_stream(representation: Representation, *, cbor: bool = False) -> None:
    """Refuse a watch in a form that has no stream. Comes last of all checks, after the read was accepted.

    Raises:
        NotAcceptable: YAML came first in Accept.
    """
    if representation.yaml:
        streams = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        streams += ", application/cbor-seq" if cbor else ""
        raise status.not_acceptable(f"only the following media types are accepted: {streams}")


def check_shape(representation: Representation, *, verb: Verb, custom: bool, gvr: GVR, kind: str) -> None:
    """Refuse metadata of the wrong shape: of an object where the answer is a list, or the reverse.

    Comes after the read, so a missing object or a bad resourceVersion is reported before. On a watch
    nothing is refused: a stream asked for as PartialObjectMetadataList ends at its first event.

    Raises:
        NotAcceptable: 406.
        StatusError: 500, where a list was asked for of a custom resource's object.
    """
    if representation.form is not Form.METADATA or verb == "watch":
        return
    if verb == "list" and not representation.metadata_list:
        type_name = "*unstructured.UnstructuredList" if custom else _go_type(gvr, f"{kind}List")
        raise status.not_acceptable(
            f"you requested PartialObjectMetadata, but the requested object is a list ({type_name})"
        )
    if verb == "get" and representation.metadata_list:
        if custom:
            # Upstream's untyped objects pass for lists, until it looks for the items.
            raise status.unclassified_500("content is not a list")
        raise status.not_acceptable(
            f"you requested PartialObjectMetadataList, but the requested object is not a list ({_go_type(gvr, kind)})"
        )


def check_include_object(representation: Representation, include_object: str) -> None:
    """Refuse an unknown `includeObject`, which only Tables look at. Comes after the read.

    Raises:
        BadRequest: 400.
    """
    if representation.form is Form.TABLE and include_object not in ("", "Metadata", "Object", "None"):
        raise status.bad_request(
            "Unable to convert to Table as requested: includeObject: Invalid value: "
            f"{quote(include_object)}: must be 'Metadata', 'Object', 'None', or empty"
        )


def error_form(
    accept: str | None,
    *,
    query: Query | None = None,
    user_agent: str = "",
    version: ServerVersion,
    cbor: bool = False,
) -> ErrorForm:
    """How the Status of an error is written: negotiated anew, with no transform allowed.

    Where no clause fits a plain Status, it is indented JSON.
    """
    encoding = _negotiate_error(accept or "", cbor)
    if encoding is None:
        return ErrorForm.INDENTED
    if encoding == _YAML:
        return ErrorForm.YAML
    if encoding == _PROTOBUF:
        return ErrorForm.PROTOBUF
    if _accept_pretty(accept or "") or (query is not None and _pretty(query, user_agent)):
        return ErrorForm.INDENTED if version >= PRETTY_CUSTOM_SINCE else ErrorForm.JSONITER
    return ErrorForm.JSON


def gzip_accepted(accept_encoding: str | None) -> bool:
    """Whether a body above the threshold is compressed: a bare `gzip` must be among the encodings.

    >>> gzip_accepted("deflate, gzip"), gzip_accepted("gzip;q=1.0"), gzip_accepted("*"), gzip_accepted(None)
    (True, False, False, False)
    """
    if not accept_encoding:
        return False
    return any(token.strip() == "gzip" for token in accept_encoding.split(","))


def _made_pretty(representation: Representation) -> Representation:
    if representation.yaml or not representation.ours:
        return representation
    return Representation(representation.form, representation.meta_version, representation.metadata_list, pretty=True)


def _pretty(query: Query, user_agent: str) -> bool:
    wanted = pretty_wanted(query)
    return user_agent.startswith(_BROWSERS) if wanted is None else wanted


def _only_accepted(cbor: bool) -> str:
    types = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
    return f"only the following media types are accepted: {types}{', application/cbor' if cbor else ''}"


def _go_type(gvr: GVR, kind: str) -> str:
    """The Go type of a built-in kind that a message names, such as `*core.PodList`."""
    package = _INTERNAL_PACKAGES.get(gvr.group) or gvr.group.split(".")[0]
    return f"*{package}.{kind}"


# The router's gate


def check_gate(accept: str | None, *, verb: Verb, version: ServerVersion, cbor: bool = False) -> None:
    """Refuse what the router in front of built-in resources does not let through.

    It takes exact types and `*/*` alone, and neither parameters nor q matter to it.

    Raises:
        NotAcceptable: 406.
    """
    produced = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]
    if cbor:
        produced.append("application/cbor")
    if not _passes_gate(accept or "*/*", tuple(produced)):
        message = "406: Not Acceptable"
        if version >= AVAILABLE_NAMED_SINCE:
            if verb != "get":
                produced += ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"]
                produced += ["application/cbor-seq"] if cbor else []
            message += f"\n\nAvailable representations: {', '.join(produced)}"
        raise status.not_acceptable(message, details={})


@lru_cache(maxsize=512)
def _passes_gate(accept: str, produced: tuple[str, ...]) -> bool:
    types = [clause.partition(";")[0].strip(" ") for clause in accept.split(",")]
    if accept.endswith(","):
        types.pop()
    return any(media_type == "*/*" or media_type in produced for media_type in types)


# Parsing and negotiating Accept


def _clauses(accept: str) -> list[_Clause]:
    """The clauses in the order of preference: by q, more specific first, else as in the header."""
    clauses = [clause for part in accept.split(",") if (clause := _clause(part.strip(" ")))]
    # An insertion sort by upstream's own comparison: that is no consistent order (a specific type beats
    # a wildcard of a higher q, and the reverse), so the algorithm decides.
    for end in range(1, len(clauses)):
        index = end
        while index > 0 and _preferred(clauses[index], clauses[index - 1]):
            clauses[index - 1], clauses[index] = clauses[index], clauses[index - 1]
            index -= 1
    return clauses


def _preferred(clause: _Clause, other: _Clause) -> bool:
    return (
        clause.quality > other.quality
        or (clause.type != "*" and other.type == "*")
        or (clause.subtype != "*" and other.subtype == "*")
    )


def _clause(text: str) -> _Clause | None:
    media_range, _, parameters = text.partition(";")
    major, _, minor = media_range.partition("/")
    major = major.strip(" ")
    if minor:
        minor, _, surplus = minor.partition("/")
        if surplus:
            return None
    elif major == "*":
        minor = "*"
    else:
        return None
    quality = 1.0
    params: dict[str, str] = {}
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if not value:
            continue
        value, _, surplus = value.partition("=")
        if surplus:
            continue
        name = name.strip(" ")
        if name == "q":
            quality = parse_quality(value)
        else:
            params[name] = value.strip(" ")
    return _Clause(major, minor.strip(" "), quality, tuple(params.items()))


def _negotiate(accept: str, custom: bool, tables: bool, cbor: bool) -> Representation | None:
    if len(accept) > MAX_CACHED_ACCEPT:
        return _negotiate_uncached(accept, custom, tables, cbor)
    return _negotiate_cached(accept, custom, tables, cbor)


def _negotiate_uncached(accept: str, custom: bool, tables: bool, cbor: bool) -> Representation | None:
    if not accept:
        return Representation(Form.JSON)
    for clause in _clauses(accept):
        for encoding in (_JSON, _YAML, _PROTOBUF, *((_CBOR,) if cbor else ())):
            if clause.accepts(encoding) and (found := _represent(clause, encoding, custom, tables)):
                return found
    return None


_negotiate_cached = lru_cache(maxsize=1024)(_negotiate_uncached)


def _represent(clause: _Clause, encoding: str, custom: bool, tables: bool) -> Representation | None:
    """The representation that a clause means in an encoding that it accepts, None if it is not to be had."""
    params = dict(clause.params)
    stream = params.get("stream", "")
    if stream and (stream != "watch" or encoding == _YAML):
        return None
    if params.get("sv", "") not in ("", "v1"):
        return None
    pretty = params.get("pretty") == "1" and encoding == _JSON
    if not params.keys() & {"as", "g", "v"}:
        if custom and encoding == _PROTOBUF:
            return None
        return Representation(_FORMS[encoding], yaml=encoding == _YAML, pretty=pretty)
    return _transform(params, encoding, tables, pretty)


_FORMS = {_JSON: Form.JSON, _YAML: Form.YAML, _PROTOBUF: Form.PROTOBUF, _CBOR: Form.CBOR}


def _transform(params: dict[str, str], encoding: str, tables: bool, pretty: bool) -> Representation | None:
    kind, meta_version = params.get("as", ""), params.get("v", "")
    if params.get("g") != _META_GROUP or meta_version not in _META_VERSIONS:
        return None
    if kind == "Table":
        form = Form.TABLE
        if not tables or encoding not in (_JSON, _YAML):
            return None
    elif kind in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        form = Form.METADATA
    else:
        return None
    if encoding not in (_JSON, _YAML):
        form = _FORMS[encoding]
    return Representation(form, meta_version, kind.endswith("List"), encoding == _YAML, pretty)


@lru_cache(maxsize=1024)
def _error_clause(accept: str, cbor: bool) -> tuple[str | None, bool]:
    """The encoding of an error and whether the winning clause itself asks for pretty JSON."""
    if not accept:
        return _JSON, False
    for clause in _clauses(accept):
        params = dict(clause.params)
        if params.keys() & {"as", "g", "v"} or params.get("sv"):
            continue
        for encoding in (_JSON, _YAML, _PROTOBUF, *((_CBOR,) if cbor else ())):
            stream = params.get("stream", "")
            if clause.accepts(encoding) and not (stream and (stream != "watch" or encoding == _YAML)):
                return encoding, params.get("pretty") == "1"
    return None, False


def _negotiate_error(accept: str, cbor: bool) -> str | None:
    return _error_clause(accept, cbor)[0]


def _accept_pretty(accept: str) -> bool:
    return _error_clause(accept, False)[1]
