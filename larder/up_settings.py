"""Everything that can be set on `larder up`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class UpSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of `larder up`."""

    kubeconfig: str | None = None
    """Path of a kubeconfig with rights to list and watch everything: the cluster to stand before.
    Unset: a sandbox is started."""

    redis_url: str | None = None
    """A Redis to use; unset: one is started, and its contents are gone at the end."""

    replicas: Annotated[int, Meta(ge=1, le=32)] = 2
    """How many servers to run."""

    listen: str = "127.0.0.1:0"
    """`HOST:PORT` to reach larder at: HAProxy's where it is installed, else the first replica's. Port 0: a free one."""

    haproxy: bool = True
    """Put HAProxy in front of the replicas where it is installed."""

    resources: list[str] | None = None
    """What is covered: patterns over discovery such as `*`, `pods`, `*.apps`, `!secrets`.
    Unset: the informer's default."""

    tenant_label: list[str] = msgspec.field(default_factory=lambda: ["capsule.clastix.io/tenant"])
    """Keys of the label that names a namespace's tenant; the first that a namespace has is taken."""

    directory: str | None = None
    """Where logs, certificates and kubeconfigs go; unset: a temporary folder, removed at the end."""

    tls_cert: str | None = None
    """PEM file with the replicas' certificate chain; unset: one is made, and the printed kubeconfigs trust it."""

    tls_key: str | None = None
    """PEM file with the certificate's key."""

    client_ca: str | None = None
    """PEM file with the authorities of client certificates; unset: those of the cluster, where the kubeconfig's user
    has a client certificate and may read them."""

    max_staleness: Annotated[float, Meta(ge=0)] = 300.0
    """Seconds for which reads are served from memory after the store or upstream was last heard of."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("--tls-cert and --tls-key go together: the one is no use without the other")
