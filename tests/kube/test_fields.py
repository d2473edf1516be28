from __future__ import annotations

from typing import Any

import pytest

from kube import fields
from kube.resources import GVR
from kube.selectors import FieldSelector, SelectorError
from kube.version import ServerVersion

NEW, OLD = ServerVersion(1, 36), ServerVersion(1, 20)
PODS, JOBS = GVR("", "v1", "pods"), GVR("batch", "v1", "jobs")
WELLS = GVR("petro.example.io", "v1", "wells")
DEFAULT = 'is not a known field selector: only "metadata.name", "metadata.namespace"'


@pytest.mark.parametrize(
    ("gvr", "version", "selector"),
    [
        (PODS, NEW, "metadata.name=a,metadata.namespace=b,spec.nodeName=n,status.podIPs=x,spec.hostNetwork=true"),
        (GVR("", "v1", "nodes"), NEW, "spec.unschedulable=true"),
        (GVR("", "v1", "events"), NEW, "involvedObject.kind=Pod,reason=x,source=y,type=Normal,reportingComponent=z"),
        (GVR("events.k8s.io", "v1", "events"), NEW, "regarding.kind=Pod,reason=x,type=Normal,reportingController=z"),
        (GVR("", "v1", "services"), NEW, "spec.clusterIP=None,spec.type=ClusterIP"),
        (GVR("apps", "v1", "deployments"), NEW, "metadata.name=a,metadata.namespace=b"),
        (GVR("rbac.authorization.k8s.io", "v1", "clusterroles"), NEW, "metadata.namespace=x"),
        (GVR("batch", "v1beta1", "cronjobs"), OLD, "status.successful=1"),
        (GVR("resource.k8s.io", "v1", "resourceslices"), NEW, "spec.driver=d,spec.nodeName=n"),
    ],
)
def test_supported_fields_pass(gvr: GVR, version: ServerVersion, selector: str) -> None:
    """Each kind's own fields, and the two that all have."""
    parsed = FieldSelector.parse(selector)
    assert fields.check(parsed, gvr, version) is parsed
    assert set(parsed.fields()) <= fields.supported(gvr, version)


@pytest.mark.parametrize(
    ("gvr", "version", "label", "message"),
    [
        (PODS, NEW, "metadata.uid", "field label not supported: metadata.uid"),
        (PODS, OLD, "spec.hostNetwork", "field label not supported: spec.hostNetwork"),
        (GVR("", "v1", "nodes"), NEW, "metadata.namespace", "field label not supported: metadata.namespace"),
        (
            GVR("certificates.k8s.io", "v1beta1", "podcertificaterequests"),
            NEW,
            "metadata.namespace",
            "field label not supported: metadata.namespace",
        ),
        (GVR("", "v1", "services"), OLD, "spec.type", f'"spec.type" {DEFAULT}'),
        (GVR("", "v1", "services"), NEW, "x", "field label not supported: x"),
        (GVR("apps", "v1", "replicasets"), NEW, "status.replicas", f'"status.replicas" {DEFAULT}'),
        (GVR("apps", "v1", "replicasets"), NEW, "", f'"" {DEFAULT}'),
        (GVR("batch", "v1", "cronjobs"), NEW, "status.successful", f'"status.successful" {DEFAULT}'),
        (JOBS, NEW, "x", 'field label "x" not supported for Job'),
        (JOBS, OLD, "x", 'field label "x" not supported for batchv1.Job'),
        (GVR("batch", "v1beta1", "cronjobs"), OLD, "x", 'field label "x" not supported for "CronJob"'),
        (
            GVR("resource.k8s.io", "v1", "resourceslices"),
            NEW,
            "x",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: x",
        ),
    ],
)
def test_unsupported_fields_say_what_upstream_says(gvr: GVR, version: ServerVersion, label: str, message: str) -> None:
    """Each kind has its own words, and some changed with the version."""
    with pytest.raises(SelectorError) as caught:
        fields.check(FieldSelector.parse(f"{label}=1"), gvr, version)
    assert str(caught.value) == message


def test_the_first_unsupported_field_is_reported() -> None:
    """First in the order of the terms, not of the text."""
    with pytest.raises(SelectorError, match=r"not supported: a\.b$"):
        fields.check(FieldSelector.parse("z=1,a.b=2"), PODS, NEW)


def test_aliases_become_the_canonical_field() -> None:
    """spec.host is the old name of spec.nodeName."""
    assert str(fields.check(FieldSelector.parse("spec.host=n"), PODS, NEW)) == "spec.nodeName=n"


def test_custom_resources_take_what_their_definition_lists() -> None:
    """SelectableFields count from 1.31 on; the namespace only where there is one."""
    selector = FieldSelector.parse("metadata.namespace=a,spec.color=red")
    assert fields.check(selector, WELLS, NEW, custom=True, selectable=[".spec.color"]) is selector
    with pytest.raises(SelectorError, match=r"^field label not supported: spec\.color$"):
        fields.check(selector, WELLS, ServerVersion(1, 30), custom=True, selectable=[".spec.color"])
    with pytest.raises(SelectorError, match=r"^field label not supported: metadata\.namespace$"):
        fields.check(selector, WELLS, NEW, custom=True, namespaced=False, selectable=[".spec.color"])
    pods_of_others = GVR("metrics.example.io", "v1", "pods")
    with pytest.raises(SelectorError, match=r"^field label not supported: spec\.nodeName$"):
        fields.check(FieldSelector.parse("spec.nodeName="), pods_of_others, NEW, custom=True)


@pytest.mark.parametrize(
    ("gvr", "obj", "expected"),
    [
        (
            PODS,
            {
                "spec": {"nodeName": "n", "hostNetwork": True},
                "status": {"phase": "Running", "podIPs": [{"ip": "1.2.3.4"}]},
            },
            {"spec.nodeName": "n", "spec.hostNetwork": "true", "status.phase": "Running", "status.podIP": "1.2.3.4"},
        ),
        (PODS, {}, {"spec.nodeName": "", "spec.hostNetwork": "false", "status.podIP": ""}),
        (PODS, {"status": {"podIP": "1.2.3.4"}}, {"status.podIP": "1.2.3.4"}),
        (GVR("", "v1", "nodes"), {"spec": {"unschedulable": True}}, {"spec.unschedulable": "true"}),
        (GVR("", "v1", "nodes"), {}, {"spec.unschedulable": "false"}),
        (GVR("", "v1", "namespaces"), {"status": {"phase": "Active"}}, {"status.phase": "Active"}),
        (GVR("", "v1", "secrets"), {"type": "Opaque"}, {"type": "Opaque"}),
        (GVR("", "v1", "replicationcontrollers"), {"status": {"replicas": 0}}, {"status.replicas": "0"}),
        (GVR("", "v1", "replicationcontrollers"), {"status": {"replicas": 3}}, {"status.replicas": "3"}),
        (JOBS, {"status": {"succeeded": 2}}, {"status.successful": "2"}),
        (JOBS, {"status": {}}, {"status.successful": "0"}),
        (
            GVR("", "v1", "events"),
            {"involvedObject": {"kind": "Pod"}, "source": {}, "reportingComponent": "kubelet", "type": "Normal"},
            {"involvedObject.kind": "Pod", "source": "kubelet", "reportingComponent": "kubelet", "type": "Normal"},
        ),
        (GVR("", "v1", "events"), {"source": {"component": "c"}, "reportingComponent": "d"}, {"source": "c"}),
        (GVR("events.k8s.io", "v1", "events"), {"regarding": {"name": "x"}}, {"regarding.name": "x"}),
        (GVR("apps", "v1", "deployments"), {"spec": {"replicas": 1}}, {}),
    ],
)
def test_values_of_objects(gvr: GVR, obj: dict[str, Any], expected: dict[str, str]) -> None:
    """What upstream's field sets hold for the JSON of an object; zero values are written out."""
    extracted = fields.extract(gvr, obj, NEW)
    assert {label: extracted[label] for label in expected} == expected
    assert set(extracted) | {fields.NAME, fields.NAMESPACE} >= fields.supported(gvr, NEW) - {
        "status.podIPs",
        "spec.host",
    }


def test_values_of_custom_resources() -> None:
    """Scalars as Go prints them; missing, null and nested values are empty."""
    obj = {"spec": {"color": "red", "size": 5, "on": True, "none": None, "deep": {"x": 1}}}
    paths = [".spec.color", ".spec.size", ".spec.on", ".spec.none", ".spec.deep", ".spec.missing.x", ".spec.color.x"]
    assert fields.extract(WELLS, obj, NEW, paths) == {
        "spec.color": "red",
        "spec.size": "5",
        "spec.on": "true",
        "spec.none": "",
        "spec.deep": "",
        "spec.missing.x": "",
        "spec.color.x": "",
    }
    assert fields.extract(WELLS, obj, OLD, paths) == {}
