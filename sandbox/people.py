"""Who sent a request: a token, a client certificate, nobody; and whom they speak for, if they may."""

from __future__ import annotations

from typing import Any

from sanic import Request

from kube import status
from kube.resources import GVR
from sandbox.access import Access, Attributes, Person

ANONYMOUS = Person("system:anonymous", ("system:unauthenticated",))


def identify(request: Request, access: Access) -> Person:
    """The person that the request is answered for.

    Raises:
        Unauthorized: a token that nobody has.
        Forbidden: an impersonation that the sender has no right to.
    """
    sender = _sender(request, access)
    wanted = request.headers.get("impersonate-user")
    groups = tuple(request.headers.getall("impersonate-group", []))
    if not wanted:
        if groups:
            raise status.bad_request("an Impersonate-Group without an Impersonate-User")
        return sender
    _may_impersonate(access, sender, wanted, groups)
    return Person(wanted, groups, request.headers.get("impersonate-uid") or "")


def _sender(request: Request, access: Access) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        person = access.tokens.get(token.strip())
        if person is None:
            raise status.unauthorized()
        return person
    certificate = request.transport.get_extra_info("peercert")
    return _of_certificate(certificate) if certificate else ANONYMOUS


def _of_certificate(certificate: dict[str, Any]) -> Person:
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    user = next((value for key, value in names if key == "commonName"), "")
    return Person(user, tuple(value for key, value in names if key == "organizationName"))


def _may_impersonate(access: Access, sender: Person, user: str, groups: tuple[str, ...]) -> None:
    """Check the right to each part of the identity, in upstream's order: the user, then the groups."""
    prefix = "system:serviceaccount:"
    if user.startswith(prefix):
        namespace, _, name = user.removeprefix(prefix).partition(":")
        wanted = [Attributes(verb="impersonate", gvr=GVR("", "v1", "serviceaccounts"), namespace=namespace, name=name)]
    else:
        wanted = [Attributes(verb="impersonate", gvr=GVR("", "v1", "users"), name=user)]
    wanted += [Attributes(verb="impersonate", gvr=GVR("", "v1", "groups"), name=group) for group in groups]
    for one in wanted:
        if not access.allowed(sender, one):
            assert one.gvr is not None
            raise status.forbidden(sender.name, one.verb, one.gvr, "", one.namespace, one.name)
