"""What can go wrong between us and upstream, besides its answers: those are `kube.status.StatusError`."""

from __future__ import annotations


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
