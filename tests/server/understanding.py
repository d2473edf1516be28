"""All that can be said of a request without a store, in upstream's order: for comparisons with real answers."""

from __future__ import annotations

from typing import NamedTuple

from kube import paths
from kube.resources import GVR, Resource
from kube.status import ApiError, RenderedError
from kube.version import ServerVersion
from server import list_options, negotiation


class Served(NamedTuple):
    """What discovery and the definitions say of a resource."""

    resource: Resource
    custom: bool
    selectable: tuple[str, ...] = ()


class Undecided(Exception):
    """Whether the request is refused cannot be said here: it is forwarded, or the store must be asked first."""


class Server(NamedTuple):
    """An upstream: its version and what it serves."""

    version: ServerVersion
    catalogue: dict[GVR, Served]

    def refusal(self, method: str, target: str, accept: str | None, user_agent: str) -> RenderedError | None:
        """The answer of a request that is refused for what it says, None for one that reaches the store.

        Raises:
            Undecided: see there.
        """
        path, _, query = target.partition("?")
        form = None
        try:
            info = paths.parse(method, path, query, self.version)
            form = negotiation.error_form(accept, query=info.query, user_agent=user_agent, version=self.version)
            list_options.check_timeout(info, self.version)
            self._check(info, accept, user_agent)
        except ApiError as error:
            answer = error.render(form) if form else error.render()
            return answer._replace(body=b"") if method == "HEAD" else answer
        return None

    def _check(self, info: paths.RequestInfo, accept: str | None, user_agent: str) -> None:
        served = self.catalogue.get(info.gvr) if info.gvr else None
        if served is None or info.subresource:
            raise Undecided("paths that are not covered are forwarded")
        resource, custom, selectable = served
        list_options.check_route(info, resource, custom=custom)
        if not info.is_read:
            raise Undecided("writes are forwarded")
        if ".." in (info.namespace, info.path_name):
            raise Undecided("odd storage keys are forwarded")
        verb: negotiation.Verb = "get" if info.verb == "get" else "watch" if info.verb == "watch" else "list"
        representation = negotiation.negotiate(
            accept, verb=verb, custom=custom, query=info.query, user_agent=user_agent, version=self.version
        )
        if verb == "get":
            include_object = self._check_get(info)
        else:
            include_object = self._check_collection(info, resource, custom=custom, selectable=selectable)
        negotiation.check_shape(representation, verb=verb, custom=custom, gvr=resource.gvr, kind=resource.kind)
        negotiation.check_include_object(representation, include_object)
        if verb == "watch":
            negotiation.check_stream(representation)

    def _check_get(self, info: paths.RequestInfo) -> str:
        options = list_options.parse_get(info.query, self.version)
        list_options.resource_version(options.resource_version, verb="get", version=self.version)
        if info.name.startswith("no-such"):
            raise Undecided("the store knows what exists")
        return options.include_object

    def _check_collection(
        self, info: paths.RequestInfo, resource: Resource, *, custom: bool, selectable: tuple[str, ...]
    ) -> str:
        options = list_options.parse(info, info.query, self.version, resource, custom=custom, selectable=selectable)
        list_options.check_watchable(info, resource)
        if options.continue_token and not options.watch:
            raise Undecided("continue tokens are decoded by the pages")
        list_options.resource_version(
            options.resource_version,
            verb=info.verb,
            version=self.version,
            from_etcd=list_options.served_by_etcd(options, resource.gvr, self.version),
        )
        return options.include_object
