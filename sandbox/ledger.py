"""Which requests arrived: counted by their cause, verb and resource. This is how a test knows what upstream saw."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from kube.paths import RequestInfo

INFORMER = "larder-informer"
SERVER = "larder-server"
CLIENT = "client"
"""Everybody else: a client itself, or one whose request was forwarded as it was."""


@dataclass(frozen=True, slots=True, order=True)
class Kind:
    """What is counted together.

    `resource` is that of discovery (`pods`, `deployments.apps`), or the path; `form` is "Table" for what was asked
    for as one, and "version" for a list of a single object: who asks for one wants to know the newest version.
    """

    cause: str
    verb: str
    resource: str
    form: str = ""


@dataclass
class Ledger:
    """The counts since the start, or since `clear`."""

    counts: Counter[Kind] = field(default_factory=Counter)

    def note(self, info: RequestInfo, user_agent: str, accept: str = "") -> None:
        """Count one request, by what two of its headers say."""
        cause = next((name for name in (INFORMER, SERVER) if user_agent.startswith(name)), CLIENT)
        if info.is_resource and info.gvr is not None:
            resource = info.gvr.group_resource
            if info.subresource:
                resource = f"{resource}/{info.subresource}"
        else:
            resource = _path_kind(info.path)
        form = "Table" if "as=Table" in accept else "version" if info.query.get("limit") == "1" else ""
        self.counts[Kind(cause, info.verb, resource, form)] += 1

    def clear(self) -> None:
        """Start counting anew."""
        self.counts.clear()

    def rows(self) -> list[dict[str, str | int]]:
        """Every count, in order of cause, resource and verb."""
        return [
            {
                "cause": kind.cause,
                "verb": kind.verb,
                "resource": kind.resource,
                "form": kind.form,
                "requests": count,
            }
            for kind, count in sorted(
                self.counts.items(), key=lambda one: (one[0].cause, one[0].resource, one[0].verb, one[0].form)
            )
        ]

    def reads_by(self, cause: str, *resources: str) -> int:
        """How many gets, lists and watches of these resources (of any, if none is named) had this cause."""
        return sum(
            count
            for kind, count in self.counts.items()
            if kind.cause == cause
            and kind.verb in {"get", "list", "watch"}
            and not kind.resource.startswith("/")
            and (not resources or kind.resource in resources)
        )


def _path_kind(path: str) -> str:
    """Discovery, OpenAPI and health paths, so that the counts stay few."""
    parts = path.strip("/").split("/")
    if parts[0] in {"api", "apis", "openapi"}:
        return f"/{parts[0]}" if len(parts) == 1 else f"/{parts[0]}/…"
    return f"/{parts[0]}"
