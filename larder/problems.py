"""What to tell a person about an error that ends a program: what is wrong, and what to do next."""

from __future__ import annotations

import errno
import ssl
from http import HTTPStatus

from informers.coverage import PatternError
from kube.status import StatusError
from kube.upstream_error import CredentialsError, UpstreamError
from store.errors import StoreError, StoreUnavailable

LISTENING = {
    errno.EADDRINUSE: "another program listens there",
    errno.EADDRNOTAVAIL: "the address is none of this machine's",
    errno.EACCES: "ports below 1024 are for root",
}
"""What goes wrong with an address to listen at."""


def advice(error: BaseException) -> str | None:
    """One or two sentences, or None for errors that are ours: those keep their traceback."""
    if isinstance(error, BaseExceptionGroup):
        texts = [text for inner in error.exceptions if (text := advice(inner))]
        return texts[0] if texts else None
    if isinstance(error, StoreUnavailable) and "connect" in str(error).lower():
        return f"the store: {str(error).rstrip('.')}. Is Redis running there? --redis-url says where it is"
    if isinstance(error, StoreError):
        return f"the store: {error}"
    if isinstance(error, CredentialsError | PatternError):
        return str(error)
    if isinstance(error, UpstreamError):
        text = str(error)
        return text if text.endswith("?") else f"{text}. Is that the API server, and the kubeconfig the right one?"
    if isinstance(error, StatusError) and error.code == HTTPStatus.UNAUTHORIZED:
        return (
            "the API server does not accept the kubeconfig's login: is its token or client certificate of this cluster,"
            " and not expired?"
        )
    if isinstance(error, StatusError):
        return f"the API server refused: {error}. The kubeconfig's user needs to list and watch everything"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error}; check the certificate and key files"
    if isinstance(error, OSError) and error.filename:
        return f"cannot use {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno in LISTENING:
        return f"{error.strerror}: {LISTENING[error.errno]}; choose another --listen or --metrics-listen"
    return None
