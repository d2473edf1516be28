"""Services and Endpoints."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import (
    AGE,
    NAME,
    NONE,
    first_and_more,
    items,
    labels_text,
    mapping,
    path,
    spec,
    status,
)
from tables.printer import Column, KindTable

_MOST_ENDPOINTS = 3


def load_balancer_addresses(obj: Object) -> list[str]:
    """The addresses in an object's load balancer status: each entry's IP, else its host name."""
    entries = items(mapping(status(obj), "loadBalancer"), "ingress")
    return sorted({address for entry in entries if (address := entry.get("ip") or entry.get("hostname"))})


def _external_ip(obj: Object) -> Cell:
    service = spec(obj)
    external = items(service, "externalIPs")
    match service.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or NONE
        case "LoadBalancer":
            return ",".join(load_balancer_addresses(obj) + external) or "<pending>"
        case "ExternalName":
            return service.get("externalName") or ""
    return "<unknown>"


def _port(port: Object) -> str:
    node_port = port.get("nodePort") or 0
    number = f"{port.get('port') or 0}:{node_port}" if node_port > 0 else f"{port.get('port') or 0}"
    return f"{number}/{port.get('protocol') or ''}"


def _cluster_ip(obj: Object) -> Cell:
    service = spec(obj)
    addresses = service.get("clusterIPs")
    return (addresses[0] if addresses else service.get("clusterIP")) or NONE


SERVICES = KindTable(
    kind="Service",
    resources=("services.v1",),
    columns=(
        NAME,
        Column("Type", path("spec.type")),
        Column("Cluster-IP", _cluster_ip),
        Column("External-IP", _external_ip),
        Column("Port(s)", lambda obj: ",".join(map(_port, items(spec(obj), "ports"))) or NONE),
        AGE,
        Column("Selector", lambda obj: labels_text(spec(obj).get("selector")), priority=1),
    ),
)


def _endpoints(obj: Object) -> Cell:
    subsets = items(obj, "subsets")
    if not subsets:
        return NONE
    shown: list[str] = []
    total = 0
    for subset in subsets:
        addresses = items(subset, "addresses")
        for port in items(subset, "ports") or (None,):
            total += len(addresses)
            shown.extend(_address(one.get("ip") or "", port) for one in addresses[: _MOST_ENDPOINTS - len(shown)])
    return first_and_more(shown, _MOST_ENDPOINTS, total)


def _address(ip: str, port: Object | None) -> str:
    if port is None:
        return ip
    return f"[{ip}]:{port.get('port') or 0}" if ":" in ip or "%" in ip else f"{ip}:{port.get('port') or 0}"


ENDPOINTS = KindTable(
    kind="Endpoints", resources=("endpoints.v1",), columns=(NAME, Column("Endpoints", _endpoints), AGE)
)

TABLES = (SERVICES, ENDPOINTS)
