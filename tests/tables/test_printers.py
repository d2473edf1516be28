from __future__ import annotations

from typing import Any

import pytest

from kube.resources import GVR
from kube.version import ServerVersion
from tables.columns import ColumnDefinition, Columns
from tables.registry import declared_columns, default_printer, printer_for
from tables.row import finish
from tests.tables.goldens import printed, show

PODS = GVR("", "v1", "pods")


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status}


def _terminated(code: int, reason: str = "", at: str = "2001-09-09T01:36:40Z") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def test_restarts_are_a_number_then_a_text_then_tell_when() -> None:
    """1.21 sends an integer, 1.22 the last restart too, 1.28 only where there was one."""
    once = _pod(containerStatuses=[{"restartCount": 3, "lastState": _terminated(1)}])
    never = _pod(containerStatuses=[{"restartCount": 0, "lastState": _terminated(0)}])
    assert [show(PODS, once, version)["Restarts"] for version in ("1.21", "1.22", "1.28")] == [3, *["3 (10m ago)"] * 2]
    assert [show(PODS, never, version)["Restarts"] for version in ("1.21", "1.22", "1.28")] == [0, "0 (10m ago)", "0"]


def test_sidecars_count_since_1_28() -> None:
    """A running init container is one more of the pod's containers, ready and restarted with them."""
    pod = _pod(
        initContainerStatuses=[
            {"name": "log", "ready": True, "started": True, "restartCount": 2, "state": {"running": {}}},
        ],
        containerStatuses=[{"ready": True, "state": {"running": {}}, "restartCount": 1}],
        phase="Running",
    )
    pod["spec"]["initContainers"] = [{"name": "log", "restartPolicy": "Always"}]
    old, new = show(PODS, pod, "1.27"), show(PODS, pod, "1.28")
    assert (old["Ready"], old["Status"], old["Restarts"]) == ("0/2", "Init:0/1", "2")
    assert (new["Ready"], new["Status"], new["Restarts"]) == ("2/3", "Running", "3")


def test_what_a_pods_status_says_differs_with_the_version() -> None:
    """Scheduling gates since 1.26, finished pods that stay so since 1.31, a container's error since 1.35."""
    gated = _pod(phase="Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}])
    assert [show(PODS, gated, version)["Status"] for version in ("1.25", "1.26")] == ["Pending", "SchedulingGated"]
    deleted = _pod(phase="Succeeded")
    deleted["metadata"]["deletionTimestamp"] = "2001-09-09T01:36:40Z"
    assert [show(PODS, deleted, version)["Status"] for version in ("1.30", "1.31")] == ["Terminating", "Succeeded"]
    failed = _pod(
        phase="Failed",
        containerStatuses=[{"state": _terminated(0, "Completed")}, {"state": _terminated(1, "Error")}],
    )
    assert [show(PODS, failed, version)["Status"] for version in ("1.34", "1.35")] == ["Completed", "Error"]


@pytest.mark.parametrize(
    ("resource", "obj", "column", "cells"),
    [
        (
            "nodes.v1",
            {"status": {"nodeInfo": {"kernelVersion": "6.1", "architecture": "arm64"}}},
            "Kernel-Version",
            {"1.35": "6.1", "1.36": "6.1 (arm64)"},
        ),
        (
            "ingressclasses.v1.networking.k8s.io",
            {"metadata": {"name": "n", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}},
            "Name",
            {"1.35": "n", "1.36": "n (default)"},
        ),
        (
            "volumeattributesclasses.v1beta1.storage.k8s.io",
            {"metadata": {"name": "n", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}},
            "Name",
            {"1.33": "n (default)", "1.34": "n"},
        ),
        (
            "jobs.v1.batch",
            {"status": {"conditions": [{"type": "SuccessCriteriaMet", "status": "True"}]}},
            "Status",
            {"1.30": "Running", "1.33": "Running", "1.34": "SuccessCriteriaMet"},
        ),
        (
            "horizontalpodautoscalers.v2.autoscaling",
            {
                "spec": {
                    "metrics": [
                        {"type": "Resource", "resource": {"name": "cpu", "target": {"averageUtilization": 80}}},
                    ]
                }
            },
            "Targets",
            {"1.29": "<unknown>/80%", "1.30": "cpu: <unknown>/80%"},
        ),
        (
            "events.v1",
            {"series": {"count": 2147483647}},
            "Count",
            {"1.22": -(2**31), "1.23": 2147483647},
        ),
        (
            "validatingadmissionpolicybindings.v1beta1.admissionregistration.k8s.io",
            {"spec": {"paramRef": {"name": "p"}}},
            "ParamRef",
            {"1.27": "p", "1.28": "*/p"},
        ),
        (
            "resourceclaims.v1alpha2.resource.k8s.io",
            {"status": {"allocation": {}, "deallocationRequested": True}},
            "State",
            {"1.26": "allocated,deallocating", "1.30": "allocated,deallocating"},
        ),
        (
            "resourceclaims.v1beta1.resource.k8s.io",
            {"metadata": {"deletionTimestamp": "2001-09-09T01:36:40Z"}, "status": {"allocation": {}}},
            "State",
            {"1.31": "deleted,allocated,deallocating", "1.32": "deleted,allocated"},
        ),
        (
            "storageversionmigrations.v1alpha1.storagemigration.k8s.io",
            {"spec": {"resource": {"resource": "pods", "version": "v1", "group": ""}}},
            "Resource",
            {"1.30": "pods.v1."},
        ),
        (
            "resourceslices.v1alpha2.resource.k8s.io",
            {"nodeName": "n1", "driverName": "d"},
            "Driver",
            {"1.30": "d"},
        ),
        (
            "resourceclassparameters.v1alpha2.resource.k8s.io",
            {"generatedFrom": {"kind": "K", "apiGroup": "g.io", "name": "n"}},
            "GeneratedFrom",
            {"1.30": "K.g.io n"},
        ),
        ("runtimeclasses.v1alpha1.node.k8s.io", {"spec": {"runtimeHandler": "kata"}}, "Handler", {"1.20": "kata"}),
    ],
)
def test_cells_that_changed(resource: str, obj: dict[str, Any], column: str, cells: dict[str, Any]) -> None:
    """The same object, printed as servers around a change print it."""
    for version, shown in cells.items():
        assert show(GVR.parse(resource), obj, version)[column] == shown, version


@pytest.mark.parametrize(
    ("resource", "column", "versions"),
    [
        ("persistentvolumes.v1", "VolumeAttributesClass", (28, 29)),
        ("cronjobs.v1.batch", "Timezone", (29, 30)),
        ("jobs.v1.batch", "Status", (29, 30)),
        ("certificatesigningrequests.v1.certificates.k8s.io", "RequestedDuration", (21, 22)),
        ("prioritylevelconfigurations.v1beta2.flowcontrol.apiserver.k8s.io", "NominalConcurrencyShares", (25, 26)),
        ("priorityclasses.v1.scheduling.k8s.io", "PreemptionPolicy", (31, 32)),
        ("podcertificaterequests.v1beta1.certificates.k8s.io", "UnverifiedUserAnnotations", (34, 35)),
    ],
)
def test_columns_that_came(resource: str, column: str, versions: tuple[int, int]) -> None:
    """A column is known from the version on that has it, and not before."""
    have = [declared_columns(GVR.parse(resource), ServerVersion(1, minor)) for minor in versions]
    assert [column in columns.names() for columns in have if columns] == [False, True]


POD_GROUPS = GVR("scheduling.k8s.io", "v1alpha2", "podgroups")


@pytest.mark.parametrize(
    ("conditions", "shown"),
    [
        ([], "Pending"),
        ([{"type": "PodGroupScheduled", "status": "True"}], "Scheduled"),
        (
            [{"type": "PodGroupScheduled", "status": "True"}, {"type": "PodGroupScheduled", "status": "False"}],
            "Unschedulable",
        ),
        ([{"type": "DisruptionTarget", "status": "False", "reason": "Preempted"}], "Preempted"),
    ],
)  # fmt: skip
def test_pod_groups(conditions: list[dict[str, str]], shown: str) -> None:
    """A group's status comes from its conditions, a disruption first."""
    group = {
        "spec": {
            "schedulingPolicy": {"gang": {"minCount": 2}},
            "podGroupTemplateRef": {"workload": {"workloadName": "w"}},
        },
        "status": {"conditions": conditions},
    }
    cells = show(POD_GROUPS, group, "1.36")
    assert (cells["Policy"], cells["Workload"], cells["Status"]) == ("Gang", "w", shown)
    assert show(POD_GROUPS, {}, "1.36")["Workload"] == "<none>"


POOLS = GVR("resource.k8s.io", "v1alpha3", "resourcepoolstatusrequests")
_POOL = {"totalDevices": 8, "availableDevices": 5, "allocatedDevices": 2, "unavailableDevices": 1}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({}, ["-", "-", "-", "-", "-", 0, "Pending", "<none>"]),
        ({"pools": [_POOL]}, ["8", "5", "2", "1", "0", 0, "Pending", "<none>"]),
        (
            {
                "poolCount": 3,
                "pools": [_POOL, {"validationError": "broken"}],
                "conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": "2001-09-09T01:36:40Z"}],
            },
            ["8", "5", "2", "1", "1", 3, "Complete (2/3 pools)", "10m"],
        ),
        (
            {"poolCount": 1, "pools": [_POOL], "conditions": [{"type": "Failed", "status": "True"}]},
            ["-", "-", "-", "-", "-", 1, "Failed", "<none>"],
        ),
    ],
)
def test_pool_status_requests(status: dict[str, Any], shown: list[Any]) -> None:
    """Counts appear with a status that has not failed."""
    cells = show(POOLS, {"metadata": {"name": "r"}, "spec": {"driver": "d"}, "status": status}, "1.36")
    assert list(cells.values()) == ["r", "d", *shown]


def _pods_columns(*changed: ColumnDefinition) -> Columns:
    columns = declared_columns(PODS, ServerVersion(1, 36))
    assert columns is not None
    return Columns((*columns, *changed))


def test_cells_follow_the_learned_order() -> None:
    """Columns that upstream has moved or left out move and leave the cells."""
    columns = _pods_columns()
    turned = Columns(tuple(reversed(columns.definitions))[1:-1])
    printer = printer_for(PODS, "Pod", turned, ServerVersion(1, 36))
    assert printer is not None
    assert printed(printer.row(_pod(phase="Running")), 0.0)["cells"][-2:] == ["Running", "0/2"]


def test_an_unknown_column_leaves_the_tables_to_upstream() -> None:
    """No guess where a column is new, has another type, or the kind is not the one that we know."""
    version = ServerVersion(1, 36)
    assert printer_for(PODS, "Pod", _pods_columns(ColumnDefinition("Mood")), version) is None
    retyped = Columns((ColumnDefinition("Name", "string"), ColumnDefinition("Restarts", "integer")))
    assert printer_for(PODS, "Pod", retyped, version) is None
    assert printer_for(PODS, "Podling", _pods_columns(), version) is None
    assert printer_for(GVR("metrics.k8s.io", "v1beta1", "pods"), "PodMetrics", _pods_columns(), version) is None


def test_aggregated_servers_use_the_default_convertor() -> None:
    """Name and Created At are printed whoever serves them, and an empty list has null rows."""
    columns = [ColumnDefinition("Name", "string", "name"), ColumnDefinition("Created At", "date")]
    printer = printer_for(GVR("metrics.example.io", "v1", "meters"), "Meter", columns, ServerVersion(1, 36))
    assert printer is not None
    assert printer.null_rows
    meter = {"metadata": {"name": "m", "creationTimestamp": "2001-09-09T01:36:40Z"}}
    for one in (printer, default_printer()):
        assert printed(one.row(meter), 0.0)["cells"] == ["m", "2001-09-09T01:36:40Z"]


def test_the_digest_names_columns_and_version() -> None:
    """The same columns on the same version have one digest; another version or order has another."""
    columns = _pods_columns()
    made = [printer_for(PODS, "Pod", columns, ServerVersion(1, minor)) for minor in (36, 36, 35)]
    turned = printer_for(PODS, "Pod", Columns(tuple(reversed(columns.definitions))), ServerVersion(1, 36))
    digests = [printer.digest for printer in (*made, turned) if printer is not None]
    assert len(digests) == 4
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_escapes_are_those_of_the_servers_go() -> None:
    r"""A form feed is \u000c from servers before 1.30, \f since."""
    event = {"metadata": {"name": "e\f"}, "message": "a\bc"}
    events = GVR("", "v1", "events")
    texts = []
    for minor in (29, 30):
        columns = declared_columns(events, ServerVersion(1, minor))
        assert columns is not None
        printer = printer_for(events, "Event", columns, ServerVersion(1, minor))
        assert printer is not None
        texts.append(finish(printer.row(event), 0.0))
    assert b'"e\\u000c"' in texts[0]
    assert b'"a\\u0008c"' in texts[0]
    assert b'"e\\f"' in texts[1]
    assert b'"a\\bc"' in texts[1]


def test_columns_come_back_from_the_wire() -> None:
    """Learned columns are written as they were read, with Go's escapes, all five keys each."""
    text = (
        b'[{"name":"Name","type":"string","format":"name","description":"a \\u003cb\\u003e","priority":0},'
        b'{"name":"IP","type":"string","format":"","description":"","priority":1}]'
    )
    assert Columns.decode(text).encode() == text
    assert len(Columns.of({"columnDefinitions": None})) == 0


def test_hpa_annotations_that_cannot_be_read_count_as_absent() -> None:
    """autoscaling/v1 keeps metrics in annotations, where users can write anything."""
    hpas = GVR("autoscaling", "v1", "horizontalpodautoscalers")
    for text in ("{", "[5]", '[{"type":5}]', '[{"resource":5}]', "null", "[]"):
        hpa = {
            "metadata": {
                "annotations": dict.fromkeys(
                    ("autoscaling.alpha.kubernetes.io/metrics", "autoscaling.alpha.kubernetes.io/current-metrics"), text
                )
            },
            "spec": {"targetCPUUtilizationPercentage": 80},
            "status": {"currentCPUUtilizationPercentage": 5},
        }
        assert show(hpas, hpa, "1.20")["Targets"] in {"5%/80%", "<unknown>/80%"}
