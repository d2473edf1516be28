"""How a watch begins, as one pure function of its options: what it waits for, shows first, and goes on from.

The rules are upstream's (https://kubernetes.io/docs/reference/using-api/api-concepts/#semantics-for-watch):
without a resourceVersion, or with "0", a watch shows the present state first; with a number it shows what
happened since. `sendInitialEvents` says so explicitly, and adds a bookmark where that state is complete.
The defaulting of older ways of asking is already done when options come here (`list_options`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from server.list_options import ListOptions


@dataclass(frozen=True, slots=True)
class StartPlan:
    """`fresh`: wait until the view is as new as the store is now. `reach`: wait for this RV, 0 for none.

    `initial`: begin with an ADDED of every selected object. `end_bookmark`: mark where these end.
    `after`: the RV whose successors are the first changes; None: the view's own position.
    """

    fresh: bool = False
    reach: int = 0
    initial: bool = False
    end_bookmark: bool = False
    after: int | None = None

    @property
    def resumes(self) -> bool:
        """Whether the client goes on from a state that it had before."""
        return self.after is not None


def plan(options: ListOptions, rv: int) -> StartPlan:
    """Decide how a watch begins; `rv` is the number of `options.resource_version`, 0 for "" and "0".

    Without a resourceVersion the state shown is always as new as the store: old API servers showed whatever
    their cache had, and nobody can tell that apart from one that was up to date.
    """
    unset = not options.resource_version
    if options.send_initial_events is None:
        if rv:
            return StartPlan(after=rv)
        return StartPlan(fresh=unset, initial=True)
    if options.send_initial_events:
        return StartPlan(fresh=unset, reach=rv, initial=True, end_bookmark=options.allow_bookmarks)
    return StartPlan(after=rv) if rv else StartPlan(fresh=unset)
