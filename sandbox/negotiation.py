"""Accept → one of the three forms that the sandbox can answer reads in: objects, Tables, metadata; always JSON."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from kube import status
from kube.query import Query

_META = "meta.k8s.io"


class Kind(Enum):
    """What the body of an answer is."""

    OBJECT = auto()
    TABLE = auto()
    METADATA = auto()


@dataclass(frozen=True, slots=True)
class Form:
    """How objects are shown. `version` is that of the Table or the metadata; `include` the Table's includeObject."""

    kind: Kind = Kind.OBJECT
    version: str = "v1"
    include: str = "Metadata"


def negotiate(accept: str, query: Query) -> Form:
    """The first clause of Accept that can be given; clauses are taken in their order, q is not looked at.

    Raises:
        NotAcceptable: there is none.
        BadRequest: a Table with an includeObject that does not exist.
    """
    for clause in accept.split(",") if accept else ["application/json"]:
        media, *rest = (part.strip() for part in clause.split(";"))
        if media not in {"application/json", "*/*", "application/*"}:
            continue
        parameters = dict(part.partition("=")[::2] for part in rest)
        if "as" not in parameters:
            return Form()
        if parameters.get("g") != _META or parameters.get("v") not in {"v1", "v1beta1"}:
            continue
        if parameters["as"] == "Table":
            return Form(Kind.TABLE, parameters["v"], _include_object(query))
        if parameters["as"] in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
            return Form(Kind.METADATA, parameters["v"])
    raise status.not_acceptable("only the following media types are accepted: application/json")


def _include_object(query: Query) -> str:
    value = query.text("includeObject") or "Metadata"
    if value not in {"Metadata", "Object", "None"}:
        raise status.bad_request(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{value}":'
            " must be 'Metadata', 'Object', 'None', or empty"
        )
    return value
