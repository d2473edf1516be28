"""The sandbox's API without HTTP: what create, update, patch and delete do to the stored objects.

Every method is one step of the event loop; what follows later (a pod's end, a namespace's contents, an
owner's dependents) is put on the loop as a step of its own.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube import status
from kube.resources import CUSTOM_RESOURCE_DEFINITIONS, GVR, NAMESPACES
from sandbox import objects
from sandbox.access import Access
from sandbox.catalogue import Catalogue, Served
from sandbox.objects import Object
from sandbox.storage import Collection, Event, EventType, Item, Storage

PODS = GVR("", "v1", "pods")
_OWNERS = ("deployments", "replicasets", "statefulsets", "daemonsets", "jobs", "cronjobs")
_OWNED = (GVR("apps", "v1", "replicasets"), GVR("batch", "v1", "jobs"), PODS)

Change = Callable[[Object], Object]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteOptions:
    """What a delete may say. `grace_seconds` None: the pod's own."""

    grace_seconds: int | None = None
    uid: str = ""
    resource_version: str = ""
    orphan: bool = False
    dry_run: bool = False


@dataclass
class Cluster:
    """Everything that the sandbox holds. `clock` gives Unix seconds.

    `pod_end_seconds` is the longest that a deleted pod takes to go, however long its grace period.
    """

    history_limit: int = 10_000
    pod_end_seconds: float = 2.0
    seed: int = 20_261_122
    clock: Callable[[], float] = time.time
    catalogue: Catalogue = field(default_factory=Catalogue)
    storage: Storage = field(init=False)
    access: Access = field(init=False)
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.storage = Storage(self.history_limit)
        self.access = Access(self.catalogue, self.storage)
        self.random = random.Random(self.seed)
        self._later: set[asyncio.Handle] = set()

    def served(self, gvr: GVR) -> Served:
        """The served resource.

        Raises:
            NotFound: it is not served.
        """
        found = self.catalogue.find(gvr)
        if found is None:
            raise status.not_found_route()
        return found

    def collection(self, gvr: GVR) -> Collection:
        """The objects of a served resource."""
        return self.storage.collection(self.served(gvr))

    def get(self, served: Served, namespace: str, name: str) -> Item:
        """One object.

        Raises:
            NotFound: it does not exist.
        """
        item = self.storage.collection(served).get(namespace, name)
        if item is None:
            raise status.not_found(served.gvr, name)
        return item

    def create(self, served: Served, namespace: str, obj: Any, *, dry_run: bool = False) -> Item:
        """Store a new object.

        Raises:
            StatusError: 400, 404 (its namespace), 409 or 422.
        """
        obj = objects.check_posted(served, namespace, obj)
        if served.resource.namespaced:
            self._check_namespace(namespace, obj["metadata"].get("name") or "")
        obj = objects.prepare(served, obj, self.clock(), self.random)
        name = obj["metadata"]["name"]
        if self.storage.collection(served).get(namespace if served.resource.namespaced else "", name) is not None:
            raise objects.already_exists(served.gvr, name)
        if served.gvr == CUSTOM_RESOURCE_DEFINITIONS:
            _establish(obj, objects.timestamp(self.clock()))
        item = self._commit(served, "ADDED", obj, None, dry_run=dry_run)
        if served.gvr == CUSTOM_RESOURCE_DEFINITIONS and not dry_run:
            self.catalogue.define(obj)
        return item

    def load(self, obj: Object, *, age_seconds: float = 0.0) -> Item:
        """Store an object of the seed as if it had been created `age_seconds` ago; its status is kept."""
        served = self.catalogue.by_kind(obj["apiVersion"], obj["kind"])
        assert served is not None, f"the seed holds {obj['apiVersion']} {obj['kind']}, which is not served"
        obj = objects.prepare(served, obj, self.clock() - age_seconds, self.random)
        if served.gvr == CUSTOM_RESOURCE_DEFINITIONS:
            _establish(obj, objects.timestamp(self.clock() - age_seconds))
            self.catalogue.define(obj)
        return self._commit(served, "ADDED", obj, None)

    def change(
        self, served: Served, namespace: str, name: str, change: Change, *, subresource: str = "", dry_run: bool = False
    ) -> Item:
        """Replace an object by `change` of it: an update or a patch, of the whole or of its status.

        Raises:
            StatusError: 404, 409 (another resourceVersion or uid), or what `change` raises.
        """
        old = self.get(served, namespace, name)
        before = old.decoded()
        after = objects.check_posted(served, namespace, change(old.decoded()))
        metadata = after["metadata"]
        if metadata.get("name", name) != name:
            raise status.bad_request(
                f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
            )
        if metadata.get("resourceVersion") not in (None, "", "0", str(old.rv)):
            raise objects.conflict(served.gvr, name)
        if metadata.get("uid") not in (None, "", old.uid):
            raise objects.conflict(served.gvr, name)
        after = _keep_server_parts(served, before, after, subresource)
        if "status" not in subresource and before.get("spec") != after.get("spec"):
            generation = before["metadata"].get("generation")
            if generation is not None:
                after["metadata"]["generation"] = generation + 1
        if objects.to_item(served, after, old.rv).body == old.body:
            return old  # as upstream: what changes nothing takes no revision
        if before["metadata"].get("deletionTimestamp") and not after["metadata"].get("finalizers"):
            return self._remove(served, old, dry_run=dry_run)
        item = self._commit(served, "MODIFIED", after, old, dry_run=dry_run)
        if served.gvr == CUSTOM_RESOURCE_DEFINITIONS and not dry_run:
            self.catalogue.define(after)
        return item

    def delete(
        self, served: Served, namespace: str, name: str, options: DeleteOptions | None = None
    ) -> tuple[Item, bool]:
        """Delete an object, or mark it; returns its last state, and whether it is gone.

        Raises:
            StatusError: 404, or 409 of a precondition.
        """
        options = options or DeleteOptions()
        old = self.get(served, namespace, name)
        if options.uid not in ("", old.uid) or options.resource_version not in ("", str(old.rv)):
            raise objects.conflict(served.gvr, name)
        obj = old.decoded()
        metadata = obj["metadata"]
        grace = self._grace_seconds(served, obj, options)
        waits = bool(metadata.get("finalizers")) or served.gvr == NAMESPACES or grace > 0
        if not waits:
            gone = self._remove(served, old, dry_run=options.dry_run, orphan=options.orphan)
            return gone, True
        if metadata.get("deletionTimestamp"):
            return old, False
        metadata["deletionTimestamp"] = objects.timestamp(self.clock() + grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if served.gvr == NAMESPACES:
            obj.setdefault("status", {})["phase"] = "Terminating"
        item = self._commit(served, "MODIFIED", obj, old, dry_run=options.dry_run)
        if not options.dry_run:
            if served.gvr == NAMESPACES:
                self._after(0.1, lambda: self._end_namespace(name))
            elif grace:
                self._after(min(grace, self.pod_end_seconds), lambda: self._end_pod(item))
        return item, False

    def stop(self) -> None:
        """Forget what was to happen later."""
        for handle in self._later:
            handle.cancel()
        self._later.clear()

    def _grace_seconds(self, served: Served, obj: Object, options: DeleteOptions) -> int:
        if served.gvr != PODS or not (obj.get("spec") or {}).get("nodeName"):
            return 0  # a pod that is on no node has nothing to end
        if (obj.get("status") or {}).get("phase") in {"Succeeded", "Failed"}:
            return 0
        if options.grace_seconds is not None:
            return options.grace_seconds
        return int(obj["spec"].get("terminationGracePeriodSeconds", 30))

    def _check_namespace(self, namespace: str, name: str) -> None:
        item = self.collection(NAMESPACES).get("", namespace)
        if item is None:
            raise status.not_found(NAMESPACES, namespace)
        if item.decoded()["metadata"].get("deletionTimestamp"):
            reason = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise status.StatusError(403, "Forbidden", reason, details={"name": name})

    def _commit(
        self, served: Served, event_type: EventType, obj: Object, old: Item | None, *, dry_run: bool = False
    ) -> Item:
        if dry_run:
            return objects.to_item(served, obj, old.rv if old else 0)
        rv = self.storage.next_rv()
        item = objects.to_item(served, obj, rv)
        self.storage.collection(served).record(Event(rv, event_type, item, old))
        return item

    def _remove(self, served: Served, old: Item, *, dry_run: bool = False, orphan: bool = False) -> Item:
        item = self._commit(served, "DELETED", old.decoded(), old, dry_run=dry_run)
        if dry_run:
            return item
        if served.gvr == CUSTOM_RESOURCE_DEFINITIONS:
            spec = old.decoded()["spec"]
            for gvr in self.catalogue.forget(spec["group"], spec["names"]["plural"]):
                self.storage.drop(gvr)
        if served.gvr.resource in _OWNERS and not orphan:
            self._after(0.05, lambda: self._collect_dependents(old.uid))
        return item

    def _end_pod(self, marked: Item) -> None:
        """What a kubelet does once the containers of a deleted pod have ended."""
        served = self.served(PODS)
        present = self.storage.collection(served).get(marked.namespace, marked.name)
        if present is not None and present.uid == marked.uid:
            self._remove(served, present)

    def _end_namespace(self, name: str) -> None:
        """What the namespace controller does: everything in it goes, then itself."""
        for collection in self.storage.collections():
            if collection.served.resource.namespaced:
                for item in list(collection.snapshot(self.storage.rv, name)):
                    self._remove(collection.served, item)
        served = self.served(NAMESPACES)
        namespace = self.storage.collection(served).get("", name)
        if namespace is not None:
            self._remove(served, namespace)

    def _collect_dependents(self, owner_uid: str) -> None:
        """What the garbage collector does: objects whose owner is gone go too."""
        marker = f'"uid":"{owner_uid}"'.encode()
        for gvr in _OWNED:
            collection = self.collection(gvr)
            for item in [one for one in collection.items.values() if marker in one.body]:
                references = item.decoded()["metadata"].get("ownerReferences") or ()
                if any(reference.get("uid") == owner_uid for reference in references):
                    self.delete(collection.served, item.namespace, item.name)

    def _after(self, seconds: float, step: Callable[[], object]) -> None:
        """Run a step later, if there is a loop; a cluster that is only filled has none."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            step()
            return

        def run() -> None:
            self._later.discard(handle)
            step()

        handle = loop.call_later(seconds, run)
        self._later.add(handle)


def _keep_server_parts(served: Served, before: Object, after: Object, subresource: str) -> Object:
    """What an update may not change stays as it was."""
    if subresource == "status":
        after = {**before, "status": after.get("status"), "metadata": {**before["metadata"]}}
    elif "status" in served.subresources and "status" in before:
        after["status"] = before["status"]
    kept, metadata = before["metadata"], after["metadata"]
    for key in ("uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds"):
        if key in kept:
            metadata[key] = kept[key]
        else:
            metadata.pop(key, None)
    metadata["name"] = kept["name"]
    objects.default(served, after)
    return after


def _establish(definition: Object, moment: str) -> None:
    """The status that a new definition has once it is served."""
    spec = definition["spec"]
    definition["status"] = {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": moment, "reason": reason, "message": message}
            for kind, reason, message in (
                ("NamesAccepted", "NoConflicts", "no conflicts found"),
                ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
            )
        ],
        "acceptedNames": {**spec["names"], "listKind": spec["names"].get("listKind") or f"{spec['names']['kind']}List"},
        "storedVersions": [next(one["name"] for one in spec["versions"] if one.get("storage"))],
    }
