"""Everything that can be set on the sandbox. The command line, `LARDER_*` and the YAML file fill this Struct."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class SandboxSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings of `larder sandbox`."""

    listen: str = "127.0.0.1:0"
    """`HOST:PORT` of the API, always with TLS. Port 0 takes a free one. Only this machine: its tokens are public."""

    directory: str | None = None
    """Where its certificates and a kubeconfig per user are written; unset: a temporary folder, removed at the end."""

    pods: Annotated[int, Meta(ge=0)] = 0
    """0: a small company whose pods come and go. More: that many synthetic pods instead, for load."""

    namespaces: Annotated[int, Meta(ge=1)] = 100
    """Namespaces that the synthetic pods are spread over."""

    tenants: Annotated[int, Meta(ge=1)] = 50
    """Tenants that those namespaces are spread over."""

    pod_bytes: Annotated[int, Meta(ge=2_000)] = 10_000
    """Size of a synthetic pod as JSON, most of it environment and managedFields as in real clusters."""

    life_seconds: Annotated[float, Meta(ge=0)] = 3.0
    """Seconds between two happenings in the company (a pod replaced, restarted, a job run); 0: nothing happens."""

    history: Annotated[int, Meta(ge=1)] = 10_000
    """Changes per resource from which a watch can resume; older ones answer 410."""

    bookmark_seconds: Annotated[float, Meta(gt=0)] = 10.0
    """Seconds between the bookmarks of a watch; a real API server sends one a minute."""

    pod_end_seconds: Annotated[float, Meta(ge=0)] = 2.0
    """Longest that a deleted pod takes to end, whatever its grace period."""

    seed: int = 20_261_122
    """What the company's chance is drawn from: the same number, the same names and uids."""
