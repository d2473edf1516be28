"""What to tell a person about an error that ends a program: what is wrong, and what to do next."""

from __future__ import annotations

import errno
import ssl

from informers.coverage import PatternError
from kube.status import StatusError
from kube.upstream_error import CredentialsError, UpstreamError
from store.errors import StoreError, StoreUnavailable


def advice(error: BaseException) -> str | None:
    """One or two sentences, or None for errors that are ours: those keep their traceback."""
    if isinstance(error, BaseExceptionGroup):
        texts = [text for inner in error.exceptions if (text := advice(inner))]
        return texts[0] if texts else None
    if isinstance(error, StoreUnavailable) and "connect" in str(error).lower():
        return f"the store: {error} Is Redis running there? --redis-url says where it is"
    if isinstance(error, StoreError):
        return f"the store: {error}"
    if isinstance(error, CredentialsError | PatternError):
        return str(error)
    if isinstance(error, UpstreamError):
        return f"{error}. Is the API server up, and does the kubeconfig lead to it?"
    if isinstance(error, StatusError):
        return f"the API server refused: {error}. The kubeconfig's user needs to list and watch everything"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error}; check the certificate and key files"
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"cannot read {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{error.strerror}: another program listens there; choose another --listen or --metrics-listen"
    return None
