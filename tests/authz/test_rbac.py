from __future__ import annotations

import json

import pytest

from kube.resources import GVR
from server.identity import MASTERS, User, implicit_groups
from server.policy import Policy
from server.rbac import Attributes, read_binding, read_rules
from store.record import Record
from tests.authz.objects import TENANT_LABEL, Rule, binding, role, rule

ALICE = User("alice", ("system:authenticated", "devs"))


def decide(given: Rule, asked: Attributes) -> bool:
    """Whether a rule, bound to alice cluster-wide, allows something."""
    policy = Policy([TENANT_LABEL])
    for gvr, record in (role("r", "", given), binding("b", "", "ClusterRole/r", "User/alice")):
        policy.apply(gvr, None, record)
    return policy.decide(ALICE, asked).allowed


@pytest.mark.parametrize(
    ("given", "asked", "allowed"),
    [
        (rule("get list", "pods"), Attributes("list", "", "pods"), True),
        (rule("get list", "pods"), Attributes("watch", "", "pods"), False),
        (rule("*", "pods"), Attributes("anything", "", "pods"), True),
        (rule("get", "*"), Attributes("get", "", "pods", "log"), True),
        (rule("get", "pods"), Attributes("get", "", "pods", "log"), False),
        (rule("get", "pods/log"), Attributes("get", "", "pods", "log"), True),
        (rule("get", "pods/log"), Attributes("get", "", "pods"), False),
        (rule("get", "*/log"), Attributes("get", "", "pods", "log"), True),
        (rule("get", "*/log"), Attributes("get", "", "pods"), False),
        (rule("get", "pods/*"), Attributes("get", "", "pods", "log"), False),
        (rule("get", "*/scale", "*"), Attributes("get", "apps", "deployments", "scale"), True),
        (rule("get", "deployments", "apps"), Attributes("get", "extensions", "deployments"), False),
        (rule("get", "deployments", "*"), Attributes("get", "extensions", "deployments"), True),
        (rule("get", "*", "apps"), Attributes("get", "", "pods"), False),
        (rule("get", "pods", names="a b"), Attributes("get", "", "pods", name="a"), True),
        (rule("get", "pods", names="a b"), Attributes("get", "", "pods", name="c"), False),
        (rule("list", "pods", names="a"), Attributes("list", "", "pods"), False),
        (rule("get", "", urls="/healthz"), Attributes("get", path="/healthz"), True),
        (rule("get", "", urls="/healthz"), Attributes("get", path="/healthz/etcd"), False),
        (rule("get", "", urls="/healthz/*"), Attributes("get", path="/healthz/etcd"), True),
        (rule("get", "", urls="/apis*"), Attributes("get", path="/apis/apps"), True),
        (rule("get", "", urls="*"), Attributes("get", path="/anything"), True),
        (rule("get", "", urls="*"), Attributes("get", "", "pods"), False),
        (rule("*", "*", "*"), Attributes("get", path="/healthz"), False),
    ],
)
def test_rule(given: Rule, asked: Attributes, *, allowed: bool) -> None:
    """Each kind of wildcard means what upstream's RBAC means by it, and no more."""
    assert decide(given, asked) is allowed


def test_null_lists_of_a_rule_grant_nothing() -> None:
    """A rule whose lists are null or missing is read, and allows nothing."""
    rules = read_rules(json.dumps({"rules": [{"verbs": None}, {"verbs": ["get"]}]}).encode())
    assert not any(rule.allows(Attributes("get", "", "pods")) for rule in rules)
    assert read_rules(b'{"rules":null}') == read_rules(b"{}") == ()


@pytest.mark.parametrize(
    ("user", "subject", "applies"),
    [
        (User("alice"), "User/alice", True),
        (User("alice"), "User/Alice", False),
        (User("x", ("devs",)), "Group/devs", True),
        (User("devs"), "Group/devs", False),
        (User("system:serviceaccount:ops:ci"), "ServiceAccount/ops/ci", True),
        (User("system:serviceaccount:ops:ci"), "ServiceAccount/other/ci", False),
        (User("system:serviceaccount:ops:ci"), "ServiceAccount/ci", False),
        (User("system:serviceaccount:ops:ci"), "User/system:serviceaccount:ops:ci", True),
    ],
)
def test_subject_of_a_cluster_role_binding(user: User, subject: str, *, applies: bool) -> None:
    """A subject means exactly the user, group or service account that it names."""
    policy = Policy([TENANT_LABEL])
    policy.apply(*_added(role("r", "", rule("get", "pods"))))
    policy.apply(*_added(binding("b", "", "ClusterRole/r", subject)))
    assert policy.decide(user, Attributes("get", "", "pods", namespace="ops")).allowed is applies


def test_service_account_subject_takes_the_namespace_of_its_role_binding() -> None:
    """A ServiceAccount subject without a namespace is that of the RoleBinding's own namespace."""
    _, record = binding("b", "ops", "Role/r", "ServiceAccount/ci")
    assert read_binding(record.body(), "ops").subjects == {"u:system:serviceaccount:ops:ci"}


def test_role_binding_grants_in_its_namespace_alone() -> None:
    """A RoleBinding to a ClusterRole grants in its namespace, not elsewhere and not cluster-wide."""
    policy = Policy([TENANT_LABEL])
    policy.apply(*_added(role("r", "", rule("list", "pods nodes"))))
    policy.apply(*_added(binding("b", "oil", "ClusterRole/r", "User/alice")))
    allowed = [policy.decide(ALICE, Attributes("list", "", "pods", namespace=ns)).allowed for ns in ("oil", "gas", "")]
    assert allowed == [True, False, False]


def test_role_is_found_in_the_namespace_of_its_binding_only() -> None:
    """A RoleBinding to a Role of the same name in another namespace grants nothing."""
    policy = Policy([TENANT_LABEL])
    policy.apply(*_added(role("r", "gas", rule("list", "pods"))))
    policy.apply(*_added(binding("b", "oil", "Role/r", "User/alice")))
    decision = policy.decide(ALICE, Attributes("list", "", "pods", namespace="oil"))
    assert decision == (False, 'RBAC: role.rbac.authorization.k8s.io "r" not found')


def test_reasons_of_a_refusal_are_put_as_upstream_puts_them() -> None:
    """Roles that cannot be resolved are named after the refusal, in brackets if they are several, each once."""
    policy = Policy([TENANT_LABEL])
    policy.apply(*_added(binding("a", "", "ClusterRole/gone", "User/alice")))
    asked = Attributes("list", "", "pods", namespace="oil")
    assert policy.decide(ALICE, asked).reason == 'RBAC: clusterrole.rbac.authorization.k8s.io "gone" not found'
    policy.apply(*_added(binding("b", "", "ClusterRole/gone", "Group/devs")))
    policy.apply(*_added(binding("c", "oil", "Role/lost", "Group/devs")))
    assert policy.decide(ALICE, asked).reason == (
        'RBAC: [clusterrole.rbac.authorization.k8s.io "gone" not found, '
        'role.rbac.authorization.k8s.io "lost" not found]'
    )
    policy.apply(*_added(role("any", "", rule("list", "pods"))))
    policy.apply(*_added(binding("d", "", "ClusterRole/any", "User/alice")))
    assert policy.decide(ALICE, asked) == (True, "")


def test_masters_may_all() -> None:
    """A member of system:masters needs no binding."""
    assert Policy([TENANT_LABEL]).decide(User("root", (MASTERS,)), Attributes("delete", "", "nodes")).allowed


def test_changes_take_effect_and_tell_whom_they_concern() -> None:
    """A decision follows every change of role and binding, and each change names the subjects that it concerns."""
    policy = Policy([TENANT_LABEL])
    asked = Attributes("list", "", "pods", namespace="oil")
    bound, unused = binding("b", "oil", "Role/r", "User/alice"), role("unused", "oil", rule("get", "pods"))
    assert policy.apply(*_added(bound)) == {"u:alice"}
    assert policy.apply(*_added(unused)) == frozenset()
    assert not policy.decide(ALICE, asked).allowed
    assert policy.apply(*_added(role("r", "oil", rule("list", "pods")))) == {"u:alice"}
    assert policy.decide(ALICE, asked).allowed
    standing = policy.standing(ALICE)
    gvr, narrower = role("r", "oil", rule("get", "pods"))
    assert policy.apply(gvr, narrower, narrower) == {"u:alice"}
    assert not standing.valid
    assert not policy.decide(ALICE, asked).allowed
    gvr, wider = role("r", "oil", rule("*", "*"))
    policy.apply(gvr, narrower, wider)
    assert policy.decide(ALICE, asked).allowed
    assert policy.apply(bound[0], bound[1], None) == {"u:alice"}
    assert not policy.decide(ALICE, asked).allowed


def test_unreadable_control_object_grants_nothing() -> None:
    """A role that was readable and is not any more is as good as gone."""
    policy = Policy([TENANT_LABEL])
    gvr, good = role("r", "", rule("list", "pods"))
    policy.apply(gvr, None, good)
    policy.apply(*_added(binding("b", "", "ClusterRole/r", "User/alice")))
    _, bad = role("r", "", {"verbs": "get"})  # type: ignore[dict-item]
    policy.apply(gvr, good, bad)
    assert not policy.decide(ALICE, Attributes("list", "", "pods")).allowed


def test_implicit_groups_of_service_accounts() -> None:
    """A service account is in the groups of all, of its namespace's, and of all authenticated users."""
    groups = implicit_groups("system:serviceaccount:ops:ci", ("extra",))
    assert groups == ("extra", "system:serviceaccounts", "system:serviceaccounts:ops", "system:authenticated")


def _added(pair: tuple[GVR, Record]) -> tuple[GVR, None, Record]:
    return pair[0], None, pair[1]
