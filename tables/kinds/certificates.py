"""Requests for certificates, and the bundles that are trusted."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.duration import human_duration
from tables.fields import AGE, NAME, NONE, items, labels_text, path, path_or, spec, status
from tables.printer import Column, KindTable

_GROUP = "certificates.k8s.io"


def _lifetime(request: Object) -> Cell:
    seconds = spec(request).get("expirationSeconds")
    return NONE if seconds is None else human_duration(seconds)


def _condition(request: Object) -> Cell:
    kinds = {condition.get("type") for condition in items(status(request), "conditions")}
    text = "Denied" if "Denied" in kinds else "Approved" if "Approved" in kinds else "Pending"
    if "Failed" in kinds:
        text += ",Failed"
    return f"{text},Issued" if status(request).get("certificate") else text


CERTIFICATE_SIGNING_REQUESTS = KindTable(
    kind="CertificateSigningRequest",
    resources=tuple(f"certificatesigningrequests.{version}.{_GROUP}" for version in ("v1", "v1beta1")),
    columns=(
        NAME,
        AGE,
        Column("SignerName", path_or("spec.signerName", NONE)),
        Column("Requestor", path("spec.username")),
        Column("RequestedDuration", _lifetime, since="1.22"),
        Column("Condition", _condition),
    ),
)

CLUSTER_TRUST_BUNDLES = KindTable(
    kind="ClusterTrustBundle",
    resources=tuple(f"clustertrustbundles.{version}.{_GROUP}" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(NAME, Column("SignerName", path_or("spec.signerName", NONE))),
)


def _state(request: Object) -> Cell:
    """The last of the conditions that decide, whatever their status."""
    state = "Pending"
    for condition in items(status(request), "conditions"):
        if condition.get("type") in ("Issued", "Denied", "Failed"):
            state = condition["type"]
    return state


POD_CERTIFICATE_REQUESTS = KindTable(
    kind="PodCertificateRequest",
    resources=tuple(f"podcertificaterequests.{version}.{_GROUP}" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(
        NAME,
        Column("PodName", path("spec.podName")),
        Column("ServiceAccountName", path("spec.serviceAccountName")),
        Column("NodeName", path("spec.nodeName")),
        Column("SignerName", path("spec.signerName")),
        Column("State", _state),
        Column(
            "UnverifiedUserAnnotations",
            lambda request: labels_text(spec(request).get("unverifiedUserAnnotations")),
            since="1.35",
        ),
    ),
)

TABLES = (CERTIFICATE_SIGNING_REQUESTS, CLUSTER_TRUST_BUNDLES, POD_CERTIFICATE_REQUESTS)
