"""The objects of workloads, and the little that controllers and kubelets do to them: enough to look alive."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from kube import gojson
from kube.resources import GVR
from sandbox.cluster import PODS, Cluster
from sandbox.objects import Object, name_suffix, timestamp
from sandbox.storage import Collection, Item
from tables.duration import instant

DEPLOYMENTS = GVR("apps", "v1", "deployments")
REPLICA_SETS = GVR("apps", "v1", "replicasets")
NODES = GVR("", "v1", "nodes")


def node(number: int) -> Object:
    """A node that is ready; number 1 is the control plane."""
    name = "control-1" if number == 1 else f"worker-{number - 1}"
    role = "control-plane" if number == 1 else "worker"
    capacity = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
                f"node-role.kubernetes.io/{role}": "",
            },
        },
        "spec": {"podCIDR": f"10.244.{number}.0/24"},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "conditions": [_condition("Ready", "True", "", "KubeletReady")],
            "addresses": [
                {"type": "InternalIP", "address": f"192.0.2.{10 + number}"},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": "v1.34.2", "osImage": "Debian GNU/Linux 12 (bookworm)", "architecture": "amd64",
                "kernelVersion": "6.1.0-28-amd64", "containerRuntimeVersion": "containerd://1.7.24",
                "operatingSystem": "linux", "kubeProxyVersion": "", "machineID": f"{number:032x}",
                "systemUUID": f"{number:08x}-0000-4000-8000-000000000000",
                "bootID": f"{number:08x}-0000-4000-8000-000000000001",
            },
        },
    }  # fmt: skip


def config_map(namespace: str, name: str, data: Mapping[str, str]) -> Object:
    """A ConfigMap."""
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace},
        "data": dict(data),
    }  # fmt: skip


def service_account(namespace: str, name: str) -> Object:
    """A ServiceAccount."""
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}


def service(namespace: str, name: str, port: int, labels: Mapping[str, str]) -> Object:
    """A Service in front of the pods of a deployment."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "selector": {"app.kubernetes.io/name": name},
            "ports": [{"name": "http", "port": 80 if port != 53 else 53, "targetPort": port}],
        },
    }


def deployment(namespace: str, name: str, image: str, replicas: int, port: int, labels: Mapping[str, str]) -> Object:
    """A Deployment, as its team has applied it."""
    container: Object = {
        "name": name,
        "image": image,
        "env": [{"name": "APP", "value": name}],
        "resources": {"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    }
    if port:
        container["ports"] = [{"containerPort": port, "protocol": "TCP"}]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": name}},
            "template": {"metadata": {"labels": dict(labels)}, "spec": {"containers": [container]}},
        },
    }


def cron_job(namespace: str, name: str) -> Object:
    """A CronJob that runs once a day."""
    container = {"name": name, "image": f"registry.harbourpine.example/{name}:1.0.0"}
    template = {"spec": {"template": {"spec": {"containers": [container], "restartPolicy": "OnFailure"}}}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "schedule": "15 3 * * *", "suspend": False, "concurrencyPolicy": "Forbid", "jobTemplate": template,
        },
        "status": {},
    }  # fmt: skip


def settle(cluster: Cluster, *, age_seconds: float = 7_200.0) -> None:
    """Bring every deployment to its replicas, all of them running for a while already."""
    for item in list(cluster.collection(DEPLOYMENTS).items.values()):
        pods = list(missing_pods(cluster, item))
        for pod in pods:
            age = cluster.random.uniform(0.1, 1.0) * age_seconds
            pod["status"] = running(cluster, pod, since_seconds=age)
            cluster.load(pod, age_seconds=age)
        count_replicas(cluster, item.namespace, item.name)


def missing_pods(cluster: Cluster, item: Item) -> Iterator[Object]:
    """The pods that a deployment lacks; its ReplicaSet is made if there is none for its present template."""
    owner = item.decoded()
    replica_set = _replica_set(cluster, owner)
    present = pods_of(cluster, replica_set)
    for _ in range(owner["spec"]["replicas"] - len(present)):
        yield _pod(cluster, replica_set)


def pods_of(cluster: Cluster, replica_set: Item) -> list[Item]:
    """The pods of a ReplicaSet that are not on their way out."""
    return [
        item
        for item in cluster.collection(PODS).snapshot(cluster.storage.rv, replica_set.namespace)
        if item.labels.get("pod-template-hash") == replica_set.labels.get("pod-template-hash")
        and b'"deletionTimestamp"' not in item.body
    ]


def replica_sets_of(cluster: Cluster, namespace: str, deployment_uid: str) -> list[Item]:
    """The ReplicaSets of a deployment."""
    marker = deployment_uid.encode()
    replica_sets = cluster.collection(REPLICA_SETS).snapshot(cluster.storage.rv, namespace)
    return [item for item in replica_sets if marker in item.body]


def count_replicas(cluster: Cluster, namespace: str, name: str) -> None:
    """Write into the status of a deployment and its ReplicaSets how many pods run."""
    present = cluster.collection(DEPLOYMENTS).get(namespace, name)
    if present is None:
        return
    total = ready = current = 0
    template_hash = _template_hash(present.decoded())
    for replica_set in replica_sets_of(cluster, namespace, present.uid):
        pods = pods_of(cluster, replica_set)
        up = sum(_is_ready(pod) for pod in pods)
        counts = {
            "replicas": len(pods),
            "readyReplicas": up,
            "availableReplicas": up,
            "fullyLabeledReplicas": len(pods),
        }
        _set_status(cluster, cluster.collection(REPLICA_SETS), replica_set, counts)
        total, ready = total + len(pods), ready + up
        current += len(pods) if replica_set.labels.get("pod-template-hash") == template_hash else 0
    state = {
        "observedGeneration": present.decoded()["metadata"].get("generation", 1), "replicas": total,
        "updatedReplicas": current, "readyReplicas": ready, "availableReplicas": ready,
        "conditions": [_condition("Available", "True" if ready else "False", "", "MinimumReplicasAvailable")],
    }  # fmt: skip
    _set_status(cluster, cluster.collection(DEPLOYMENTS), present, state)


def running(cluster: Cluster, pod: Object, *, since_seconds: float = 0.0, restarts: int = 0) -> Object:
    """The status of a pod whose containers have been running since then."""
    moment = timestamp(cluster.clock() - since_seconds)
    number = cluster.random.randrange(2, 250)
    host = int(hashlib.sha256(pod["spec"].get("nodeName", "").encode()).hexdigest()[:2], 16)
    address = f"10.244.{host}.{number}"
    kinds = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "conditions": [_condition(kind, "True", moment) for kind in kinds],
        "hostIP": f"192.0.2.{host % 4 + 11}",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": moment,
        "containerStatuses": [
            {
                "name": container["name"], "state": {"running": {"startedAt": moment}}, "lastState": {},
                "ready": True, "restartCount": restarts, "image": container["image"],
                "imageID": f"sha256:{hashlib.sha256(container['image'].encode()).hexdigest()}", "started": True,
            }
            for container in pod["spec"]["containers"]
        ],
        "qosClass": "Burstable",
    }  # fmt: skip


def creating(cluster: Cluster, pod: Object) -> Object:
    """The status of a pod whose containers are not there yet."""
    moment = timestamp(cluster.clock())
    return {
        "phase": "Pending",
        "conditions": [
            _condition("PodScheduled", "True", moment),
            _condition("Ready", "False", moment, "ContainersNotReady"),
        ],
        "startTime": moment,
        "containerStatuses": [
            {
                "name": container["name"], "state": {"waiting": {"reason": "ContainerCreating"}}, "lastState": {},
                "ready": False, "restartCount": 0, "image": container["image"], "imageID": "", "started": False,
            }
            for container in pod["spec"]["containers"]
        ],
        "qosClass": "Burstable",
    }  # fmt: skip


def pick_node(cluster: Cluster) -> str:
    """Where a new pod goes."""
    workers = [name for name in cluster.collection(NODES).keys if name.startswith("worker-")]
    return cluster.random.choice(workers) if workers else "worker-1"


def _replica_set(cluster: Cluster, owner: Object) -> Item:
    """The ReplicaSet of a deployment's present template, made if it is not there."""
    metadata, spec = owner["metadata"], owner["spec"]
    template_hash = _template_hash(owner)
    name = f"{metadata['name']}-{template_hash}"
    found = cluster.collection(REPLICA_SETS).get(metadata["namespace"], name)
    if found is not None:
        return found
    template = spec["template"]
    labels = {**(template.get("metadata", {}).get("labels") or {}), "pod-template-hash": template_hash}
    selected = spec["selector"].get("matchLabels") or {}
    created = timestamp(cluster.clock())
    age = max(0.0, cluster.clock() - _seconds(metadata.get("creationTimestamp", created)))
    return cluster.load(
        {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": name,
                "namespace": metadata["namespace"],
                "labels": labels,
                "ownerReferences": [_owner("apps/v1", "Deployment", metadata)],
            },
            "spec": {
                "replicas": spec["replicas"],
                "selector": {"matchLabels": {**selected, "pod-template-hash": template_hash}},
                "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
            },
        },
        age_seconds=age,
    )


def _pod(cluster: Cluster, replica_set: Item) -> Object:
    owner = replica_set.decoded()
    template = owner["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{replica_set.name}-{name_suffix(cluster.random)}",
            "generateName": f"{replica_set.name}-",
            "namespace": replica_set.namespace,
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [_owner("apps/v1", "ReplicaSet", owner["metadata"])],
        },
        "spec": {**template["spec"], "nodeName": pick_node(cluster)},
    }


def _owner(api_version: str, kind: str, metadata: Mapping[str, Any]) -> Object:
    return {
        "apiVersion": api_version, "kind": kind, "name": metadata["name"], "uid": metadata["uid"],
        "controller": True, "blockOwnerDeletion": True,
    }  # fmt: skip


def _template_hash(owner: Object) -> str:
    """Changes with the pod template, as the hash in a ReplicaSet's name does."""
    digest = hashlib.sha256(gojson.dumps(owner["spec"]["template"])).hexdigest()
    return digest[:9]


def _set_status(cluster: Cluster, collection: Collection, item: Item, state: Object) -> None:
    def change(obj: Object) -> Object:
        return {**obj, "status": state}

    cluster.change(collection.served, item.namespace, item.name, change, subresource="status")


def _is_ready(pod: Item) -> bool:
    conditions = (pod.decoded().get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _condition(kind: str, value: str, moment: str = "", reason: str = "") -> Object:
    condition = {"type": kind, "status": value, "lastTransitionTime": moment, "reason": reason}
    return {key: one for key, one in condition.items() if one}


def _seconds(text: str) -> float:
    return instant(text) or 0.0
