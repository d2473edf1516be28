"""Selectable fields: which `fieldSelector` labels a resource takes, and their values in an object.

Every resource has metadata.name and, if it is namespaced, metadata.namespace; these are in the record
itself, all others are extracted once by the informer. The kinds differ in what they refuse, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kube.resources import GVR
from kube.selectors import FieldSelector, SelectorError
from kube.strconv import quote
from kube.version import ServerVersion

NAME = "metadata.name"
NAMESPACE = "metadata.namespace"

_FIRST = ServerVersion(0, 0)
_CUSTOM_FIELDS_SINCE = ServerVersion(1, 31)
_JOB_WORDING_SINCE = ServerVersion(1, 22)

Read = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    read: Read
    since: ServerVersion = _FIRST


@dataclass(frozen=True, slots=True)
class _Kind:
    """The fields of one kind. `refusal` makes the error for any other label; `namespaced`: takes NAMESPACE."""

    fields: tuple[_Field, ...]
    namespaced: bool = True
    refusal: Callable[[str, GVR, ServerVersion], str] = lambda label, _gvr, _version: _plain_refusal(label)
    aliases: tuple[tuple[str, str], ...] = ()
    extra_labels: tuple[str, ...] = ()
    """Labels that are taken, but never in an object's fields: they read as ""."""
    since: ServerVersion = _FIRST
    """Before, the kind takes the default labels only."""
    versions: tuple[str, ...] = ()
    """API versions that this goes for; empty: all."""


def check(
    selector: FieldSelector,
    gvr: GVR,
    version: ServerVersion,
    *,
    custom: bool = False,
    namespaced: bool = True,
    selectable: Iterable[str] = (),
) -> FieldSelector:
    """The selector with aliases resolved, if the resource supports all its fields.

    Args:
        selector: as parsed.
        gvr: the resource; for built-in kinds it decides alone.
        version: upstream's.
        custom: whether the resource is of a CustomResourceDefinition.
        namespaced: whether a custom resource is namespaced (built-in kinds know).
        selectable: the jsonPaths of `selectableFields` of the custom resource's version.

    Raises:
        SelectorError: with upstream's text for the first field that is not supported.
    """
    if selector.empty:
        return selector
    kind = _kind(gvr, version)
    if custom:
        allowed = {NAME, *([NAMESPACE] if namespaced else []), *_custom_labels(selectable, version)}
    elif kind is None:
        allowed = {NAME, NAMESPACE}
    else:
        allowed = _labels(kind, version)
    for term in selector.terms:
        if term.field not in allowed:
            if custom:
                raise SelectorError(_plain_refusal(term.field))
            if kind is None:
                raise SelectorError(_default_refusal(term.field))
            raise SelectorError(kind.refusal(term.field, gvr, version))
    return selector.renamed(dict(kind.aliases)) if kind is not None and not custom else selector


def supported(
    gvr: GVR, version: ServerVersion, *, custom: bool = False, namespaced: bool = True, selectable: Iterable[str] = ()
) -> frozenset[str]:
    """All labels that a field selector of this resource may name, aliases included."""
    if custom:
        return frozenset((NAME, *((NAMESPACE,) if namespaced else ()), *_custom_labels(selectable, version)))
    kind = _kind(gvr, version)
    return frozenset((NAME, NAMESPACE)) if kind is None else frozenset(_labels(kind, version))


def extract(gvr: GVR, obj: Mapping[str, Any], version: ServerVersion, selectable: Iterable[str] = ()) -> dict[str, str]:
    """The values of an object's selectable fields, except its name and namespace.

    >>> extract(GVR("", "v1", "nodes"), {"spec": {}}, ServerVersion(1, 36))
    {'spec.unschedulable': 'false'}
    """
    return reader(gvr, version, selectable)(obj)


def reader(
    gvr: GVR, version: ServerVersion, selectable: Iterable[str] = ()
) -> Callable[[Mapping[str, Any]], dict[str, str]]:
    """`extract` for many objects of a resource."""
    kind = _kind(gvr, version)
    if kind is not None:
        reads = [(field.label, field.read) for field in kind.fields if version >= field.since]
        return lambda obj: {label: read(obj) for label, read in reads}
    labels = _custom_labels(selectable, version)
    return lambda obj: {label: _custom_value(obj, label) for label in labels}


def _kind(gvr: GVR, version: ServerVersion) -> _Kind | None:
    kind = _KINDS.get((gvr.group, gvr.resource))
    if kind is None or version < kind.since or (kind.versions and gvr.version not in kind.versions):
        return None
    return kind


def _labels(kind: _Kind, version: ServerVersion) -> set[str]:
    labels = {NAME, *(field.label for field in kind.fields if version >= field.since), *kind.extra_labels}
    labels.update(alias for alias, _ in kind.aliases)
    if kind.namespaced:
        labels.add(NAMESPACE)
    return labels


def _custom_labels(selectable: Iterable[str], version: ServerVersion) -> tuple[str, ...]:
    return tuple(path.removeprefix(".") for path in selectable) if version >= _CUSTOM_FIELDS_SINCE else ()


def _custom_value(obj: Mapping[str, Any], label: str) -> str:
    value: Any = obj
    for key in label.split("."):
        if not isinstance(value, Mapping):
            return ""
        value = value.get(key)
    return _text(value)


def _text(value: Any) -> str:
    """A scalar as fmt.Sprint prints it; missing, null and anything else are ""."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else ""


def _path(*keys: str, missing: str = "") -> Read:
    """Reads a scalar; `missing` stands for an absent or null one."""

    def read(obj: Mapping[str, Any]) -> str:
        value: Any = obj
        for key in keys:
            if not isinstance(value, dict):
                return missing
            value = value.get(key)
        return _text(value) or missing

    return read


def _at(label: str, *, missing: str = "", since: ServerVersion = _FIRST) -> _Field:
    """A field whose label is its path in the object."""
    return _Field(label, _path(*label.split("."), missing=missing), since)


def _pod_ip(obj: Mapping[str, Any]) -> str:
    """The first of status.podIPs; objects of servers without that field have podIP alone."""
    status = obj.get("status")
    if not isinstance(status, Mapping):
        return ""
    addresses = status.get("podIPs")
    if isinstance(addresses, list) and addresses and isinstance(addresses[0], Mapping):
        return _text(addresses[0].get("ip"))
    return _text(status.get("podIP"))


def _event_source(obj: Mapping[str, Any]) -> str:
    return _path("source", "component")(obj) or _path("reportingComponent")(obj)


def _plain_refusal(label: str) -> str:
    return f"field label not supported: {label}"


def _default_refusal(label: str) -> str:
    return f'{quote(label)} is not a known field selector: only "metadata.name", "metadata.namespace"'


def _job_refusal(label: str, gvr: GVR, version: ServerVersion) -> str:
    if gvr.resource == "cronjobs":
        return f'field label {quote(label)} not supported for "CronJob"'
    kind = "Job" if version >= _JOB_WORDING_SINCE else "batchv1.Job"
    return f"field label {quote(label)} not supported for {kind}"


def _slice_refusal(label: str, gvr: GVR, _version: ServerVersion) -> str:
    return f"field label not supported for {gvr.api_version}, Kind=ResourceSlice: {label}"


def _references(prefix: str) -> tuple[_Field, ...]:
    names = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    return tuple(_at(f"{prefix}.{name}") for name in names)


_KINDS: dict[tuple[str, str], _Kind] = {
    ("", "pods"): _Kind(
        (
            _at("spec.nodeName"),
            _at("spec.restartPolicy"),
            _at("spec.schedulerName"),
            _at("spec.serviceAccountName"),
            _at("spec.hostNetwork", missing="false", since=ServerVersion(1, 28)),
            _at("status.phase"),
            _Field("status.podIP", _pod_ip),
            _at("status.nominatedNodeName"),
        ),
        aliases=(("spec.host", "spec.nodeName"),),
        extra_labels=("status.podIPs",),
    ),
    ("", "events"): _Kind(
        (
            *_references("involvedObject"),
            _at("reason"),
            _at("reportingComponent"),
            _Field("source", _event_source),
            _at("type"),
        )
    ),
    ("events.k8s.io", "events"): _Kind(
        (
            _at("reason"),
            _at("type"),
            *_references("regarding"),
            _Field("reportingController", _path("reportingController")),
        )
    ),
    ("", "nodes"): _Kind((_at("spec.unschedulable", missing="false"),), namespaced=False),
    ("", "namespaces"): _Kind((_at("status.phase"),), namespaced=False),
    ("", "secrets"): _Kind((_at("type"),)),
    ("", "replicationcontrollers"): _Kind((_at("status.replicas", missing="0"),)),
    ("", "services"): _Kind((_at("spec.clusterIP"), _at("spec.type")), since=ServerVersion(1, 31)),
    ("batch", "jobs"): _Kind(
        (_Field("status.successful", _path("status", "succeeded", missing="0")),), refusal=_job_refusal
    ),
    ("batch", "cronjobs"): _Kind(
        (), refusal=_job_refusal, extra_labels=("status.successful",), versions=("v1beta1", "v2alpha1")
    ),
    ("certificates.k8s.io", "certificatesigningrequests"): _Kind((_at("spec.signerName"),), namespaced=False),
    ("certificates.k8s.io", "clustertrustbundles"): _Kind((_at("spec.signerName"),), namespaced=False),
    ("certificates.k8s.io", "podcertificaterequests"): _Kind(
        # Namespaced all the same: upstream has forgotten the label.
        (_at("spec.signerName"), _at("spec.podName"), _at("spec.nodeName")),
        namespaced=False,
    ),
    ("resource.k8s.io", "resourceslices"): _Kind(
        (_at("spec.nodeName"), _at("spec.driver")), namespaced=False, refusal=_slice_refusal
    ),
}
