"""What to tell a person about an error that ends a program: what is wrong, and what to do next."""

from __future__ import annotations

import ssl

from kube.credentials import CredentialsError
from store.errors import StoreError


def advice(error: BaseException) -> str | None:
    """One or two sentences, or None for errors that are ours: those keep their traceback."""
    if isinstance(error, BaseExceptionGroup):
        texts = [text for inner in error.exceptions if (text := advice(inner))]
        return texts[0] if texts else None
    if isinstance(error, StoreError):
        return f"the store: {error}"
    if isinstance(error, CredentialsError):
        return str(error)
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error}; check the certificate and key files"
    if isinstance(error, FileNotFoundError | PermissionError):
        return f"cannot read {error.filename}: {error.strerror}"
    if isinstance(error, OSError) and error.errno == 98:
        return f"{error.strerror}: another program listens there; choose another --listen or --metrics-listen"
    return None
