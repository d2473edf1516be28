"""Kubeconfigs that lead to larder: somebody's credentials as they are, another server."""

from __future__ import annotations

from typing import Any

import yaml

from kube.client import UpstreamClient
from kube.kubeconfig import Context
from kube.status import StatusError
from sandbox import kubeconfig

AUTHENTICATION = "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication"
"""Where an API server tells servers beside it by which authorities it knows client certificates."""

_CERTIFICATE = ("client-certificate", "client-certificate-data")


def towards(context: Context, url: str, ca: bytes | None) -> str:
    """The kubeconfig of the context's user at `url`; `ca` None: its certificate is checked with the system's.

    Files that it names are named absolutely, since it lies elsewhere than the one that it is made of.
    """
    chosen = next(entry["context"] for entry in context.merged["contexts"] if entry["name"] == context.name)
    user = str(chosen.get("user") or "user")
    made: dict[str, Any] = yaml.safe_load(kubeconfig.text(url, ca or b"", user))
    made["users"][0]["user"] = context.user
    made["contexts"][0]["context"]["namespace"] = chosen.get("namespace") or "default"
    if ca is None:
        del made["clusters"][0]["cluster"]["certificate-authority-data"]
    return yaml.safe_dump(made, sort_keys=False)


def has_certificate(context: Context) -> bool:
    """Whether the context's user logs in with a client certificate."""
    return any(context.user.get(key) for key in _CERTIFICATE)


async def client_authorities(client: UpstreamClient) -> str | None:
    """The authorities of upstream's client certificates (PEM), None where it does not tell them.

    Raises:
        UpstreamError: no answer.
    """
    try:
        found = await client.get_json(AUTHENTICATION, verb="get", resource="configmaps.v1", cause="certificates")
    except StatusError:
        return None
    return (found.get("data") or {}).get("client-ca-file")
