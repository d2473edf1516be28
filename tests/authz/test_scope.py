from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kube.resources import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    GVR,
    NAMESPACES,
    ROLE_BINDINGS,
    ROLES,
)
from server.identity import MASTERS, User
from server.policy import Policy
from server.rbac import Attributes
from server.scope import ALL, NOTHING, Scope
from store.record import Record
from tests.authz.objects import (
    KINDS,
    NODES,
    PODS,
    TENANT_LABEL,
    TENANTS,
    binding,
    namespace,
    role,
    rule,
    tenant,
)

ALICE = User("alice", ("system:authenticated", "oil-owners"))
Objects = Iterable[tuple[GVR, Record]]


def policy_of(*objects: tuple[GVR, Record]) -> Policy:
    """A policy that knows these control objects."""
    policy = Policy([TENANT_LABEL])
    for gvr, record in objects:
        policy.apply(gvr, None, record)
    return policy


READER = role("reader", "", rule("get list watch", "pods"))


def test_cluster_wide_right_covers_everything() -> None:
    """Who may list pods everywhere gets the scope of everything, also on a namespaced path."""
    policy = policy_of(READER, binding("b", "", "ClusterRole/reader", "User/alice"))
    assert policy.scope(ALICE, KINDS[PODS], "list") == ALL
    assert policy.scope(ALICE, KINDS[PODS], "list", "oil") == ALL


def test_namespaced_rights_make_a_union() -> None:
    """Across namespaces a user sees those where RBAC lets them do the very verb; in one of them, all; elsewhere 403."""
    lister = role("lister", "", rule("list", "pods"))
    policy = policy_of(
        READER,
        lister,
        binding("a", "oil", "ClusterRole/reader", "User/alice"),
        binding("b", "gas", "ClusterRole/lister", "Group/oil-owners"),
        binding("c", "sun", "ClusterRole/reader", "User/bob"),
    )
    assert policy.scope(ALICE, KINDS[PODS], "list") == Scope.of_namespaces(["gas", "oil"])
    assert policy.scope(ALICE, KINDS[PODS], "watch") == Scope.of_namespaces(["oil"])
    assert policy.scope(ALICE, KINDS[PODS], "list", "oil") == ALL
    assert policy.scope(ALICE, KINDS[PODS], "list", "sun") is None
    assert policy.scope(ALICE, KINDS[PODS], "get", "", "web") is None


def test_owner_without_namespaces_gets_an_empty_answer_and_a_stranger_is_refused() -> None:
    """Owning a tenant that has no namespace yet makes an empty list of what others are refused."""
    policy = policy_of(tenant("oil", "User/alice"))
    assert policy.scope(ALICE, KINDS[PODS], "list") == NOTHING
    assert policy.scope(ALICE, KINDS[NAMESPACES], "list") == NOTHING
    assert policy.scope(ALICE, KINDS[NODES], "list") is None
    assert policy.scope(ALICE, KINDS[PODS], "list", "oil-dev") is None
    assert policy.scope(User("carol"), KINDS[PODS], "list") is None
    assert policy.scope(User("carol"), KINDS[NAMESPACES], "list") is None


def test_owner_sees_the_namespaces_of_their_tenants_and_nothing_in_them() -> None:
    """Owning a tenant shows its namespaces by name; what is in them is RBAC's to open."""
    policy = policy_of(
        tenant("oil", "Group/oil-owners", status=True),
        namespace("oil-dev", "oil"),
        namespace("oil-prod", "oil"),
        namespace("gas-dev", "gas"),
        namespace("default"),
    )
    assert policy.scope(ALICE, KINDS[NAMESPACES], "list") == Scope.of_names(["oil-dev", "oil-prod"])
    assert policy.scope(ALICE, KINDS[NAMESPACES], "get", "oil-dev", "oil-dev") == Scope.of_names(["oil-dev"])
    assert policy.scope(ALICE, KINDS[NAMESPACES], "get", "gas-dev", "gas-dev") is None
    assert policy.scope(ALICE, KINDS[PODS], "list") == NOTHING
    assert policy.scope(ALICE, KINDS[PODS], "list", "oil-dev") is None


def test_binding_that_lets_one_get_a_namespace_shows_it() -> None:
    """A namespace whose own bindings grant `get namespaces` is visible without any tenant, by name or in general."""
    policy = policy_of(
        role("view", "", rule("get list watch", "namespaces pods")),
        role("named", "gas", rule("get", "namespaces", names="gas")),
        role("wrong", "sun", rule("get", "namespaces", names="gas")),
        binding("a", "oil", "ClusterRole/view", "User/alice"),
        binding("b", "gas", "Role/named", "User/alice"),
        binding("c", "sun", "Role/wrong", "User/alice"),
    )
    assert policy.scope(ALICE, KINDS[NAMESPACES], "list") == Scope.of_names(["gas", "oil"])
    assert policy.scope(ALICE, KINDS[NAMESPACES], "get", "gas", "gas") == Scope.of_names(["gas"])
    assert policy.scope(ALICE, KINDS[NAMESPACES], "get", "sun", "sun") is None


def test_cluster_scoped_objects_by_name() -> None:
    """A rule with resourceNames opens a get, or a list with that metadata.name, of that object alone."""
    policy = policy_of(
        role("one", "", rule("get list watch", "nodes", names="n1")),
        binding("b", "", "ClusterRole/one", "User/alice"),
    )
    assert policy.scope(ALICE, KINDS[NODES], "list") is None
    assert policy.scope(ALICE, KINDS[NODES], "list", "", "n1") == Scope.of_names(["n1"])
    assert policy.scope(ALICE, KINDS[NODES], "get", "", "n1") == Scope.of_names(["n1"])
    assert policy.scope(ALICE, KINDS[NODES], "get", "", "n2") is None


def test_kinds_of_owners() -> None:
    """A service account owns by the kind ServiceAccount only, as Capsule has it; names of users are taken exactly."""
    account = "system:serviceaccount:ops:ci"
    policy = policy_of(
        tenant("a", f"ServiceAccount/{account}"),
        tenant("b", f"User/{account}"),
        tenant("c", "ServiceAccount/alice"),
        tenant("d", "User/alice"),
        *(namespace(f"{name}-1", name) for name in "abcd"),
    )
    assert policy.scope(User(account), KINDS[NAMESPACES], "list") == Scope.of_names(["a-1"])
    assert policy.scope(ALICE, KINDS[NAMESPACES], "list") == Scope.of_names(["d-1"])


def test_namespace_that_changes_its_tenant_changes_its_owners() -> None:
    """Both owners' scopes follow a namespace that moves, and each change names whom it concerns."""
    bob = User("bob")
    before, after = namespace("ns", "oil"), namespace("ns", "gas")
    policy = policy_of(tenant("oil", "User/alice"), tenant("gas", "User/bob"), before)
    assert policy.scope(ALICE, KINDS[NAMESPACES], "watch") == Scope.of_names(["ns"])
    assert policy.apply(NAMESPACES, before[1], after[1]) == {"u:alice", "u:bob"}
    assert policy.scope(ALICE, KINDS[NAMESPACES], "watch") == NOTHING
    assert policy.scope(bob, KINDS[NAMESPACES], "watch") == Scope.of_names(["ns"])
    assert policy.apply(NAMESPACES, after[1], None) == {"u:bob"}
    assert policy.scope(bob, KINDS[NAMESPACES], "watch") == NOTHING


def test_digest_is_that_of_the_content() -> None:
    """Equal scopes have equal digests, different ones different digests, also where only the kind differs."""
    assert Scope.of_names(["b", "a"]).digest == Scope.of_names(["a", "b"]).digest
    scopes = (ALL, NOTHING, Scope.of_names(["a"]), Scope.of_namespaces(["a"]), Scope.of_names(["a", "b"]))
    assert len({scope.digest for scope in scopes}) == len(scopes)


# The property: nothing outside RBAC and ownership, for random worlds, asked of a naive reading of the objects.

NAMES = ("a", "b", "c")
USERS = (User("u1", ("g1",)), User("u2", ("g1", "g2")), User("system:serviceaccount:a:s", ("g2",)), User("u3"))
SUBJECTS = ("User/u1", "User/u2", "Group/g1", "Group/g2", "ServiceAccount/a/s")

rules = st.builds(
    rule,
    st.sampled_from(("get", "list", "watch", "get list watch", "*", "create")),
    st.sampled_from(("pods", "namespaces", "nodes", "*", "pods namespaces", "pods/log")),
    st.sampled_from(("", "*", "apps")),
    st.sampled_from(("", "", "", "a", "b")),
)
maybe_namespace = st.sampled_from(("", *NAMES))


@st.composite
def worlds(draw: st.DrawFn) -> list[tuple[GVR, Record]]:
    """Random roles, bindings, tenants and namespaces; later ones replace earlier ones of the same key."""
    found: dict[tuple[GVR, str, str], Record] = {}

    def put(pair: tuple[GVR, Record]) -> None:
        found[pair[0], pair[1].namespace, pair[1].name] = pair[1]

    for _ in range(draw(st.integers(0, 4))):
        put(role(draw(st.sampled_from(("r1", "r2"))), draw(maybe_namespace), *draw(st.lists(rules, max_size=2))))
    for _ in range(draw(st.integers(0, 5))):
        subjects = draw(st.lists(st.sampled_from(SUBJECTS), max_size=2))
        ref = draw(st.sampled_from(("Role/r1", "ClusterRole/r1", "ClusterRole/r2", "Role/r2")))
        put(binding(draw(st.sampled_from(("b1", "b2"))), draw(maybe_namespace), ref, *subjects))
    for name in NAMES:
        put(namespace(name, draw(st.sampled_from(("", "t1", "t2")))))
    for name in ("t1", "t2"):
        if draw(st.booleans()):
            owners = draw(st.lists(st.sampled_from(("User/u1", "User/u3", "Group/g2")), max_size=2))
            put(tenant(name, *owners, status=draw(st.booleans())))
    return [(gvr, record) for (gvr, _, _), record in found.items()]


class Naive:
    """The same rights, read off the objects anew for each question."""

    def __init__(self, world: Objects) -> None:
        self.objects: dict[GVR, list[tuple[Record, dict[str, Any]]]] = {}
        for gvr, record in world:
            self.objects.setdefault(gvr, []).append((record, json.loads(record.body())))

    def _is(self, user: User, subject: dict[str, str], home: str) -> bool:
        if subject["kind"] == "User":
            return user.name == subject["name"]
        if subject["kind"] == "Group":
            return subject["name"] in user.groups
        return user.name == f"system:serviceaccount:{subject.get('namespace') or home}:{subject['name']}"

    def _rules(self, ref: dict[str, str], home: str) -> list[dict[str, list[str]]]:
        kind = CLUSTER_ROLES if ref["kind"] == "ClusterRole" else ROLES
        wanted = "" if kind == CLUSTER_ROLES else home
        for record, body in self.objects.get(kind, []):
            if record.name == ref["name"] and record.namespace == wanted and (kind == CLUSTER_ROLES or home):
                return list(body["rules"])
        return []

    def allowed(self, user: User, asked: Attributes) -> bool:
        """RBAC's answer."""
        bound = [(item, "") for item in self.objects.get(CLUSTER_ROLE_BINDINGS, [])]
        bound += [
            (item, asked.namespace)
            for item in self.objects.get(ROLE_BINDINGS, [])
            if item[0].namespace == asked.namespace and asked.namespace
        ]
        for (_, body), home in bound:
            if any(self._is(user, subject, home) for subject in body["subjects"]):
                for given_rule in self._rules(body["roleRef"], home):
                    names = given_rule.get("resourceNames", [])
                    if (
                        {"*", asked.verb} & set(given_rule["verbs"])
                        and {"*", asked.group} & set(given_rule["apiGroups"])
                        and {"*", asked.resource} & set(given_rule["resources"])
                        and (not names or asked.name in names)
                    ):
                        return True
        return False

    def owned(self, user: User) -> set[str]:
        """The namespaces of the user's tenants."""
        mine = set()
        for record, body in self.objects.get(TENANTS, []):
            owners = (body.get("spec", {}).get("owners") or []) + (body.get("status", {}).get("owners") or [])
            if any(self._is(user, owner, "") for owner in owners):
                mine.add(record.name)
        return {ns.name for ns, _ in self.objects[NAMESPACES] if ns.labels.get(TENANT_LABEL) in mine}


@settings(max_examples=300, deadline=None)
@given(worlds(), st.sampled_from(USERS), st.sampled_from(("get", "list", "watch")))
def test_no_scope_shows_more_than_rbac_and_ownership(world: list[tuple[GVR, Record]], user: User, verb: str) -> None:
    """A scope covers an object exactly if RBAC, read naively, lets the user see it, or they own the namespace."""
    policy, naive = policy_of(*world), Naive(world)
    for ns in NAMES:
        in_namespace = naive.allowed(user, Attributes(verb, "", "pods", namespace=ns))
        assert (policy.scope(user, KINDS[PODS], verb, ns) is not None) == in_namespace
        if verb != "get":
            scope = policy.scope(user, KINDS[PODS], verb)
            assert (scope is not None and scope.covers(ns, "x")) == in_namespace
    nodes = naive.allowed(user, Attributes(verb, "", "nodes"))
    assert (policy.scope(user, KINDS[NODES], verb) is not None) == nodes
    for name in NAMES:
        named = policy.scope(user, KINDS[NODES], verb, "", name)
        assert (named is not None) == naive.allowed(user, Attributes(verb, "", "nodes", name=name))
        assert named is None or (named.covers("", name) and (named == ALL) == nodes)
        _check_namespace(policy, naive, user, verb, name)


def _check_namespace(policy: Policy, naive: Naive, user: User, verb: str, name: str) -> None:
    gettable = naive.allowed(user, Attributes("get", "", "namespaces", namespace=name, name=name))
    if verb == "get":
        scope = policy.scope(user, KINDS[NAMESPACES], "get", name, name)
        assert (scope is not None) == (gettable or name in naive.owned(user))
        return
    scope = policy.scope(user, KINDS[NAMESPACES], verb)
    everything = naive.allowed(user, Attributes(verb, "", "namespaces"))
    if scope is not None and scope.covers("", name):
        assert everything or gettable or name in naive.owned(user)
    if everything or name in naive.owned(user):
        assert scope is not None
        assert scope.covers("", name)


@settings(max_examples=100, deadline=None)
@given(worlds(), worlds(), st.sampled_from(USERS))
def test_scopes_follow_the_objects_and_nothing_else(
    before: list[tuple[GVR, Record]], after: list[tuple[GVR, Record]], user: User
) -> None:
    """However a policy came to know its objects, its answers are those of a policy made of them at once."""
    policy, fresh = policy_of(*before), policy_of(*after)
    for asked in (*NAMES, ""):
        policy.scope(user, KINDS[PODS], "list", asked)  # remembered, and to be forgotten
    old = {(gvr, record.namespace, record.name): record for gvr, record in before}
    new = {(gvr, record.namespace, record.name): record for gvr, record in after}
    for key in old.keys() | new.keys():
        policy.apply(key[0], old.get(key), new.get(key))
    for kind in (PODS, NODES, NAMESPACES):
        for asked in (*NAMES, ""):
            assert policy.scope(user, KINDS[kind], "list", asked) == fresh.scope(user, KINDS[kind], "list", asked)


def test_masters_have_everything() -> None:
    """A member of system:masters has the scope of everything, without any object."""
    assert policy_of().scope(User("root", (MASTERS,)), KINDS[PODS], "watch") == ALL
