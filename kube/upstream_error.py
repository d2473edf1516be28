"""What can go wrong between us and upstream, besides its answers: those are `kube.status.StatusError`."""

from __future__ import annotations

import os
import socket
import ssl

CONNECT_SECONDS = 5.0
"""For the TCP and TLS handshake. An API server that takes longer is as good as away."""


class UpstreamError(Exception):
    """The request has no (whole) answer."""


class UpstreamUnreachable(UpstreamError):
    """No connection, so upstream has seen nothing of the request. The message says what to look at."""


class UpstreamBroken(UpstreamError):
    """The connection ended in the middle of a request or an answer: whether it took effect is not known."""


class UpstreamTimeout(UpstreamError):
    """No answer in time: whether the request took effect is not known."""


class CredentialsError(UpstreamError):
    """There is no usable way to upstream: no kubeconfig, an unknown context, a plugin that fails."""


def reason(error: BaseException) -> str:
    """What a person needs of an error."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and not isinstance(error, ssl.SSLError | socket.gaierror) and error.errno:
        return os.strerror(error.errno)
    return (error.strerror if isinstance(error, socket.gaierror) else "") or str(error) or type(error).__name__


def unreachable(server: str, source: str, error: BaseException) -> UpstreamUnreachable:
    """What to look at, for the usual reasons; `source` is where the address of `server` is from."""
    source = source or "the kubeconfig"
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return UpstreamUnreachable(
            f"the certificate of {server} is not vouched for by the certificate-authority in {source}: {reason(error)}"
        )
    if isinstance(error, TimeoutError) and not error.errno:
        return UpstreamUnreachable(
            f"{server} (from {source}) does not answer within {CONNECT_SECONDS:g} s: is it reachable from here?"
        )
    return UpstreamUnreachable(
        f"cannot connect to {server} (from {source}): {reason(error)}. Is the API server up, and the address right?"
    )
