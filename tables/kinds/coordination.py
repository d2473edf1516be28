"""Leases and those who would hold them."""

from __future__ import annotations

from tables.fields import AGE, NAME, path
from tables.printer import Column, KindTable

LEASES = KindTable(
    kind="Lease",
    resources=("leases.v1.coordination.k8s.io", "leases.v1beta1.coordination.k8s.io"),
    columns=(NAME, Column("Holder", path("spec.holderIdentity")), AGE),
)

LEASE_CANDIDATES = KindTable(
    kind="LeaseCandidate",
    resources=tuple(
        f"leasecandidates.{version}.coordination.k8s.io" for version in ("v1", "v1beta1", "v1alpha2", "v1alpha1")
    ),
    columns=(
        NAME,
        Column("LeaseName", path("spec.leaseName")),
        Column("BinaryVersion", path("spec.binaryVersion")),
        Column("EmulationVersion", path("spec.emulationVersion")),
        AGE,
    ),
)

TABLES = (LEASES, LEASE_CANDIDATES)
