"""Whose tenants are which namespaces: from Capsule's Tenant objects and the tenant label of namespaces.

A Tenant's owners are those of `status.owners` (which also holds promoted and matched ones) and of `spec.owners`
(a Tenant whose status is not written yet). Namespaces belong to the tenant that their label names,
also where no Tenant object exists; then it has no owners.

Invariant: owning a tenant opens its namespaces by name, and nothing in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from server.identity import SERVICE_ACCOUNT_PREFIX
from server.rbac import group_key, user_key


class _Owner(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Owners(msgspec.Struct, frozen=True):
    owners: tuple[_Owner, ...] | None = None


class _TenantObject(msgspec.Struct, frozen=True):
    spec: _Owners | None = None
    status: _Owners | None = None


_decoder = msgspec.json.Decoder(_TenantObject)


def read_owners(body: bytes) -> frozenset[str]:
    """The subject keys of a Tenant's owners, from its JSON in any served version.

    Raises:
        msgspec.DecodeError: it is no Tenant.
    """
    tenant = _decoder.decode(body)
    parts = (part for part in (tenant.spec, tenant.status) if part is not None)
    return frozenset(key for part in parts for owner in part.owners or () if (key := _owner_key(owner)))


def _owner_key(owner: _Owner) -> str | None:
    """As Capsule looks owners up: a service account only matches an owner of kind ServiceAccount."""
    account = owner.name.startswith(SERVICE_ACCOUNT_PREFIX)
    if owner.kind == "Group":
        return group_key(owner.name)
    if owner.kind == "User" and not account:
        return user_key(owner.name)
    if owner.kind == "ServiceAccount" and account:
        return user_key(owner.name)
    return None


class Tenants:
    """Owners and namespaces of every tenant. Setters return the subjects that the change concerns."""

    def __init__(self) -> None:
        self._owners: dict[str, frozenset[str]] = {}
        self._tenants_of_subject: dict[str, set[str]] = {}
        self._namespaces: dict[str, set[str]] = {}
        self._tenant_of_namespace: dict[str, str] = {}

    def set_owners(self, tenant: str, owners: frozenset[str] | None) -> frozenset[str]:
        """Add, replace or (None) remove a Tenant."""
        old = self._owners.get(tenant, frozenset())
        for subject in old:
            tenants = self._tenants_of_subject[subject]
            tenants.discard(tenant)
            if not tenants:
                del self._tenants_of_subject[subject]
        new = owners or frozenset()
        if owners is None:
            self._owners.pop(tenant, None)
        else:
            self._owners[tenant] = new
        for subject in new:
            self._tenants_of_subject.setdefault(subject, set()).add(tenant)
        return old ^ new

    def set_namespace(self, namespace: str, tenant: str | None) -> frozenset[str]:
        """Say which tenant a namespace belongs to; None: to none, or the namespace is gone."""
        old = self._tenant_of_namespace.get(namespace)
        if old == tenant:
            return frozenset()
        if old is not None:
            members = self._namespaces[old]
            members.discard(namespace)
            if not members:
                del self._namespaces[old]
            del self._tenant_of_namespace[namespace]
        if tenant is not None:
            self._tenant_of_namespace[namespace] = tenant
            self._namespaces.setdefault(tenant, set()).add(namespace)
        return self.owners_of(old) | self.owners_of(tenant)

    def owners_of(self, tenant: str | None) -> frozenset[str]:
        """The subjects that own a tenant."""
        return self._owners.get(tenant, frozenset()) if tenant is not None else frozenset()

    def owned(self, subjects: Iterable[str]) -> frozenset[str]:
        """The names of the tenants that any of these subjects owns."""
        return frozenset(tenant for subject in subjects for tenant in self._tenants_of_subject.get(subject, ()))

    def namespaces(self, tenants: Iterable[str]) -> frozenset[str]:
        """The namespaces of these tenants."""
        return frozenset(ns for tenant in tenants for ns in self._namespaces.get(tenant, ()))


def tenant_from_labels(labels: dict[str, str], keys: Sequence[str]) -> str | None:
    """The tenant that a namespace's labels name: the value of the first key that it has and that is not empty.

    >>> tenant_from_labels({"team": "oil"}, ["capsule.clastix.io/tenant", "team"])
    'oil'
    """
    return next((value for key in keys if (value := labels.get(key))), None)
