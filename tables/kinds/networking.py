"""Ingresses, network policies, endpoint slices, and the addresses that services are given."""

from __future__ import annotations

from tables.cell import Cell, Object
from tables.fields import AGE, NAME, NONE, UNSET, age, annotation, first_and_more, items, name, path, spec
from tables.gotext import lower
from tables.kinds.services import load_balancer_addresses
from tables.printer import Column, KindTable
from tables.selectors import selector_text

_MOST = 3


def _hosts(ingress: Object) -> Cell:
    """The first hosts; what is left out is counted in rules, also those without a host."""
    rules = items(spec(ingress), "rules")
    hosts: list[str] = []
    more = False
    for rule in rules:
        if len(hosts) == _MOST:
            more = True
            break
        if host := rule.get("host"):
            hosts.append(host)
    if not hosts:
        return "*"
    return first_and_more(hosts, _MOST, len(rules) if more else 0)


INGRESSES = KindTable(
    kind="Ingress",
    resources=("ingresses.v1.networking.k8s.io", "ingresses.v1beta1.networking.k8s.io", "ingresses.v1beta1.extensions"),
    columns=(
        NAME,
        Column("Class", path("spec.ingressClassName", NONE)),
        Column("Hosts", _hosts),
        Column("Address", lambda ingress: ",".join(load_balancer_addresses(ingress))),
        Column("Ports", lambda ingress: "80, 443" if spec(ingress).get("tls") else "80"),
        AGE,
    ),
)


def _parameters(ingress_class: Object) -> Cell:
    parameters = spec(ingress_class).get("parameters")
    if parameters is None:
        return NONE
    group = parameters.get("apiGroup")
    kind = parameters.get("kind") or ""
    return f"{kind if group is None else f'{kind}.{group}'}/{parameters.get('name') or ''}"


def _name_and_default(ingress_class: Object) -> Cell:
    if annotation(ingress_class, "ingressclass.kubernetes.io/is-default-class") == "true":
        return f"{name(ingress_class)} (default)"
    return name(ingress_class)


INGRESS_CLASSES = KindTable(
    kind="IngressClass",
    resources=("ingressclasses.v1.networking.k8s.io", "ingressclasses.v1beta1.networking.k8s.io"),
    columns=(
        Column("Name", name, format="name", until="1.35"),
        Column("Name", _name_and_default, format="name", since="1.36"),
        Column("Controller", path("spec.controller")),
        Column("Parameters", _parameters),
        AGE,
    ),
)


def _pod_selector(policy: Object) -> Cell:
    return selector_text(spec(policy).get("podSelector"), empty=NONE, nothing=NONE, invalid="<error>")


NETWORK_POLICIES = KindTable(
    kind="NetworkPolicy",
    resources=("networkpolicies.v1.networking.k8s.io",),
    columns=(NAME, Column("Pod-Selector", _pod_selector), AGE),
)


def _slice_port(port: Object) -> str:
    """A port's number, else its name, else every port."""
    shown = port.get("port")
    if shown is None:
        shown = port.get("name")
    return "*" if shown is None else str(shown)


def _slice_ports(endpoint_slice: Object) -> Cell:
    ports = items(endpoint_slice, "ports")
    return first_and_more([_slice_port(port) for port in ports[:_MOST]], _MOST, len(ports)) or UNSET


def _slice_addresses(endpoint_slice: Object) -> Cell:
    addresses = [one for endpoint in items(endpoint_slice, "endpoints") for one in items(endpoint, "addresses")]
    return first_and_more(addresses, _MOST, len(addresses)) or UNSET


ENDPOINT_SLICES = KindTable(
    kind="EndpointSlice",
    resources=("endpointslices.v1.discovery.k8s.io", "endpointslices.v1beta1.discovery.k8s.io"),
    columns=(
        NAME,
        Column("AddressType", path("addressType")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_addresses),
        AGE,
    ),
)

SERVICE_CIDRS = KindTable(
    kind="ServiceCIDR",
    resources=tuple(f"servicecidrs.{version}.networking.k8s.io" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(NAME, Column("CIDRs", lambda cidr: ",".join(items(spec(cidr), "cidrs"))), AGE),
)


def _parent(address: Object) -> Cell:
    parent = spec(address).get("parentRef")
    if parent is None:
        return NONE
    resource, group = parent.get("resource") or "", parent.get("group")
    kind = lower(f"{resource}.{group}" if group else resource)
    return "/".join(filter(None, (kind, parent.get("namespace")))) + f"/{parent.get('name') or ''}"


IP_ADDRESSES = KindTable(
    kind="IPAddress",
    resources=tuple(f"ipaddresses.{version}.networking.k8s.io" for version in ("v1", "v1beta1", "v1alpha1")),
    columns=(NAME, Column("ParentRef", _parent)),
    beyond=(age,),  # upstream prints it, and declares no column for it
)

TABLES = (INGRESSES, INGRESS_CLASSES, NETWORK_POLICIES, ENDPOINT_SLICES, SERVICE_CIDRS, IP_ADDRESSES)
