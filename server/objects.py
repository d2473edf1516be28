"""One object's bytes in each form that an answer can ask for, cut and joined from the stored bytes.

Nothing is decoded, with one exception: the metadata of custom resources has its keys in alphabetical
order, and PartialObjectMetadata in the order of a Go struct.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from server.view import Unusable
from tables.row import finish

if TYPE_CHECKING:
    from kube.resources import GVR
    from store.meta import Meta
    from store.record import Record
    from tables.row import Row

META_GROUP = "meta.k8s.io"

_METADATA_ORDER = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)
_OWNER_ORDER = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
_MANAGED_ORDER = ("manager", "operation", "apiVersion", "time", "fieldsType", "fieldsV1", "subresource")

_SCALING = "autoscaling.alpha.kubernetes.io/"
_MADE_UP_ANNOTATIONS = {
    "daemonsets.v1.apps": ("deprecated.daemonset.template.generation",),
    "horizontalpodautoscalers.v1.autoscaling": tuple(
        _SCALING + name for name in ("behavior", "conditions", "current-metrics", "metrics")
    ),
    "horizontalpodautoscalers.v2beta1.autoscaling": (_SCALING + "behavior",),
}

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_entries = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


class ItemForm(NamedTuple):
    """How an object appears in an answer.

    `OBJECT`: as it is stored, an item of a list. `PARTIAL`: PartialObjectMetadata of `version`.
    `TABLE`: a row of a Table of `version`, with `include` of the object.
    """

    kind: Literal["object", "partial", "table"]
    version: Literal["", "v1", "v1beta1"] = ""
    include: Literal["", "None", "Metadata", "Object"] = ""

    @property
    def needs_body(self) -> bool:
        """Whether it cannot be made from the resident head alone."""
        return self.include != "None"


OBJECT = ItemForm("object")


@dataclass(frozen=True, slots=True)
class Shape:
    """What all objects of a resource have in common.

    `type_prefix` is `"kind":"Pod","apiVersion":"v1",` where list items lack it, else empty.
    `custom`: a custom resource, its keys in alphabetical order. `hidden_annotations`: those that upstream
    makes up as it converts the object to its API version: forms that show no more than metadata lack them.
    """

    type_prefix: bytes
    custom: bool
    hidden_annotations: tuple[str, ...] = ()

    @classmethod
    def of(cls, gvr: GVR, meta: Meta) -> Shape:
        """The shape that a resource's meta tells."""
        prefix = f'"kind":"{meta.kind}","apiVersion":"{gvr.api_version}",'.encode() if meta.typed else b""
        return cls(prefix, meta.custom, _MADE_UP_ANNOTATIONS.get(str(gvr), ()))

    def whole(self, record: Record) -> bytes:
        """The object as a GET answers it, or as a watch event carries it: with kind and apiVersion."""
        body = record.body()
        return b"{" + self.type_prefix + body[1:] if self.type_prefix else body

    def metadata(self, record: Record) -> bytes:
        """The object's metadata as PartialObjectMetadata and Tables have it."""
        raw = record.metadata()
        for annotation in self.hidden_annotations:
            raw = without_annotation(raw, annotation)
        return in_struct_order(raw) if self.custom else raw

    def partial(self, record: Record, version: str) -> bytes:
        """A PartialObjectMetadata."""
        head = b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%b","metadata":' % version.encode()
        return head + self.metadata(record) + b"}"

    def row_object(self, record: Record, form: ItemForm) -> bytes:
        """What follows the cells in a Table's row: `,"object":…}`."""
        if form.include == "None":
            return b',"object":null}'
        if form.include == "Object":
            return b',"object":' + self.whole(record) + b"}"
        return b',"object":' + self.partial(record, form.version) + b"}"

    def item(self, record: Record, form: ItemForm, now: float) -> bytes:
        """The object as it stands in the items or rows of an answer of this form."""
        if form.kind == "object":
            return record.body()
        if form.kind == "partial":
            return self.partial(record, form.version)
        return row_cells(record, now) + self.row_object(record, form)


def row_of(record: Record) -> Row:
    """The stored row.

    Raises:
        Unusable: there is none: Tables of the resource are not served from the cache, or no longer.
    """
    if record.row is None:
        raise Unusable(f"{record.namespace}/{record.name} has no row")
    return record.row


def row_cells(record: Record, now: float) -> bytes:
    """The row up to its cells and conditions.

    Raises:
        Unusable: see `row_of`.
    """
    return finish(row_of(record), now)


def in_struct_order(metadata: bytes) -> bytes:
    """Metadata with the keys of ObjectMeta in the order in which Go writes them; every value's bytes stay.

    >>> in_struct_order(b'{"creationTimestamp":"2026-11-22T14:22:00Z","name":"q2","uid":"3f"}')
    b'{"name":"q2","uid":"3f","creationTimestamp":"2026-11-22T14:22:00Z"}'
    """
    members = {key: bytes(value) for key, value in _members.decode(metadata).items()}
    for key, order in (("ownerReferences", _OWNER_ORDER), ("managedFields", _MANAGED_ORDER)):
        if key in members:
            entries = _entries.decode(members[key])
            ordered = (_ordered({k: bytes(v) for k, v in entry.items()}, order) for entry in entries)
            members[key] = b"[" + b",".join(ordered) + b"]"
    return _ordered(members, _METADATA_ORDER)


def without_annotation(metadata: bytes, key: str) -> bytes:
    """Metadata without one annotation; `annotations` goes with the last.

    >>> without_annotation(b'{"name":"a","annotations":{"x":"1"},"uid":"3f"}', "x")
    b'{"name":"a","uid":"3f"}'
    """
    if key.encode() not in metadata:
        return metadata
    members = {name: bytes(value) for name, value in _members.decode(metadata).items()}
    annotations = {name: bytes(value) for name, value in _members.decode(members.get("annotations", b"{}")).items()}
    annotations.pop(key, None)
    members["annotations"] = _object(annotations)
    if not annotations:
        del members["annotations"]
    return _object(members)


def _object(members: dict[str, bytes]) -> bytes:
    return b"{" + b",".join(msgspec.json.encode(key) + b":" + value for key, value in members.items()) + b"}"


def _ordered(members: dict[str, bytes], order: tuple[str, ...]) -> bytes:
    return b"{" + b",".join(b'"%b":%b' % (key.encode(), members[key]) for key in order if key in members) + b"}"
