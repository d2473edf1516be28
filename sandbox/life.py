"""The company lives: deployments get their pods, pods start and end, and now and then something happens by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from kube.resources import GVR
from sandbox import workloads
from sandbox.cluster import PODS, Cluster, DeleteOptions
from sandbox.objects import Object
from sandbox.storage import Item

TICK_SECONDS = 0.5
"""How soon a new deployment gets its pods, and how long a pod takes to start: quick, as somebody is watching."""

_JOBS = GVR("batch", "v1", "jobs")
_MAX_JOBS = 3


@dataclass
class Life:
    """What controllers and kubelets would do, and chance. `happening_seconds` pass between two happenings."""

    cluster: Cluster
    happening_seconds: float
    _seen: int = field(default=-1, init=False)

    async def run(self) -> None:
        """For ever, until cancelled."""
        happenings = itertools.cycle((self._replace_pod, self._restart_container, self._run_job, self._touch_settings))
        loop = asyncio.get_running_loop()
        next_happening = loop.time() + self.happening_seconds
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.step()
            if loop.time() >= next_happening:
                next_happening = loop.time() + self.happening_seconds
                next(happenings)()

    def step(self) -> None:
        """One look at everything; costs nothing if nothing has changed since the last."""
        if self.cluster.storage.rv == self._seen:
            return
        self._seen = self.cluster.storage.rv  # of before: what this step changes is looked at in the next
        self._start_pods()
        for item in list(self.cluster.collection(workloads.DEPLOYMENTS).items.values()):
            self._reconcile(item)

    def _reconcile(self, item: Item) -> None:
        """Bring one deployment nearer to its replicas, as its controllers would."""
        cluster, wanted = self.cluster, item.decoded()["spec"]["replicas"]
        for missing in list(workloads.missing_pods(cluster, item)):
            cluster.create(cluster.served(PODS), item.namespace, missing)
        sets = workloads.replica_sets_of(cluster, item.namespace, item.uid)
        newest = max(sets, key=lambda one: one.rv)
        for one in sets:
            pods = workloads.pods_of(cluster, one)
            surplus = pods[wanted:] if one is newest else pods
            for pod in surplus:
                cluster.delete(cluster.served(PODS), pod.namespace, pod.name)
        workloads.count_replicas(cluster, item.namespace, item.name)

    def _start_pods(self) -> None:
        """A pod goes from nothing to creating to running, a step at each look."""
        for item in list(self.cluster.collection(PODS).items.values()):
            if b'"phase":"Pending"' not in item.body or b'"deletionTimestamp"' in item.body:
                continue
            pod = item.decoded()
            if not pod["spec"].get("nodeName"):
                self._change(PODS, item, self._bind)
            elif not pod["status"].get("containerStatuses"):
                self._status(item, workloads.creating(self.cluster, pod))
            else:
                self._status(item, workloads.running(self.cluster, pod))

    def _bind(self, pod: Object) -> Object:
        pod["spec"]["nodeName"] = workloads.pick_node(self.cluster)
        return pod

    def _replace_pod(self) -> None:
        """A pod is evicted; its deployment gets another."""
        pod = self._any_pod()
        if pod is not None:
            self.cluster.delete(self.cluster.served(PODS), pod.namespace, pod.name, DeleteOptions(grace_seconds=1))

    def _restart_container(self) -> None:
        """A container ends and is started again."""
        pod = self._any_pod()
        if pod is None:
            return
        obj = pod.decoded()
        restarts = sum(one.get("restartCount", 0) for one in obj["status"].get("containerStatuses") or ())
        self._status(pod, workloads.running(self.cluster, obj, restarts=restarts + 1))

    def _run_job(self) -> None:
        """A job runs to its end; the oldest goes when there are too many."""
        cluster, served = self.cluster, self.cluster.served(_JOBS)
        cron = self.cluster.random.choice([("payments-prod", "settle"), ("insights-batch", "daily-report")])
        namespace, name = cron
        present = list(cluster.collection(_JOBS).snapshot(cluster.storage.rv, namespace))
        for old in sorted(present, key=lambda one: one.rv)[: max(0, len(present) - _MAX_JOBS + 1)]:
            cluster.delete(served, old.namespace, old.name)
        if cluster.collection(GVR("", "v1", "namespaces")).get("", namespace) is None:
            return
        container = {"name": name, "image": f"registry.harbourpine.example/{name}:1.0.0"}
        labels = {"app.kubernetes.io/name": name}
        job = {
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"generateName": f"{name}-", "namespace": namespace, "labels": labels},
            "spec": {"template": {"spec": {"containers": [container], "restartPolicy": "OnFailure"}}},
            "status": {"succeeded": 1, "ready": 0},
        }  # fmt: skip
        cluster.create(served, namespace, job)

    def _touch_settings(self) -> None:
        """Somebody changes a setting."""
        collection = self.cluster.collection(GVR("", "v1", "configmaps"))
        names = [key for key in collection.keys if key.endswith("-settings")]
        if not names:
            return
        item = collection.items[self.cluster.random.choice(names)]

        def change(obj: Object) -> Object:
            level = obj.get("data", {}).get("LOG_LEVEL")
            obj["data"] = {**obj.get("data", {}), "LOG_LEVEL": "debug" if level == "info" else "info"}
            return obj

        self._change(collection.served.gvr, item, change)

    def _any_pod(self) -> Item | None:
        """Some running pod of a deployment."""
        pods = [
            item
            for item in self.cluster.collection(PODS).items.values()
            if "pod-template-hash" in item.labels and b'"phase":"Running"' in item.body
            and b'"deletionTimestamp"' not in item.body
        ]  # fmt: skip
        return self.cluster.random.choice(pods) if pods else None

    def _status(self, item: Item, state: Object) -> None:
        self._change(PODS, item, lambda obj: {**obj, "status": state}, subresource="status")

    def _change(self, gvr: GVR, item: Item, change: Callable[[Object], Object], *, subresource: str = "") -> None:
        self.cluster.change(self.cluster.served(gvr), item.namespace, item.name, change, subresource=subresource)
