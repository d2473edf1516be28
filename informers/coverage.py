"""Which of the served resources are covered: patterns over discovery, as a pure function.

A pattern is `RESOURCE[.VERSION][.GROUP]`, where resource and group may hold `*`; `!` in front takes away.
Without a group every group is meant, without a version the one version that the group prefers.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from kube.resources import CAPSULE_GROUP, CONTROL, CUSTOM_RESOURCE_DEFINITIONS, GVR, Resource

_VERSION = re.compile(r"v[1-9][0-9]*((alpha|beta)[1-9][0-9]*)?")
_PATTERN = re.compile(r"!?[a-z0-9*][-a-z0-9*]*(\.[-a-z0-9*.]+)?")


class PatternError(ValueError):
    """A pattern has no meaning; the message says how one looks."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """One parsed pattern. `version` and `group` are None where the pattern does not name them."""

    text: str
    excludes: bool
    resource: str
    version: str | None
    group: str | None

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read one pattern.

        >>> Pattern.parse("deployments.v1.apps").version, Pattern.parse("!*.apps").group
        ('v1', 'apps')

        Raises:
            PatternError: it is none.
        """
        if not _PATTERN.fullmatch(text):
            raise PatternError(
                f"{text!r} is no resource pattern; they look like pods, *.apps, deployments.v1.apps, !secrets"
            )
        resource, _, rest = text.removeprefix("!").partition(".")
        version: str | None = None
        group: str | None = rest or None
        head, _, tail = rest.partition(".")
        if _VERSION.fullmatch(head):
            version, group = head, tail
        return cls(text, text.startswith("!"), resource, version, group)

    def matches(self, gvr: GVR, *, preferred: bool) -> bool:
        """Whether it is about this resource; `preferred`: the version is the one its group prefers for it."""
        if not fnmatch.fnmatchcase(gvr.resource, self.resource):
            return False
        if self.group is not None and not fnmatch.fnmatchcase(gvr.group, self.group):
            return False
        if self.version is None:
            return self.excludes or preferred
        return gvr.version == self.version


def cover(
    patterns: Sequence[Pattern], served: Iterable[Resource], preferred: Collection[GVR]
) -> tuple[list[Resource], list[Pattern]]:
    """The resources to follow, in the order they are to be synced, and the patterns that matched nothing.

    `served` is what discovery lists, `preferred` the version of each that clients take if they name none.
    Only what can be listed and watched is covered. What scopes are computed from comes first, and always.
    """
    idle = {pattern.text: pattern for pattern in patterns}
    covered: list[Resource] = []
    for resource in served:
        if not resource.watchable:
            continue
        gvr = resource.gvr
        matching = [pattern for pattern in patterns if pattern.matches(gvr, preferred=gvr in preferred)]
        for pattern in matching:
            idle.pop(pattern.text, None)
        wanted = any(not pattern.excludes for pattern in matching) and not any(pattern.excludes for pattern in matching)
        if wanted or _needed(gvr, preferred):
            covered.append(resource)
    covered.sort(key=lambda resource: (_sync_order(resource.gvr), str(resource.gvr)))
    return covered, list(idle.values())


def _needed(gvr: GVR, preferred: Collection[GVR]) -> bool:
    """Whether scopes (or the printers of custom resources) stand on it, so that it is covered in any case."""
    if gvr in CONTROL or gvr == CUSTOM_RESOURCE_DEFINITIONS:
        return True
    return gvr.group == CAPSULE_GROUP and gvr.resource == "tenants" and gvr in preferred


def _sync_order(gvr: GVR) -> int:
    """Namespaces first: the shards of everything else follow from their labels. Then what replicas wait for."""
    if gvr == CONTROL[0]:
        return 0
    return 1 if gvr in CONTROL or gvr.group == CAPSULE_GROUP or gvr == CUSTOM_RESOURCE_DEFINITIONS else 2
