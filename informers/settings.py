"""Everything that can be set on an informer. The command line, `LARDER_*` and the YAML file fill this Struct."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

DEFAULT_RESOURCES = ("*", "!secrets", "!leases.coordination.k8s.io", "!events.events.k8s.io")
"""Secrets are not for a cache unless somebody asks for it, leases change every second and nobody lists them,
and both event groups serve the same objects: core events are those that kubectl asks for."""


class InformerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of `larder informer`, each with its unit, default and the reason for the default."""

    kubeconfig: str | None = None
    """Path of the kubeconfig that leads to upstream; unset: `$KUBECONFIG`, in-cluster, `~/.kube/config`."""

    context: str | None = None
    """Context of the kubeconfig; unset: its current context."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    """Where the store is: `redis://`, `rediss://` or `unix://`."""

    prefix: str = "larder"
    """First part of every key and channel of the store; the servers' must be the same."""

    resources: list[str] = msgspec.field(default_factory=lambda: list(DEFAULT_RESOURCES))
    """What is covered: patterns over discovery such as `*`, `pods`, `*.apps`, `deployments.v1.apps`, `!secrets`.
    What the servers need to know who may read what is covered in any case."""

    tenant_label: list[str] = msgspec.field(default_factory=lambda: ["capsule.clastix.io/tenant"])
    """Keys of the label that names a namespace's tenant; the first that a namespace has is taken."""

    metrics_listen: str = "0.0.0.0:9444"
    """`HOST:PORT` of /metrics, /livez and /readyz. Empty: none."""

    log_budget_bytes: Annotated[int, Meta(ge=1 << 20)] = 64 << 20
    """Bytes of history kept in Redis per resource, from which watches resume. 64 MiB hold some 10,000 changes of
    large pods: minutes of a busy cluster."""

    lease_seconds: Annotated[float, Meta(ge=2, le=300)] = 10.0
    """Seconds after which the resources of a worker that is silent go to others. Renewed three times as often."""

    worker_id: str = ""
    """Name of this worker in leases and logs; empty: host name and process id."""
