"""What people are told about errors that end a program."""

from __future__ import annotations

import errno

import pytest

from kube import status
from kube.upstream_error import UpstreamBroken, UpstreamUnreachable
from larder.problems import advice
from store.errors import StoreUnavailable


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoreUnavailable("Error 111 connecting to 127.0.0.1:1. Connection refused."), "Connection refused. Is Redis"),
        (UpstreamUnreachable("cannot connect. Is it up?"), "cannot connect. Is it up?"),
        (UpstreamBroken("broke off"), "broke off. Is that the API server"),
        (status.unauthorized(), "does not accept the kubeconfig's login"),
        (status.StatusError(403, "Forbidden", "pods is forbidden"), "needs to list and watch everything"),
        (OSError(errno.EADDRINUSE, "in use"), "another program listens there; choose another --listen"),
        (OSError(errno.EADDRNOTAVAIL, "no"), "none of this machine's; choose another --listen"),
        (PermissionError(errno.EACCES, "Permission denied"), "ports below 1024 are for root"),
        (PermissionError(errno.EACCES, "Permission denied", "/tls.key"), "cannot use /tls.key: Permission denied"),
        (ExceptionGroup("all", [FileNotFoundError(errno.ENOENT, "not there", "/tls.crt")]), "cannot use /tls.crt"),
    ],
)
def test_an_error_says_what_to_do_next(error: Exception, told: str) -> None:
    """In one line, without a question asked twice."""
    text = advice(error)
    assert text is not None
    assert told in text
    assert ".." not in text
    assert text.count("Is ") <= 1


def test_errors_of_our_own_keep_their_traceback() -> None:
    """Nobody can do anything about them but report them."""
    assert advice(KeyError("x")) is None
