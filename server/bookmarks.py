"""The objects inside BOOKMARK events: of the resource's type, with a resourceVersion and else nothing.

A built-in kind is a Go struct, so its zero object still shows the fields that are never omitted:
a Pod's bookmark has `"spec":{"containers":null},"status":{}`. What upstream itself sent as a bookmark
(`template`) is the best source; the table below stands in until upstream has sent one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kube.resources import GVR

INITIAL_EVENTS_END = b'"k8s.io/initial-events-end":"true"'
"""The annotation of the bookmark that ends the initial events of a watch."""

# From this minor version on, zero timestamps are left out; before, they were printed as null.
_OMITS_ZERO_TIMES = 34

_TEMPLATE = '"template":{"metadata":{"creationTimestamp":null},"spec":{"containers":null}}'
_ROLE_REF = '"roleRef":{"apiGroup":"","kind":"","name":""}'
_NAMES = '{"plural":"","kind":""}'
_SCALE_TARGET = '"spec":{"scaleTargetRef":{"kind":"","name":""},"maxReplicas":0}'
_STATEFUL_SET_SPEC = '"spec":{"replicas":0,"selector":null,' + _TEMPLATE + ',"serviceName":"","updateStrategy":{}}'
_HPA_BETA = _SCALE_TARGET + (
    ',"status":{"currentReplicas":0,"desiredReplicas":0,"currentMetrics":null,"conditions":null}'
)
_SLICE_SPEC = '"spec":{"driver":"","pool":{"name":"","generation":0,"resourceSliceCount":0}'
_CLAIM_SPEC = '"spec":{"devices":{"requests":null}}'
_NODE_INFO = ",".join(
    f'"{name}":""'
    for name in (
        "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
        "kubeProxyVersion", "operatingSystem", "architecture",
    )
)  # fmt: skip

# (group, kind) -> what follows `metadata`. Kinds that are not here show nothing but their metadata.
# The forms of 1.20 were read off a real server, kind by kind.
_ZERO = {
    ("", "Event"): (
        '"involvedObject":{},"source":{},"firstTimestamp":null,"lastTimestamp":null,"eventTime":null,'
        '"reportingComponent":"","reportingInstance":""'
    ),
    ("", "LimitRange"): '"spec":{"limits":null}',
    ("", "Namespace"): '"spec":{},"status":{}',
    ("", "Node"): (
        '"spec":{},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{' + _NODE_INFO + "}}"
    ),
    ("", "PersistentVolume"): '"spec":{},"status":{}',
    ("", "PersistentVolumeClaim"): '"spec":{"resources":{}},"status":{}',
    ("", "Pod"): '"spec":{"containers":null},"status":{}',
    ("", "PodTemplate"): _TEMPLATE,
    ("", "ReplicationController"): '"spec":{},"status":{"replicas":0}',
    ("", "ResourceQuota"): '"spec":{},"status":{}',
    ("", "Service"): '"spec":{},"status":{"loadBalancer":{}}',
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicy"): '"spec":{}',
    ("admissionregistration.k8s.io", "MutatingAdmissionPolicyBinding"): '"spec":{}',
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): '"spec":{},"status":{}',
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"): '"spec":{}',
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (
        '"spec":{"group":"","names":' + _NAMES + ',"scope":"","versions":null},'
        '"status":{"conditions":null,"acceptedNames":' + _NAMES + ',"storedVersions":null}'
    ),
    ("apiregistration.k8s.io", "APIService"): '"spec":{"groupPriorityMinimum":0,"versionPriority":0},"status":{}',
    ("apps", "ControllerRevision"): '"data":null,"revision":0',
    ("apps", "DaemonSet"): (
        '"spec":{"selector":null,' + _TEMPLATE + ',"updateStrategy":{}},"status":{"currentNumberScheduled":0,'
        '"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}'
    ),
    ("apps", "Deployment"): '"spec":{"replicas":0,"selector":null,' + _TEMPLATE + ',"strategy":{}},"status":{}',
    ("apps", "ReplicaSet"): '"spec":{"replicas":0,"selector":null,' + _TEMPLATE + '},"status":{"replicas":0}',
    ("apps", "StatefulSet"): _STATEFUL_SET_SPEC + ',"status":{"replicas":0,"availableReplicas":0}',
    ("autoscaling", "HorizontalPodAutoscaler"): _SCALE_TARGET + ',"status":{"currentReplicas":0,"desiredReplicas":0}',
    ("batch", "CronJob"): (
        '"spec":{"schedule":"","jobTemplate":{"metadata":{"creationTimestamp":null},"spec":{'
        + _TEMPLATE
        + '}}},"status":{}'
    ),
    ("batch", "Job"): '"spec":{' + _TEMPLATE + '},"status":{}',
    ("certificates.k8s.io", "CertificateSigningRequest"): '"spec":{"request":null,"signerName":""},"status":{}',
    ("certificates.k8s.io", "ClusterTrustBundle"): '"spec":{"trustBundle":""}',
    ("certificates.k8s.io", "PodCertificateRequest"): (
        '"spec":{"signerName":"","podName":"","podUID":"","serviceAccountName":"","serviceAccountUID":"",'
        '"nodeName":"","nodeUID":"","pkixPublicKey":null,"proofOfPossession":null,"stubPKCS10Request":null},"status":{}'
    ),
    ("coordination.k8s.io", "Lease"): '"spec":{}',
    ("coordination.k8s.io", "LeaseCandidate"): '"spec":{"leaseName":"","binaryVersion":""}',
    ("discovery.k8s.io", "EndpointSlice"): '"addressType":"","endpoints":null,"ports":null',
    ("events.k8s.io", "Event"): (
        '"eventTime":null,"regarding":{},"deprecatedSource":{},"deprecatedFirstTimestamp":null,'
        '"deprecatedLastTimestamp":null'
    ),
    ("extensions", "Ingress"): '"spec":{},"status":{"loadBalancer":{}}',
    ("flowcontrol.apiserver.k8s.io", "FlowSchema"): (
        '"spec":{"priorityLevelConfiguration":{"name":""},"matchingPrecedence":0},"status":{}'
    ),
    ("flowcontrol.apiserver.k8s.io", "PriorityLevelConfiguration"): '"spec":{"type":""},"status":{}',
    ("internal.apiserver.k8s.io", "StorageVersion"): '"spec":{},"status":{}',
    ("networking.k8s.io", "IPAddress"): '"spec":{}',
    ("networking.k8s.io", "Ingress"): '"spec":{},"status":{"loadBalancer":{}}',
    ("networking.k8s.io", "IngressClass"): '"spec":{}',
    ("networking.k8s.io", "NetworkPolicy"): '"spec":{"podSelector":{}}',
    ("networking.k8s.io", "ServiceCIDR"): '"spec":{},"status":{}',
    ("node.k8s.io", "RuntimeClass"): '"handler":""',
    ("policy", "PodDisruptionBudget"): (
        '"spec":{},"status":{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}'
    ),
    ("policy", "PodSecurityPolicy"): (
        '"spec":{"seLinux":{"rule":""},"runAsUser":{"rule":""},"supplementalGroups":{},"fsGroup":{},'
        '"allowPrivilegeEscalation":false}'
    ),
    ("rbac.authorization.k8s.io", "ClusterRole"): '"rules":null',
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _ROLE_REF,
    ("rbac.authorization.k8s.io", "Role"): '"rules":null',
    ("rbac.authorization.k8s.io", "RoleBinding"): _ROLE_REF,
    ("resource.k8s.io", "DeviceClass"): '"spec":{}',
    ("resource.k8s.io", "DeviceTaintRule"): '"spec":{"taint":{"key":"","effect":""}},"status":{}',
    ("resource.k8s.io", "ResourceClaim"): _CLAIM_SPEC + ',"status":{}',
    ("resource.k8s.io", "ResourceClaimTemplate"): '"spec":{"metadata":{},' + _CLAIM_SPEC + "}",
    ("resource.k8s.io", "ResourcePoolStatusRequest"): '"spec":{"driver":""}',
    ("resource.k8s.io", "ResourceSlice"): _SLICE_SPEC + "}",
    ("scheduling.k8s.io", "PodGroup"): '"spec":{"podGroupTemplateRef":null,"schedulingPolicy":{}},"status":{}',
    ("scheduling.k8s.io", "PriorityClass"): '"value":0',
    ("scheduling.k8s.io", "Workload"): '"spec":{"podGroupTemplates":null}',
    ("storage.k8s.io", "CSIDriver"): '"spec":{}',
    ("storage.k8s.io", "CSINode"): '"spec":{"drivers":null}',
    ("storage.k8s.io", "CSIStorageCapacity"): '"storageClassName":""',
    ("storage.k8s.io", "StorageClass"): '"provisioner":""',
    ("storage.k8s.io", "VolumeAttachment"): (
        '"spec":{"attacher":"","source":{},"nodeName":""},"status":{"attached":false}'
    ),
    ("storage.k8s.io", "VolumeAttributesClass"): '"driverName":""',
    (
        "storagemigration.k8s.io",
        "StorageVersionMigration",
    ): '"spec":{"resource":{"group":"","resource":""}},"status":{}',
}

# Kinds that showed other fields before a minor version: (group, kind) -> (minor, form), the oldest first.
_ZERO_BEFORE = {
    ("", "ReplicationController"): [(33, '"spec":{"replicas":0},"status":{"replicas":0}')],
    ("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"): [(28, '"spec":{}')],
    ("apps", "StatefulSet"): [(22, _STATEFUL_SET_SPEC + ',"status":{"replicas":0}')],
    ("networking.k8s.io", "NetworkPolicy"): [
        (24, '"spec":{"podSelector":{}}'),
        (28, '"spec":{"podSelector":{}},"status":{}'),
    ],
}

# Versions of a group that differ from the others.
_ZERO_OF_VERSION = {
    ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition"): (
        '"spec":{"group":"","names":' + _NAMES + ',"scope":""},'
        '"status":{"conditions":null,"acceptedNames":' + _NAMES + ',"storedVersions":null}'
    ),
    ("autoscaling", "v2", "HorizontalPodAutoscaler"): (
        _SCALE_TARGET + ',"status":{"desiredReplicas":0,"currentMetrics":null}'
    ),
    ("autoscaling", "v2beta1", "HorizontalPodAutoscaler"): _HPA_BETA,
    ("autoscaling", "v2beta2", "HorizontalPodAutoscaler"): _HPA_BETA,
    ("node.k8s.io", "v1alpha1", "RuntimeClass"): '"spec":{"runtimeHandler":""}',
}

# The same before a minor version.
_ZERO_OF_VERSION_BEFORE = {
    ("resource.k8s.io", "v1alpha3", "ResourceSlice"): (35, _SLICE_SPEC + ',"devices":null}'),
    ("resource.k8s.io", "v1beta1", "ResourceSlice"): (35, _SLICE_SPEC + ',"devices":null}'),
}

# A DaemonSet's template generation lives in an annotation, which its zero object has too.
_ZERO_ANNOTATIONS = {("apps", "DaemonSet"): b'"deprecated.daemonset.template.generation":"0"'}

_RV = re.compile(rb'"resourceVersion":"\d*"')
_ANNOTATIONS = re.compile(rb'"annotations":\{([^{}]*)\}')


@dataclass(frozen=True, slots=True)
class BookmarkForm:
    """What is constant about a resource's bookmarks.

    `head` + resourceVersion and annotations + `tail` is the object.
    `struct` says that members stand in the order of Go's ObjectMeta; else (custom resources) by name.
    `null_time` is whether `"creationTimestamp":null` is printed. `annotations` are those of the zero object itself.
    """

    head: bytes
    tail: bytes
    struct: bool
    null_time: bool
    annotations: bytes = b""

    def object(self, rv: int, initial_end: bool = False) -> bytes:
        """The JSON of the zero object at `rv`; `initial_end` marks the end of the initial events."""
        notes = b",".join(filter(None, (self.annotations, INITIAL_EVENTS_END if initial_end else b"")))
        if self.struct:
            return self.head + _struct_metadata(rv, notes, self.null_time) + self.tail
        annotations = b'"annotations":{' + notes + b"}," if notes else b""
        return self.head + b'{%b"resourceVersion":"%d"}' % (annotations, rv) + self.tail

    def metadata(self, rv: int, initial_end: bool = False) -> bytes:
        """The `metadata` of the same bookmark as PartialObjectMetadata, which is a struct for every resource."""
        return _struct_metadata(rv, INITIAL_EVENTS_END if initial_end else b"", self.null_time)


def bookmark_form(gvr: GVR, kind: str, *, custom: bool, minor: int, template: bytes = b"") -> BookmarkForm:
    """How an API server of version 1.`minor` writes bookmarks of the resource.

    `template` is the object of a bookmark that upstream sent for it, if it has sent one yet.
    """
    null_time = minor < _OMITS_ZERO_TIMES
    if custom:
        head = f'{{"apiVersion":"{gvr.api_version}","kind":"{kind}","metadata":'.encode()
        return BookmarkForm(head, b"}", struct=False, null_time=null_time)
    if template and (learned := _from_template(template, null_time)):
        return learned
    tail = _zero(gvr, kind, minor)
    if not null_time:
        tail = tail.replace('{"creationTimestamp":null}', "{}")
    return BookmarkForm(
        head=f'{{"kind":"{kind}","apiVersion":"{gvr.api_version}","metadata":'.encode(),
        tail=(f",{tail}}}" if tail else "}").encode(),
        struct=True,
        null_time=null_time,
        annotations=_ZERO_ANNOTATIONS.get((gvr.group, kind), b""),
    )


def _zero(gvr: GVR, kind: str, minor: int) -> str:
    """What follows `metadata` in a zero object of a built-in kind."""
    before, text = _ZERO_OF_VERSION_BEFORE.get((gvr.group, gvr.version, kind), (0, ""))
    if minor < before:
        return text
    if text := _ZERO_OF_VERSION.get((gvr.group, gvr.version, kind), ""):
        return text
    older = (text for before, text in _ZERO_BEFORE.get((gvr.group, kind), []) if minor < before)
    return next(older, _ZERO.get((gvr.group, kind), ""))


def _struct_metadata(rv: int, notes: bytes, null_time: bool) -> bytes:
    time = b',"creationTimestamp":null' if null_time else b""
    annotations = b',"annotations":{' + notes + b"}" if notes else b""
    return b'{"resourceVersion":"%d"%b%b}' % (rv, time, annotations)


def _from_template(template: bytes, null_time: bool) -> BookmarkForm | None:
    """Take a bookmark's object apart around its `metadata`; None where it is not shaped as expected."""
    start = template.find(b'"metadata":{')
    if start < 0:
        return None
    start += len(b'"metadata":')
    end, depth = start, 0
    # A zero object's metadata holds no braces inside strings: annotation keys and digits only.
    while end < len(template):
        depth += {0x7B: 1, 0x7D: -1}.get(template[end], 0)
        end += 1
        if depth == 0:
            break
    metadata = template[start:end]
    if depth or not _RV.search(metadata):
        return None
    found = _ANNOTATIONS.search(metadata)
    notes = [note for note in found[1].split(b",") if note and note != INITIAL_EVENTS_END] if found else []
    return BookmarkForm(
        template[:start], template[end:], struct=True, null_time=null_time, annotations=b",".join(notes)
    )
