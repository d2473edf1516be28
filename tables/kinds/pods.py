"""Pods: one pass over the container statuses gives Ready, Status and Restarts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kube.version import ServerVersion
from tables.cell import Cell, Moving, Object
from tables.duration import ZERO_INSTANT, instant
from tables.fields import NONE, since
from tables.printer import Column, KindTable

_GATED = ServerVersion(1, 26)
"""From here on a pod that waits for its scheduling gates says so."""
_SIDECARS = ServerVersion(1, 28)
"""From here on init containers that go on running count as containers."""
_FINISHED_STAYS = ServerVersion(1, 31)
"""From here on a finished pod that is being deleted does not read Terminating."""
_ERROR_REASON = ServerVersion(1, 35)
"""From here on a failed container's reason is shown before another's `Completed`."""

_SUCCEEDED = (
    b',"conditions":[{"type":"Completed","status":"True","reason":"Succeeded",'
    b'"message":"The pod has completed successfully."}]'
)
_FAILED = b',"conditions":[{"type":"Completed","status":"True","reason":"Failed","message":"The pod failed."}]'
_NOTHING: Object = {}


class PodSummary(NamedTuple):
    """What a pod's cells show. `last_restart` is in Unix seconds, None if it is not known."""

    metadata: Object
    spec: Object
    status: Object
    phase: str
    reason: str
    ready: int
    total: int
    restarts: int
    last_restart: float | None


class _Tally:
    """Sums over container statuses."""

    __slots__ = ("last_restart", "ready", "reason", "restarts")

    def __init__(self, reason: str) -> None:
        self.reason = reason
        self.ready = 0
        self.restarts = 0
        self.last_restart: float | None = None

    def restarted(self, container: Object) -> None:
        self.restarts += container.get("restartCount") or 0
        self.last_restart = later(self.last_restart, container)


def later(moment: float | None, container: Object) -> float | None:
    """The later of `moment` and the end of the container's previous run."""
    previous = (container.get("lastState") or _NOTHING).get("terminated")
    if not previous:
        return moment
    finished = instant(previous.get("finishedAt") or "")
    if finished is None or finished == ZERO_INSTANT or (moment is not None and finished <= moment):
        return moment
    return finished


def summarize(pod: Object, version: ServerVersion) -> PodSummary:
    """The one pass over a pod."""
    spec, status = pod.get("spec") or _NOTHING, pod.get("status") or _NOTHING
    metadata = pod.get("metadata") or _NOTHING
    conditions = status.get("conditions") or ()
    phase = status.get("phase") or ""
    tally = _Tally(status.get("reason") or phase)
    if version >= _GATED:
        for condition in conditions:
            if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
                tally.reason = "SchedulingGated"
    total = len(spec.get("containers") or ())
    init_containers = spec.get("initContainers")
    sidecars: set[str] = set()
    if init_containers and version >= _SIDECARS:
        sidecars = {one.get("name") or "" for one in init_containers if one.get("restartPolicy") == "Always"}
        total += sum(one.get("restartPolicy") == "Always" for one in init_containers)

    initializing = False
    if init_statuses := status.get("initContainerStatuses"):
        sidecar_tally = _Tally("")
        initializing = _init_containers(init_statuses, len(init_containers or ()), sidecars, tally, sidecar_tally)
        if not initializing or (version >= _SIDECARS and _is_true(conditions, "Initialized")):
            initializing = False
            tally.restarts = sidecar_tally.restarts
            if version >= _SIDECARS:
                tally.last_restart = sidecar_tally.last_restart
    if not initializing:
        _containers(status.get("containerStatuses") or (), conditions, tally, version)

    if metadata.get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            tally.reason = "Unknown"
        elif version < _FINISHED_STAYS or phase not in ("Succeeded", "Failed"):
            tally.reason = "Terminating"
    return PodSummary(
        metadata, spec, status, phase, tally.reason, tally.ready, total, tally.restarts, tally.last_restart
    )


def _is_true(conditions: Sequence[Object], kind: str) -> bool:
    """Whether any condition of the type is True."""
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _init_containers(statuses: list[Object], declared: int, sidecars: set[str], tally: _Tally, only: _Tally) -> bool:
    """Take the init containers' statuses in; whether the pod is still initializing.

    `only` sums up the sidecars alone.
    """
    for index, container in enumerate(statuses):
        tally.restarted(container)
        sidecar = (container.get("name") or "") in sidecars
        if sidecar:
            only.restarted(container)
        state = container.get("state") or _NOTHING
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            if container.get("ready"):
                tally.ready += 1
            continue
        if terminated is not None:
            tally.reason = "Init:" + (terminated.get("reason") or _exit(terminated))
        elif waiting is not None and waiting.get("reason") and waiting["reason"] != "PodInitializing":
            tally.reason = f"Init:{waiting['reason']}"
        else:
            tally.reason = f"Init:{index}/{declared}"
        return True
    return False


def _containers(
    statuses: Sequence[Object], conditions: Sequence[Object], tally: _Tally, version: ServerVersion
) -> None:
    """Take the containers' statuses in, last to first: the first with a reason to show wins."""
    running = False
    error_reason = ""
    for container in reversed(statuses):
        tally.restarted(container)
        state = container.get("state") or _NOTHING
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if waiting is not None and waiting.get("reason"):
            tally.reason = waiting["reason"]
        elif terminated is not None:
            tally.reason = terminated.get("reason") or _exit(terminated)
            if terminated.get("exitCode"):
                error_reason = tally.reason
        elif container.get("ready") and state.get("running") is not None:
            running = True
            tally.ready += 1
    if tally.reason != "Completed":
        return
    if running and _is_true(conditions, "Ready"):
        tally.reason = "Running"
    elif error_reason and version >= _ERROR_REASON:
        tally.reason = error_reason
    elif running:
        tally.reason = "NotReady"


def _exit(terminated: Object) -> str:
    """How a container ended that gives no reason."""
    if signal := terminated.get("signal"):
        return f"Signal:{signal}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"


def _conditions(pod: PodSummary) -> bytes:
    if pod.phase == "Succeeded":
        return _SUCCEEDED
    return _FAILED if pod.phase == "Failed" else b""


def _restarts(pod: PodSummary) -> Cell:
    if pod.last_restart is None:
        return str(pod.restarts)
    return Moving(pod.last_restart, f"{pod.restarts} (", " ago)")


def _restarts_unless_none(pod: PodSummary) -> Cell:
    return _restarts(pod) if pod.restarts else "0"


def _ip(pod: PodSummary) -> Cell:
    ips = pod.status.get("podIPs")
    return (ips[0].get("ip") if ips else pod.status.get("podIP")) or NONE


def _readiness_gates(pod: PodSummary) -> Cell:
    gates = pod.spec.get("readinessGates")
    if not gates:
        return NONE
    first: dict[str, str] = {}
    for condition in pod.status.get("conditions") or ():
        first.setdefault(condition.get("type") or "", condition.get("status") or "")
    return f"{sum(first.get(gate.get('conditionType') or '') == 'True' for gate in gates)}/{len(gates)}"


PODS = KindTable(
    kind="Pod",
    resources=("pods.v1",),
    summarize=summarize,
    conditions=_conditions,
    columns=(
        Column("Name", lambda pod: pod.metadata.get("name") or "", format="name"),
        Column("Ready", lambda pod: f"{pod.ready}/{pod.total}"),
        Column("Status", lambda pod: pod.reason),
        Column("Restarts", lambda pod: pod.restarts, "integer", until="1.21"),
        Column("Restarts", _restarts, since="1.22", until="1.27"),
        Column("Restarts", _restarts_unless_none, since="1.28"),
        Column("Age", lambda pod: since(pod.metadata.get("creationTimestamp"))),
        Column("IP", _ip, priority=1),
        Column("Node", lambda pod: pod.spec.get("nodeName") or NONE, priority=1),
        Column("Nominated Node", lambda pod: pod.status.get("nominatedNodeName") or NONE, priority=1),
        Column("Readiness Gates", _readiness_gates, priority=1),
    ),
)
TABLES = (PODS,)
