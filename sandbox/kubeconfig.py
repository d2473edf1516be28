"""Kubeconfigs: the files by which kubectl and everyone else find a server and are somebody there."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from sandbox.certificates import Pair


def text(server: str, ca: bytes, user: str, *, token: str = "", client: Pair | None = None, namespace: str = "") -> str:
    """A kubeconfig with one cluster, one user and one context; everything is in it, no other file is needed."""
    credential: dict[str, str] = {"token": token} if token else {}
    if client is not None:
        credential["client-certificate-data"] = _encoded(client.certificate)
        credential["client-key-data"] = _encoded(client.key)
    context = {"cluster": "larder", "user": user, **({"namespace": namespace} if namespace else {})}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "larder", "cluster": {"server": server, "certificate-authority-data": _encoded(ca)}}],
        "users": [{"name": user, "user": credential}],
        "contexts": [{"name": user, "context": context}],
        "current-context": user,
    }
    return yaml.safe_dump(document, sort_keys=False)


def write(path: Path, content: str) -> Path:
    """Write a kubeconfig, readable by its owner alone, in one step: whoever sees the file sees all of it."""
    scratch = path.with_name(f".{path.name}.new")
    scratch.touch(mode=0o600)
    scratch.write_text(content)
    return scratch.replace(path)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
