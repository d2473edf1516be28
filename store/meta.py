"""What the store says about one resource as a whole: `P:{R}:meta`.

Fields that scripts read or write (`state`, `position`, `fence`, `incarnation`, `since`, `fresh_ms`, `moves`,
`refreshes`, `log_bytes`, `clock_ms`, `forgot`) are plain text. `described` holds everything else, as one msgpack value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import msgspec

from kube.resources import GVR
from tables.row import Row

if TYPE_CHECKING:
    from collections.abc import Sequence

State = Literal["", "syncing", "synced", "stale"]
"""`""`: never loaded (or lost). `syncing`: being loaded, holds nothing to read. `synced`: complete up to the position.
`stale`: complete up to the position, but events cannot be taken in (Redis is out of memory)."""

READABLE = frozenset(("synced", "stale"))


class TableInfo(msgspec.Struct, frozen=True, kw_only=True):
    """How Tables of a resource are made.

    `columns` is the JSON array of column definitions as upstream sends it. `null_rows`: an empty Table has
    `"rows": null` instead of `[]`. `zero_row`: upstream's row for an object it cannot print, where it has one.
    `served`: whether our cells are right, so that Tables come from the cache; else `reason` says why not.
    `kept`: where they are not, whether every record has upstream's own row of its version, for those whom upstream
    would refuse; what moves with the clock in ways unknown to us stands in it as it was.
    `digest` changes with the columns and with our printer: rows rendered under another one are refreshed.
    `sort_rows`: rows stand in another order than the objects'. `since`: versions of objects that were replaced at or
    before this position may have rows of another kind, for other columns.
    """

    columns: bytes
    served: bool
    kept: bool = False
    reason: str = ""
    digest: str = ""
    null_rows: bool = False
    zero_row: Row | None = None
    sort_rows: bool = False
    since: int = 0

    @property
    def given(self) -> tuple[bytes, str, bool, bool]:
        """What rows are of one kind in: those under another one are not shown together with these."""
        return self.columns, self.digest, self.served, self.kept


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """What an informer found out about a resource; it changes rarely.

    `typed`: items of upstream's lists carry no kind and apiVersion. `custom`: it is defined by a CRD.
    `upstream` is the uid of the cluster (of its namespace kube-system) and `version` its gitVersion.
    `digest` is of what the records were made by (CRD, printers). `selectable` are its selectable fields besides
    metadata.name and metadata.namespace. `unsettled`: objects are stored whose deletion is still to be told; whoever
    takes over has to list.
    """

    kind: str
    list_kind: str
    namespaced: bool
    verbs: tuple[str, ...] = ()
    typed: bool = True
    custom: bool = False
    table: TableInfo | None = None
    upstream: str = ""
    version: str = ""
    digest: str = ""
    selectable: tuple[str, ...] = ()
    unsettled: bool = False


class Meta(Description, frozen=True, kw_only=True):
    """All of one resource's meta, as of one instant.

    `position` is the RV up to which the store is complete (0: not loaded), `since` the position of the load that
    began this `incarnation`: the floor of a log that was never trimmed. `moves` counts the places that changed
    their shard or went away, `refreshes` the records that were replaced without an event.
    `fresh_ms` is the store's time (Unix ms) at which upstream was last in touch.
    `log_bytes` is the size of all its logs. `forgot` is the newest position at which a place was forgotten, 0: never.
    """

    gvr: GVR
    state: State = ""
    position: int = 0
    fence: int = 0
    incarnation: str = ""
    since: int = 0
    moves: int = 0
    refreshes: int = 0
    fresh_ms: int = 0
    log_bytes: int = 0
    forgot: int = 0

    @property
    def readable(self) -> bool:
        """Whether the store holds all objects as of `position`."""
        return self.state in READABLE


FIELDS = (
    "state",
    "position",
    "fence",
    "incarnation",
    "since",
    "moves",
    "refreshes",
    "fresh_ms",
    "log_bytes",
    "forgot",
    "described",
)
"""The fields of the hash that `parse` wants, in its order."""

_UNDESCRIBED = Description(kind="", list_kind="", namespaced=False)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Description)


def encode(description: Description) -> bytes:
    """The value of the field `described`."""
    return _encoder.encode(description)


def parse(gvr: GVR, values: Sequence[bytes | None]) -> Meta:
    """The meta from the values of `FIELDS`, in that order.

    Raises:
        msgspec.DecodeError: written by an incompatible version.
    """
    state, position, fence, incarnation, since, moves, refreshes, fresh_ms, log_bytes, forgot, described = values
    description = _decoder.decode(described) if described else _UNDESCRIBED
    return Meta(
        gvr=gvr,
        state=cast("State", state.decode() if state else ""),
        position=int(position or 0),
        fence=int(fence or 0),
        incarnation=incarnation.decode() if incarnation else "",
        since=int(since or 0),
        moves=int(moves or 0),
        refreshes=int(refreshes or 0),
        fresh_ms=int(fresh_ms or 0),
        log_bytes=int(log_bytes or 0),
        forgot=int(forgot or 0),
        **{name: getattr(description, name) for name in Description.__struct_fields__},
    )
