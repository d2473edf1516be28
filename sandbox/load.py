"""Many synthetic pods of a given size, in tenants and namespaces: what benchmarks and soak tests need.

Pod number N of a shape is the same in every run, but for the moment of its creation.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from kube import gojson
from sandbox import company, workloads
from sandbox.access import Person
from sandbox.cluster import Cluster
from sandbox.objects import Object, timestamp

_HOUR = 3_600.0
_APPS = 20


@dataclass(frozen=True)
class Shape:
    """How much there is: `pods` spread evenly over `namespaces`, and those over `tenants`."""

    pods: int = 10_000
    namespaces: int = 100
    tenants: int = 50
    pod_bytes: int = 10_000

    def namespace(self, number: int) -> str:
        """The name of a namespace."""
        return f"load-{number:04d}"

    def tenant(self, number: int) -> str:
        """The tenant of that namespace."""
        return f"tenant-{number % self.tenants:04d}"


def fill(cluster: Cluster, shape: Shape) -> dict[str, Person]:
    """Put the shape into an empty cluster; returns the token of each tenant's owner, `TENANT-token`."""
    cluster.load(company.tenant_definition())
    for role in company.system_roles():
        cluster.load(role)
    for name in ("default", "kube-system"):  # the latter's uid is what tells one cluster from another
        cluster.load(company.namespace(name))
    for number in range(1, 5):
        cluster.load(workloads.node(number))
    people: dict[str, Person] = {}
    for number in range(min(shape.tenants, shape.namespaces)):
        name = shape.tenant(number)
        owned = tuple(shape.namespace(one) for one in range(shape.namespaces) if shape.tenant(one) == name)
        cluster.load(company.tenant(name, (f"{name}-owner",), (), owned))
        people[f"{name}-token"] = Person(f"{name}-owner", (company.OWNERS_GROUP,))
    for number in range(shape.namespaces):
        cluster.load(company.namespace(shape.namespace(number), shape.tenant(number)))
        for binding in company.owner_bindings(shape.namespace(number), (f"{shape.tenant(number)}-owner",), ()):
            cluster.load(binding)
    for number in range(shape.pods):
        cluster.load(pod(cluster, shape, number), age_seconds=_HOUR)
    return people


def pod(cluster: Cluster, shape: Shape, number: int) -> Object:
    """Pod number N: running, labelled, and padded with managedFields to its size."""
    source = random.Random(number)
    namespace_number = number % shape.namespaces
    app = f"app-{number // shape.namespaces % _APPS:02d}"
    env = [{"name": f"SETTING_{one:02d}", "value": f"{source.getrandbits(96):024x}"} for one in range(12)]
    obj: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-{number:06d}-{source.getrandbits(20):05x}",
            "namespace": shape.namespace(namespace_number),
            "labels": {
                "app.kubernetes.io/name": app,
                "app.kubernetes.io/part-of": f"part-{number % 7}",
                "pod-template-hash": f"{source.getrandbits(36):09x}",
                "tenant": shape.tenant(namespace_number),
            },
            "annotations": {"checksum/settings": f"{source.getrandbits(256):064x}"},
        },
        "spec": {
            "nodeName": f"worker-{number % 3 + 1}",
            "containers": [{"name": "main", "image": f"registry.example/{app}:{source.randrange(90)}", "env": env}],
        },
    }
    obj["status"] = workloads.running(cluster, obj, since_seconds=_HOUR)
    missing = shape.pod_bytes - len(gojson.dumps(obj)) - 450  # what the server sets by itself, and the entry's frame
    if missing > 0:
        moment = timestamp(cluster.clock() - _HOUR)
        obj["metadata"]["managedFields"] = [
            {
                "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "time": moment,
                "fieldsType": "FieldsV1", "fieldsV1": _fields(source, missing),
            }
        ]  # fmt: skip
    return obj


def _fields(source: random.Random, size: int) -> Object:
    """A tree like that of managedFields, of about this many bytes as JSON."""
    words = ("conditions", "lastTransitionTime", "containerStatuses", "restartCount", "imageID", "podIPs", "startedAt")
    tree: Object = {}
    used = 0
    while used < size:
        name = f'f:k:{{"type":"{source.choice(words)}-{source.getrandbits(16):04x}"}}'
        branch: Object = {f"f:{word}": {} for word in source.sample(words, 3)}
        tree[name] = {".": {}, **branch}
        used += len(name) + 16 + sum(len(word) + 8 for word in branch)
    return {"f:status": tree}
