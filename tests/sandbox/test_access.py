"""The sandbox's own, simple RBAC: who may do what in the company."""

from __future__ import annotations

import pytest

from kube.resources import GVR
from sandbox.access import Attributes
from sandbox.cluster import Cluster
from sandbox.company import PEOPLE

PODS = GVR("", "v1", "pods")
SECRETS = GVR("", "v1", "secrets")


@pytest.mark.parametrize(
    ("token", "verb", "gvr", "namespace", "allowed"),
    [
        ("alice-token", "list", PODS, "storefront-prod", True),
        ("alice-token", "list", PODS, "payments-prod", False),
        ("alice-token", "list", PODS, "", False),
        ("alice-token", "get", SECRETS, "storefront-prod", True),
        ("carol-token", "delete", PODS, "logistics-lab", True),
        ("dave-token", "list", PODS, "storefront-staging", True),
        ("dave-token", "delete", PODS, "storefront-staging", False),
        ("dave-token", "get", SECRETS, "storefront-staging", False),
        ("grace-token", "list", SECRETS, "", True),
        ("grace-token", "delete", PODS, "people-apps", False),
        ("mallory-token", "get", PODS, "default", False),
        ("deployer-token", "update", PODS, "storefront-prod", True),
        ("deployer-token", "update", PODS, "storefront-staging", False),
    ],
)
def test_people_may_do_what_their_bindings_say(
    cluster: Cluster, token: str, verb: str, gvr: GVR, namespace: str, allowed: bool
) -> None:
    """Owners rule their namespaces, helpers look, auditors read all, strangers nothing."""
    wanted = Attributes(verb=verb, gvr=gvr, namespace=namespace)
    assert cluster.access.allowed(PEOPLE[token], wanted) is allowed


def test_resource_names_bind_a_rule_to_objects(cluster: Cluster) -> None:
    """A rule with resourceNames grants nothing else, and nothing without a name."""
    subjects = [{"kind": "User", "name": "mallory"}]
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"], "resourceNames": ["one"]}
    meta = {"name": "one", "namespace": "default"}
    cluster.load({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {**meta}, "rules": [rule]})
    cluster.load(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {**meta},
            "roleRef": {"kind": "Role", "name": "one"}, "subjects": subjects,
        }
    )  # fmt: skip
    mallory = PEOPLE["mallory-token"]

    def may(name: str) -> bool:
        return cluster.access.allowed(mallory, Attributes(verb="get", gvr=PODS, namespace="default", name=name))

    assert (may("one"), may("two"), may("")) == (True, False, False)
