"""The pods that every benchmark is run with: 10 KB each with managedFields, like those of real clusters.

Deterministic: pod number N is the same object in every run.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

TENANT_LABEL = "capsule.clastix.io/tenant"


@dataclass(frozen=True)
class Cluster:
    """How much there is: `pods` spread evenly over `namespaces`, those over `tenants`."""

    pods: int = 10_000
    namespaces: int = 100
    tenants: int = 50
    pod_bytes: int = 10_000

    def namespace_names(self) -> list[str]:
        """Every namespace, in creation order."""
        return [f"team-{number:04d}" for number in range(self.namespaces)]

    def tenant_of(self, namespace_number: int) -> str:
        """The tenant that namespace number N belongs to."""
        return f"tenant-{namespace_number % self.tenants:04d}"

    def namespace(self, number: int) -> dict[str, Any]:
        """The Namespace object number N."""
        return {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": self.namespace_names()[number], "labels": {TENANT_LABEL: self.tenant_of(number)}},
        }

    def pod(self, number: int) -> dict[str, Any]:
        """The Pod object number N, as a client creates it; its status is `pod_status`."""
        namespace_number = number % self.namespaces
        rng = random.Random(number)
        app = f"app-{number // self.namespaces % 20:02d}"
        name = f"{app}-{rng.getrandbits(40):010x}"
        labels = {
            "app.kubernetes.io/name": app,
            "app.kubernetes.io/part-of": f"part-{number % 7}",
            "pod-template-hash": f"{rng.getrandbits(36):09x}",
            "tenant": self.tenant_of(namespace_number),
        }
        env = [{"name": f"SETTING_{index:02d}", "value": f"{rng.getrandbits(96):024x}"} for index in range(12)]
        annotations = {
            "checksum/config": f"{rng.getrandbits(256):064x}",
            "example.com/scrape": "true",
            "example.com/notes": _filler(rng, max(0, self.pod_bytes - 9_700)),
        }
        container = {
            "image": f"registry.example.com/{app}:{rng.randrange(90)}",
            "env": env,
            "resources": {"limits": {"cpu": "500m", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5},
            "volumeMounts": [{"name": f"volume-{index}", "mountPath": f"/data/{index}"} for index in range(4)],
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "namespace": self.namespace_names()[namespace_number],
                "labels": labels,
                "annotations": annotations,
            },
            "spec": {
                "nodeName": f"node-{number % 200:03d}",
                "serviceAccountName": "default",
                "containers": [{"name": part, **container} for part in ("main", "proxy")],
                "volumes": [{"name": f"volume-{index}", "emptyDir": {}} for index in range(4)],
                "tolerations": [{"key": f"example.com/t{index}", "operator": "Exists"} for index in range(4)],
            },
        }

    def pod_status(self, number: int) -> dict[str, Any]:
        """The status that a kubelet would report for pod number N: running and ready."""
        rng = random.Random(number + 1_000_000)
        moment = "2026-11-20T08:00:00Z"
        return {
            "phase": "Running",
            "hostIP": f"10.1.0.{number % 200}",
            "podIP": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "podIPs": [{"ip": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"}],
            "startTime": moment,
            "conditions": [
                {"type": kind, "status": "True", "lastProbeTime": None, "lastTransitionTime": moment}
                for kind in ("Initialized", "Ready", "ContainersReady", "PodScheduled")
            ],
            "containerStatuses": [
                {
                    "name": part,
                    "ready": True,
                    "started": True,
                    "restartCount": 0,
                    "image": "registry.example.com/app:1",
                    "imageID": f"sha256:{rng.getrandbits(256):064x}",
                    "containerID": f"containerd://{rng.getrandbits(256):064x}",
                    "state": {"running": {"startedAt": moment}},
                    "lastState": {},
                }
                for part in ("main", "proxy")
            ],
        }


def size(obj: dict[str, Any]) -> int:
    """Bytes of the object as JSON."""
    return len(json.dumps(obj, separators=(",", ":")))


def _filler(rng: random.Random, length: int) -> str:
    words = ("ready", "steady", "rollout", "canary", "budget", "review", "owner", "pager", "ledger", "quota")
    text = ""
    while len(text) < length:
        text += f"{rng.choice(words)}-{rng.getrandbits(16):04x} "
    return text[:length]
