"""What is asked before an object is admitted: webhooks, policies and their bindings."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, UNSET, count, path, spec
from tables.printer import Column, KindTable
from tables.selectors import selector_dump

_GROUP = "admissionregistration.k8s.io"
_POLICY_VERSIONS = ("v1", "v1beta1", "v1alpha1")


def _webhooks(kind: str, resource: str) -> KindTable:
    return KindTable(
        kind=kind,
        resources=(f"{resource}.v1.{_GROUP}", f"{resource}.v1beta1.{_GROUP}"),
        columns=(NAME, Column("Webhooks", count("webhooks"), "integer"), AGE),
    )


def _param_kind(policy: Object) -> Cell:
    kind = spec(policy).get("paramKind")
    return UNSET if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"


def _policies(kind: str, resource: str, counted: Column) -> KindTable:
    return KindTable(
        kind=kind,
        resources=tuple(f"{resource}.{version}.{_GROUP}" for version in _POLICY_VERSIONS),
        columns=(NAME, counted, Column("ParamKind", _param_kind), AGE),
    )


def _param_ref(binding: Object, *, anywhere: str) -> Cell:
    """The parameters bound to; `anywhere` stands before a name without namespace."""
    reference = spec(binding).get("paramRef")
    if reference is None:
        return UNSET
    if name := reference.get("name"):
        namespace = reference.get("namespace")
        return f"{namespace}/{name}" if namespace else f"{anywhere}{name}"
    selector = reference.get("selector")
    return UNSET if selector is None else selector_dump(selector)


def _bindings(kind: str, resource: str) -> KindTable:
    return KindTable(
        kind=kind,
        resources=tuple(f"{resource}.{version}.{_GROUP}" for version in _POLICY_VERSIONS),
        columns=(
            NAME,
            Column("PolicyName", path("spec.policyName")),
            Column("ParamRef", lambda binding: _param_ref(binding, anywhere=""), until="1.27"),
            Column("ParamRef", lambda binding: _param_ref(binding, anywhere="*/"), since="1.28"),
            AGE,
        ),
    )


TABLES = (
    _webhooks("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
    _webhooks("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
    _policies(
        "ValidatingAdmissionPolicy",
        "validatingadmissionpolicies",
        Column("Validations", count("spec.validations"), "integer"),
    ),
    _policies(
        "MutatingAdmissionPolicy", "mutatingadmissionpolicies", Column("Mutations", count("spec.mutations"), "integer")
    ),
    _bindings("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"),
    _bindings("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings"),
)
