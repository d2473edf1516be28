"""Dynamic resource allocation: the kinds of resource.k8s.io, whose forms changed with 1.31."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, items, mapping, path, since, spec, status, terminating
from tables.printer import Column, KindTable

_GROUP = "resource.k8s.io"
_STRUCTURED = ("v1", "v1beta2", "v1beta1", "v1alpha3")
"""The versions since 1.31, with structured parameters."""
_CLASSIC = ("v1alpha2", "v1alpha1")
"""The versions before, where a driver's controller allocated."""


def _resources(plural: str, versions: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{plural}.{version}.{_GROUP}" for version in versions)


def _state(claim: Object) -> Cell:
    states = ["deleted"] if terminating(claim) else []
    if status(claim).get("allocation") is None:
        return ",".join(states) or "pending"
    states.append("allocated")
    if status(claim).get("reservedFor"):
        states.append("reserved")
    return ",".join(states)


def _state_with_deallocation(claim: Object) -> Cell:
    """Up to 1.31 an allocation that nobody uses is on its way out when the claim is, or when that was asked for."""
    state = _state(claim)
    held = status(claim)
    if held.get("allocation") is None or held.get("reservedFor"):
        return state
    return f"{state},deallocating" if terminating(claim) or held.get("deallocationRequested") else state


_CLAIM_STATES = (Column("State", _state_with_deallocation, until="1.31"), Column("State", _state, since="1.32"))

RESOURCE_CLAIMS = KindTable(
    kind="ResourceClaim",
    resources=_resources("resourceclaims", _STRUCTURED + _CLASSIC),
    columns=(
        NAME,
        Column("ResourceClassName", path("spec.resourceClassName"), until="1.30"),
        Column("AllocationMode", path("spec.allocationMode"), until="1.30"),
        *_CLAIM_STATES,
        AGE,
    ),
)

RESOURCE_CLAIM_TEMPLATES = KindTable(
    kind="ResourceClaimTemplate",
    resources=_resources("resourceclaimtemplates", _STRUCTURED + _CLASSIC),
    columns=(
        NAME,
        Column("ResourceClassName", path("spec.spec.resourceClassName"), until="1.30"),
        Column("AllocationMode", path("spec.spec.allocationMode"), until="1.30"),
        AGE,
    ),
)

DEVICE_CLASSES = KindTable(kind="DeviceClass", resources=_resources("deviceclasses", _STRUCTURED), columns=(NAME, AGE))

RESOURCE_SLICES = KindTable(
    kind="ResourceSlice",
    resources=_resources("resourceslices", _STRUCTURED),
    columns=(
        NAME,
        Column("Node", path("spec.nodeName")),
        Column("Driver", path("spec.driver")),
        Column("Pool", path("spec.pool.name")),
        AGE,
    ),
)

RESOURCE_SLICES_CLASSIC = KindTable(
    kind="ResourceSlice",
    resources=("resourceslices.v1alpha2.resource.k8s.io",),
    columns=(NAME, Column("Node", path("nodeName")), Column("Driver", path("driverName")), AGE),
)

RESOURCE_CLASSES = KindTable(
    kind="ResourceClass",
    resources=_resources("resourceclasses", _CLASSIC),
    columns=(NAME, Column("DriverName", path("driverName")), AGE),
)

POD_SCHEDULINGS = KindTable(
    kind="PodScheduling",
    resources=("podschedulings.v1alpha1.resource.k8s.io",),
    columns=(NAME, Column("SelectedNode", path("spec.selectedNode")), AGE),
)

POD_SCHEDULING_CONTEXTS = KindTable(
    kind="PodSchedulingContext",
    resources=_resources("podschedulingcontexts", ("v1alpha3", "v1alpha2")),
    columns=(NAME, Column("SelectedNode", path("spec.selectedNode")), AGE),
)


def _generated_from(parameters: Object) -> Cell:
    source = parameters.get("generatedFrom")
    if source is None:
        return ""
    return f"{source.get('kind') or ''}.{source.get('apiGroup') or ''} {source.get('name') or ''}"


def _parameters(kind: str, plural: str) -> KindTable:
    return KindTable(
        kind=kind,
        resources=(f"{plural}.v1alpha2.{_GROUP}",),
        columns=(NAME, Column("GeneratedFrom", _generated_from), AGE),
    )


DEVICE_TAINT_RULES = KindTable(
    kind="DeviceTaintRule",
    resources=_resources("devicetaintrules", ("v1", "v1beta2", "v1beta1", "v1alpha3")),
    columns=(
        NAME,
        Column("Key", path("spec.taint.key")),
        Column("Value", path("spec.taint.value")),
        Column("Effect", path("spec.taint.effect")),
        Column("TimeAdded", lambda rule: since(mapping(spec(rule), "taint").get("timeAdded"), "")),
        AGE,
    ),
)


def _decided(request: Object) -> Object | None:
    """The first condition that ends the request."""
    conditions: list[Object] = items(status(request), "conditions")
    for condition in conditions:
        if condition.get("type") in ("Complete", "Failed") and condition.get("status") == "True":
            return condition
    return None


def _request_status(request: Object) -> Cell:
    decided = _decided(request)
    if decided is None:
        return "Pending"
    pools, expected = len(items(status(request), "pools")), status(request).get("poolCount") or 0
    if decided["type"] == "Complete" and expected > pools:
        return f"Complete ({pools}/{expected} pools)"
    return str(decided["type"])


def _sum(request: Object, key: str) -> Cell:
    """A number of devices over all pools; a dash while there is no answer, or where there will be none."""
    decided = _decided(request)
    if not request.get("status") or (decided is not None and decided["type"] == "Failed"):
        return "-"
    return str(sum(pool.get(key) or 0 for pool in items(status(request), "pools")))


def _errors(request: Object) -> Cell:
    decided = _decided(request)
    if not request.get("status") or (decided is not None and decided["type"] == "Failed"):
        return "-"
    return str(sum(bool(pool.get("validationError")) for pool in items(status(request), "pools")))


def _completed(request: Object) -> Cell:
    decided = _decided(request)
    if decided is None or decided["type"] != "Complete":
        return NONE
    return since(decided.get("lastTransitionTime"))


RESOURCE_POOL_STATUS_REQUESTS = KindTable(
    kind="ResourcePoolStatusRequest",
    resources=("resourcepoolstatusrequests.v1alpha3.resource.k8s.io",),
    columns=(
        NAME,
        Column("Driver", path("spec.driver")),
        Column("Total", lambda request: _sum(request, "totalDevices")),
        Column("Available", lambda request: _sum(request, "availableDevices")),
        Column("Allocated", lambda request: _sum(request, "allocatedDevices")),
        Column("Unavailable", lambda request: _sum(request, "unavailableDevices")),
        Column("Errors", _errors),
        Column("Pools", path("status.poolCount", 0), "integer"),
        Column("Status", _request_status),
        Column("Completed", _completed),
    ),
)

TABLES = (
    RESOURCE_CLAIMS,
    RESOURCE_CLAIM_TEMPLATES,
    DEVICE_CLASSES,
    RESOURCE_SLICES,
    RESOURCE_SLICES_CLASSIC,
    RESOURCE_CLASSES,
    POD_SCHEDULINGS,
    POD_SCHEDULING_CONTEXTS,
    _parameters("ResourceClaimParameters", "resourceclaimparameters"),
    _parameters("ResourceClassParameters", "resourceclassparameters"),
    DEVICE_TAINT_RULES,
    RESOURCE_POOL_STATUS_REQUESTS,
)
