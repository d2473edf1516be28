from __future__ import annotations

import pytest

from informers.coverage import Pattern, PatternError, cover
from informers.settings import DEFAULT_RESOURCES
from kube.resources import GVR, Resource

WATCHABLE = frozenset(("get", "list", "watch"))
SERVED = [
    "pods.v1", "secrets.v1", "namespaces.v1", "events.v1", "configmaps.v1", "deployments.v1.apps",
    "events.v1.events.k8s.io", "leases.v1.coordination.k8s.io", "cronjobs.v1beta1.batch", "jobs.v1.batch",
    "horizontalpodautoscalers.v2.autoscaling", "horizontalpodautoscalers.v1.autoscaling",
    "roles.v1.rbac.authorization.k8s.io", "customresourcedefinitions.v1.apiextensions.k8s.io",
    "tenants.v1beta2.capsule.clastix.io", "widgets.v1.shop.example.com",
]  # fmt: skip
PREFERRED = {GVR.parse(text) for text in SERVED} - {GVR.parse("horizontalpodautoscalers.v1.autoscaling")}
ALWAYS = {
    "namespaces.v1", "roles.v1.rbac.authorization.k8s.io", "customresourcedefinitions.v1.apiextensions.k8s.io",
    "tenants.v1beta2.capsule.clastix.io",
}  # fmt: skip


def covered(*patterns: str) -> list[str]:
    """What these patterns cover of SERVED, in order, and of a resource that cannot be watched."""
    served = [Resource(GVR.parse(text), "Kind", True, WATCHABLE) for text in SERVED]
    served.append(Resource(GVR("", "v1", "componentstatuses"), "ComponentStatus", False, frozenset(("get", "list"))))
    return [str(resource.gvr) for resource in cover([Pattern.parse(text) for text in patterns], served, PREFERRED)[0]]


def test_default() -> None:
    """Everything that can be followed, in its preferred version, but secrets, leases and the second kind of events."""
    assert set(covered(*DEFAULT_RESOURCES)) == set(SERVED) - {
        "secrets.v1", "leases.v1.coordination.k8s.io", "events.v1.events.k8s.io",
        "horizontalpodautoscalers.v1.autoscaling",
    }  # fmt: skip


def test_namespaces_come_first() -> None:
    """Namespaces are synced first, then what scopes are computed from, then the rest."""
    order = covered("*")
    assert order[0] == "namespaces.v1"
    assert set(order[: len(ALWAYS)]) == ALWAYS


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["pods"], {"pods.v1"}),
        (["*.apps"], {"deployments.v1.apps"}),
        (["*.batch"], {"cronjobs.v1beta1.batch", "jobs.v1.batch"}),
        (["horizontalpodautoscalers"], {"horizontalpodautoscalers.v2.autoscaling"}),
        (["horizontalpodautoscalers.v1.autoscaling"], {"horizontalpodautoscalers.v1.autoscaling"}),
        (["events.v1"], {"events.v1"}),
        (["*.v1", "!pods", "!events"], {"secrets.v1", "configmaps.v1"}),
        (["*.example.com"], set()),
        (["widgets.*.example.com"], {"widgets.v1.shop.example.com"}),
        (["componentstatuses"], set()),
    ],
)
def test_patterns(patterns: list[str], expected: set[str]) -> None:
    """Names, groups, versions and what is taken away; control data is always there."""
    assert set(covered(*patterns)) - ALWAYS == expected - ALWAYS
    assert set(covered(*patterns)) >= ALWAYS


def test_idle_patterns_are_told() -> None:
    """Patterns that match nothing are given back, to be warned of."""
    served = [Resource(GVR("", "v1", "pods"), "Pod", True, WATCHABLE)]
    patterns = [Pattern.parse(text) for text in ("pods", "gadgets", "!secrets")]
    assert [pattern.text for pattern in cover(patterns, served, {served[0].gvr})[1]] == ["gadgets", "!secrets"]


@pytest.mark.parametrize("text", ["", "!", "Pods", "pods/log", "a b", ".apps"])
def test_malformed_patterns(text: str) -> None:
    """What is no pattern is refused, with examples."""
    with pytest.raises(PatternError, match="they look like"):
        Pattern.parse(text)
