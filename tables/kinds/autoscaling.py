"""Horizontal pod autoscalers in three forms of JSON: v2 (and v2beta2), v2beta1, and v1 with its annotations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, cast

import msgspec

from kube.version import ServerVersion
from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, UNKNOWN, UNSET, annotation, items, mapping, path, spec, status
from tables.printer import Column, KindTable

_MOST = 2
_NAMES_RESOURCES = ServerVersion(1, 30)
"""From here on a resource metric is shown with the name of its resource."""

_SOURCES = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _average(target: Object, current: Object | None) -> str:
    """`current/target` of average values; a reading without one shows Go's nil."""
    reading = UNKNOWN if current is None else _quantity(current, "averageValue")
    return f"{reading}/{_quantity(target, 'averageValue')}"


def _quantity(holder: Object, key: str, absent: str = "<nil>") -> str:
    value: str | None = holder.get(key)
    return absent if value is None else value


def _metric(metric: Object, reading: Object, *, names: bool) -> str:
    """One metric: the present value over the wanted one."""
    kind = metric.get("type") or ""
    if kind not in _SOURCES:
        return "<unknown type>"
    source = mapping(metric, _SOURCES[kind])
    target = mapping(source, "target")
    present = reading.get(_SOURCES[kind])
    current = None if present is None else mapping(present, "current")
    if kind == "Pods":
        return _average(target, current)
    if kind in ("External", "Object"):
        if target.get("averageValue") is not None:
            return f"{_quantity(current or {}, 'averageValue', UNKNOWN)}/{target['averageValue']} (avg)"
        value = UNKNOWN if current is None else _quantity(current, "value")
        return f"{value}/{_quantity(target, 'value')}"
    prefix = f"{source.get('name') or ''}: " if names else ""
    if target.get("averageValue") is not None:
        return prefix + _average(target, current)
    used, wanted = (current or {}).get("averageUtilization"), target.get("averageUtilization")
    return f"{prefix}{UNKNOWN if used is None else f'{used}%'}/{'<auto>' if wanted is None else f'{wanted}%'}"


def _targets(metrics: list[Object], readings: list[Object], version: ServerVersion) -> str:
    if not metrics:
        return NONE
    texts = [
        _metric(metric, readings[index] if index < len(readings) else {}, names=version >= _NAMES_RESOURCES)
        for index, metric in enumerate(metrics[:_MOST])
    ]
    more = f" + {len(metrics) - _MOST} more..." if len(metrics) > _MOST else ""
    return ", ".join(texts) + more


def _v2(hpa: Object, version: ServerVersion) -> str:
    return _targets(items(spec(hpa), "metrics"), items(status(hpa), "currentMetrics"), version)


_V1_KEYS = {
    "targetAverageUtilization": "averageUtilization",
    "targetAverageValue": "averageValue",
    "targetValue": "value",
    "averageValue": "averageValue",
    "currentAverageUtilization": "averageUtilization",
    "currentAverageValue": "averageValue",
    "currentValue": "value",
}


def _as_v2(metrics: list[Object], form: str) -> list[Object]:
    """Metrics of the v1 and v2beta1 form as v2 has them; `form` is what holds the values: target or current."""
    return [_metric_as_v2(metric, form) for metric in metrics]


def _metric_as_v2(metric: Object, form: str) -> Object:
    kind = metric.get("type") or ""
    source = metric.get(_SOURCES.get(kind, ""))
    if source is None:
        return metric
    values = {_V1_KEYS[key]: value for key, value in source.items() if key in _V1_KEYS and value is not None}
    return {"type": kind, _SOURCES[kind]: {"name": source.get("name"), form: values}}


def _v2beta1(hpa: Object, version: ServerVersion) -> str:
    metrics, readings = items(spec(hpa), "metrics"), items(status(hpa), "currentMetrics")
    return _targets(_as_v2(metrics, "target"), _as_v2(readings, "current"), version)


class _AnnotatedMetric(TypedDict, total=False):
    """What an annotation must be at least, so that it is read at all: users can write anything there."""

    type: str
    external: dict[str, Any] | None
    pods: dict[str, Any] | None
    object: dict[str, Any] | None
    resource: dict[str, Any] | None
    containerResource: dict[str, Any] | None


_decode_metrics = msgspec.json.Decoder(list[_AnnotatedMetric] | None).decode


def _annotated(hpa: Object, key: str) -> list[Object] | None:
    """The metrics kept in an annotation; None where there are none that can be read."""
    text = annotation(hpa, f"autoscaling.alpha.kubernetes.io/{key}")
    try:
        return None if text is None else cast("list[Object]", _decode_metrics(text) or [])
    except msgspec.DecodeError:
        return None  # upstream reads such an annotation as absent


def _v1(hpa: Object, version: ServerVersion) -> str:
    metrics = _as_v2(_annotated(hpa, "metrics") or [], "target")
    wanted = spec(hpa).get("targetCPUUtilizationPercentage")
    if wanted is not None:
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": wanted}}})
    readings = _annotated(hpa, "current-metrics")
    if readings is None:
        used = status(hpa).get("currentCPUUtilizationPercentage")
        cpu = {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": used}}}
        return _targets(metrics, [] if used is None else [cpu], version)
    return _targets(metrics, _as_v2(readings, "current"), version)


def _reference(hpa: Object) -> Cell:
    target = mapping(spec(hpa), "scaleTargetRef")
    return f"{target.get('kind') or ''}/{target.get('name') or ''}"


def _minimum(hpa: Object) -> Cell:
    least = spec(hpa).get("minReplicas")
    return UNSET if least is None else str(least)


def _table(versions: tuple[str, ...], targets: Callable[[Object, ServerVersion], str], until: str) -> KindTable:
    return KindTable(
        kind="HorizontalPodAutoscaler",
        resources=tuple(f"horizontalpodautoscalers.{version}.autoscaling" for version in versions),
        until=until,
        summarize=lambda hpa, version: (hpa, targets(hpa, version)),
        columns=(
            Column("Name", lambda pair: NAME.cell(pair[0]), format="name"),
            Column("Reference", lambda pair: _reference(pair[0])),
            Column("Targets", lambda pair: pair[1]),
            Column("MinPods", lambda pair: _minimum(pair[0])),
            Column("MaxPods", lambda pair: path("spec.maxReplicas", 0)(pair[0])),
            Column("Replicas", lambda pair: path("status.currentReplicas", 0)(pair[0])),
            Column("Age", lambda pair: AGE.cell(pair[0])),
        ),
    )


HORIZONTAL_POD_AUTOSCALERS = _table(("v2", "v2beta2"), _v2, "99.0")
HORIZONTAL_POD_AUTOSCALERS_V2BETA1 = _table(("v2beta1",), _v2beta1, "99.0")
# Servers that store v2 lose on the way to v1 what the Targets cell shows: their Tables are upstream's own.
HORIZONTAL_POD_AUTOSCALERS_V1 = _table(("v1",), _v1, "1.23")

TABLES = (HORIZONTAL_POD_AUTOSCALERS, HORIZONTAL_POD_AUTOSCALERS_V2BETA1, HORIZONTAL_POD_AUTOSCALERS_V1)
