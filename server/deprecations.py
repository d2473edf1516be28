"""Texts of the Warning headers that upstream sends with reads of deprecated APIs.

Built-in kinds: a table, since upstream has these texts in its binary alone. It holds what a server of 1.20 to 1.36 can
prefer, and the older betas and alphas of the kinds that are still served beside their successors.
Custom resources: from their definitions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgspec

from kube.resources import GVR
from kube.version import ServerVersion

_KUBE_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_STAGES = {"alpha": 0, "beta": 1, None: 2}


@dataclass(frozen=True, slots=True)
class _Deprecation:
    """Minor numbers of 1.x; `removed` is 0 for never, `use` is "" where nothing takes its place."""

    since: int
    removed: int = 0
    use: str = ""


def _all(api_version: str, kinds: str, since: int, removed: int, use: str = "") -> dict[tuple[str, str], _Deprecation]:
    """The same deprecation for several kinds; `use` is the api version of the successors."""
    return {(api_version, kind): _Deprecation(since, removed, f"{use} {kind}" if use else "") for kind in kinds.split()}


_BUILT_IN: dict[tuple[str, str], _Deprecation] = {
    ("v1", "ComponentStatus"): _Deprecation(19),
    ("v1", "Endpoints"): _Deprecation(33, 0, "discovery.k8s.io/v1 EndpointSlice"),
    **_all(
        "admissionregistration.k8s.io/v1beta1",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
        16,
        22,
        "admissionregistration.k8s.io/v1",
    ),
    **_all("admissionregistration.k8s.io/v1alpha1", "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding", 35, 38),
    **_all(
        "admissionregistration.k8s.io/v1alpha1", "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding", 29, 32
    ),
    **_all(
        "admissionregistration.k8s.io/v1beta1", "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding", 31, 34
    ),
    **_all("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", 16, 22, "apiextensions.k8s.io/v1"),
    **_all("apiregistration.k8s.io/v1beta1", "APIService", 19, 22, "apiregistration.k8s.io/v1"),
    **_all("autoscaling/v2beta1", "HorizontalPodAutoscaler", 22, 25, "autoscaling/v2"),
    **_all("autoscaling/v2beta2", "HorizontalPodAutoscaler", 23, 26, "autoscaling/v2"),
    **_all("batch/v1beta1", "CronJob", 21, 25, "batch/v1"),
    **_all("certificates.k8s.io/v1alpha1", "ClusterTrustBundle", 34, 37),
    **_all("certificates.k8s.io/v1beta1", "CertificateSigningRequest", 19, 22, "certificates.k8s.io/v1"),
    **_all("coordination.k8s.io/v1beta1", "Lease", 19, 22, "coordination.k8s.io/v1"),
    **_all("coordination.k8s.io/v1alpha2", "LeaseCandidate", 35, 38),
    **_all("coordination.k8s.io/v1beta1", "LeaseCandidate", 36, 39),
    **_all("discovery.k8s.io/v1beta1", "EndpointSlice", 21, 25, "discovery.k8s.io/v1"),
    **_all("events.k8s.io/v1beta1", "Event", 22, 25),
    **_all("extensions/v1beta1", "Ingress", 14, 22, "networking.k8s.io/v1"),
    **_all(
        "flowcontrol.apiserver.k8s.io/v1alpha1",
        "FlowSchema PriorityLevelConfiguration",
        20,
        21,
        "flowcontrol.apiserver.k8s.io/v1beta1",
    ),
    **_all(
        "flowcontrol.apiserver.k8s.io/v1beta2",
        "FlowSchema PriorityLevelConfiguration",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1beta3",
    ),
    **_all(
        "flowcontrol.apiserver.k8s.io/v1beta3",
        "FlowSchema PriorityLevelConfiguration",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    **_all("networking.k8s.io/v1beta1", "Ingress", 19, 22, "networking.k8s.io/v1"),
    # Upstream names the list here.
    ("networking.k8s.io/v1beta1", "IngressClass"): _Deprecation(19, 22, "networking.k8s.io/v1 IngressClassList"),
    **_all("networking.k8s.io/v1beta1", "IPAddress ServiceCIDR", 34, 37),
    **_all("node.k8s.io/v1beta1", "RuntimeClass", 22, 25),
    **_all("policy/v1beta1", "PodDisruptionBudget", 21, 25, "policy/v1"),
    **_all("policy/v1beta1", "PodSecurityPolicy", 21, 25),
    **_all(
        "rbac.authorization.k8s.io/v1beta1",
        "ClusterRole ClusterRoleBinding Role RoleBinding",
        17,
        22,
        "rbac.authorization.k8s.io/v1",
    ),
    **_all("resource.k8s.io/v1alpha3", "DeviceTaintRule", 36, 39),
    **_all("resource.k8s.io/v1beta1", "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice", 35, 38),
    **_all("resource.k8s.io/v1beta2", "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice", 36, 39),
    **_all("scheduling.k8s.io/v1beta1", "PriorityClass", 14, 22, "scheduling.k8s.io/v1"),
    **_all("storage.k8s.io/v1alpha1", "CSIStorageCapacity", 21, 24, "storage.k8s.io/v1beta1"),
    **_all("storage.k8s.io/v1alpha1", "VolumeAttachment", 21, 24, "storage.k8s.io/v1"),
    **_all("storage.k8s.io/v1beta1", "CSINode", 17, 22, "storage.k8s.io/v1"),
    **_all("storage.k8s.io/v1beta1", "CSIDriver StorageClass VolumeAttachment", 19, 22, "storage.k8s.io/v1"),
    **_all("storage.k8s.io/v1beta1", "CSIStorageCapacity", 24, 27, "storage.k8s.io/v1"),
    **_all("storage.k8s.io/v1beta1", "VolumeAttributesClass", 34, 37, "storage.k8s.io/v1"),
}


def built_in(gvr: GVR, kind: str, version: ServerVersion) -> str:
    """The warning about a built-in kind, "" if there is none in this version.

    >>> built_in(GVR("", "v1", "endpoints"), "Endpoints", ServerVersion(1, 36))
    'v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice'
    """
    found = _BUILT_IN.get((gvr.api_version, kind))
    if found is None or version.minor < found.since:
        return ""
    text = f"{gvr.api_version} {kind} is deprecated in v1.{found.since}+"
    if found.removed:
        text += f", unavailable in v1.{found.removed}+"
    return f"{text}; use {found.use}" if found.use else text


class _Version(msgspec.Struct, rename="camel"):
    name: str
    served: bool = False
    deprecated: bool = False
    deprecation_warning: str | None = None


class _Names(msgspec.Struct):
    kind: str = ""


class _Spec(msgspec.Struct):
    group: str = ""
    names: _Names = msgspec.field(default_factory=_Names)
    versions: tuple[_Version, ...] | None = None


class _Definition(msgspec.Struct):
    spec: _Spec


_decoder = msgspec.json.Decoder(_Definition)


def custom(definition: bytes, version: str) -> str:
    """The warning about one version of a custom resource, by its CustomResourceDefinition's JSON; "" for none.

    Raises:
        msgspec.DecodeError: it is no definition.
    """
    spec = _decoder.decode(definition).spec
    versions = spec.versions or ()
    found = next((candidate for candidate in versions if candidate.name == version), None)
    if found is None or not found.deprecated:
        return ""
    if found.deprecation_warning is not None:
        return found.deprecation_warning
    text = f"{spec.group}/{version} {spec.names.kind} is deprecated"
    better = [
        candidate.name
        for candidate in versions
        if candidate.served and not candidate.deprecated and _priority(candidate.name) > _priority(version)
    ]
    if better:
        text += f"; use {spec.group}/{max(better, key=_priority)} {spec.names.kind}"
    return text


def _priority(version: str) -> tuple[int, int, int, int, list[int]]:
    """Kubernetes' order: v2, v1, v2beta1, v1beta2, v1alpha1, then all other names, first in the alphabet first."""
    match = _KUBE_VERSION.fullmatch(version)
    if match is None:
        return (0, 0, 0, 0, [-ord(character) for character in version])
    return (1, _STAGES[match[2]], int(match[1]), int(match[3] or 0), [])
