"""Everything that can be set on a server replica. The command line, `LARDER_*` and the YAML file fill this Struct."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=0)]


class ServerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of `larder server`, each with its unit, default and the reason for the default."""

    kubeconfig: str | None = None
    """Path of the kubeconfig that leads to upstream; unset: `$KUBECONFIG`, in-cluster, `~/.kube/config`."""

    context: str | None = None
    """Context of the kubeconfig; unset: its current context."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Where the store is: `redis://`, `rediss://` or `unix://`."""

    prefix: str = "larder"
    """First part of every key and channel of the store; the informers' must be the same."""

    listen: str = "0.0.0.0:8443"
    """`HOST:PORT` of the API. Port 0 takes a free one. All interfaces: a replica is there to be reached."""

    metrics_listen: str = "0.0.0.0:9443"
    """`HOST:PORT` of /metrics, /livez and /readyz, without TLS and without a login: not for users. Empty: none."""

    tls_cert: str | None = None
    """PEM file with the server's certificate chain; read again when it changes. Unset: plain HTTP."""

    tls_key: str | None = None
    """PEM file with the certificate's key."""

    client_ca: str | None = None
    """PEM file with the authorities of client certificates (CN is the user, O the groups). Unset: tokens only."""

    anonymous: bool = False
    """Serve requests without a credential as `system:anonymous`, as upstream does where it is not turned off.
    Off: 401, since nothing of a tenant is for strangers."""

    tenant_label: list[str] = msgspec.field(default_factory=lambda: ["capsule.clastix.io/tenant"])
    """Keys of the label that names a namespace's tenant; the first that a namespace has is taken."""

    max_staleness: Seconds = 300.0
    """Seconds for which reads are served from memory after the store or upstream was last heard of.
    Five minutes outlast a failover or an API server's restart; after that reads are forwarded."""

    token_cache_seconds: Annotated[float, Meta(ge=0, le=60)] = 60.0
    """Seconds for which upstream's word on a token is believed: the time a revoked token may live on. 60 at most."""

    token_grace_seconds: Seconds = 900.0
    """Seconds for which a token that was valid stays known while upstream cannot be asked."""

    view_budget_bytes: Bytes = 1 << 30
    """Memory for views; above it idle ones are dropped. One GiB holds some 300,000 pods' heads, rows and bodies."""

    write_wait_seconds: Seconds = 3.0
    """Seconds a forwarded write waits for its effect to be in the store; then it is answered all the same."""

    drain_seconds: Seconds = 10.0
    """Seconds between the end of readiness and the end of open requests, at a stop.
    Load balancers need a few to notice."""

    unready_seconds: Seconds = 0.0
    """Seconds for which a stopping replica still accepts requests while /readyz already fails."""

    clock: float | None = None
    """An instant (Unix seconds) at which the replica's clock stands still, for tests; unset: the real time."""

    def __post_init__(self) -> None:
        """Refuse what does not go together."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ValueError("--tls-cert and --tls-key go together: the one is no use without the other")
        if self.client_ca and not self.tls_cert:
            raise ValueError("--client-ca needs --tls-cert and --tls-key: client certificates come with TLS")
