"""Every Redis key and channel of larder is built here, and nowhere else.

All keys of one resource carry its hash tag, so that they live in one slot of a cluster and one script may
touch them. `P` stands for the prefix (`larder`), `R` for the resource (`pods.v1`), `S` for a shard.

Per resource. The writer of all of these is the worker that holds the lease, through scripts; N objects:

| key | type | what | size |
| --- | --- | --- | --- |
| `P:{R}:meta` | hash | state, position, fence and what describes the resource (`store.meta`) | some KB |
| `P:{R}:places` | hash | place → `<since rv> <shard>` | 60 B a namespace |
| `P:{R}:objects:S` | hash | object key → record (`store.record`) | 1 to 4 KB an object |
| `P:{R}:index:S` | zset | the object keys, in key order | 100 B an object |
| `P:{R}:log:S` | stream | `<rv>-0` → t, b, k, r, p (`store.entry`) | the budget, over all shards |
| `P:{R}:logsizes` | zset | shard → bytes in its log; every shard that was ever used | 60 B a shard |
| `P:{R}:floors` | hash | shard → newest RV that is no longer in its log | 60 B a shard |
| `P:{R}:clock` | stream | `<position>-0` → t: when the store was there, each 10 s at most | 60 KB |
| `P:{R}:lease` | string, expires | the owner: the one worker that may write | 100 B |

A *place* is what is looked up to find a shard: the namespace, or the name of a cluster-scoped object.
An object's key is `namespace/name`, or `name` where it is cluster-scoped.

Global (`R` = `larder`), written by whoever holds its lease:

| key | type | what | size |
| --- | --- | --- | --- |
| `P:{larder}:meta`, `:lease` | | fence and lease of the one worker that keeps the catalogue | |
| `P:{larder}:resources` | hash | resource → JSON (`store.catalogue`) | 500 B each |
| `P:{larder}:docs` | hash | path, or path and variant → msgpack (`store.documents`) | up to MBs each |
| `P:{larder}:upstream` | hash | uid, version and other facts of the cluster that is mirrored | 1 KB |
| `P:{larder}:secrets` | hash | name → what all replicas share (`store.shared_key`); written by the first | 32 B each |
| `P:{larder}:workers` | zset | worker → store time in ms of its last sign of life; written by each worker | 60 B each |

Channels: `P:{R}:feed` (`store.feed`), `P:{R}:shard:S` (`store.entry`), `P:{larder}:events`.
"""

from __future__ import annotations

from kube.resources import GVR

DEFAULT_PREFIX = "larder"

NO_TENANT = "-"
"""The shard of whatever belongs to no tenant. Label values never are a lone dash, so it cannot be taken."""

GLOBAL = "larder"
"""The hash tag of what belongs to no resource. Every GVR has a dot, so no resource can be called like it."""


class ResourceKeys:
    """The keys and channels of one resource (or of GLOBAL).

    >>> keys = ResourceKeys("larder", GVR("", "v1", "pods"))
    >>> keys.meta, keys.objects("oil"), keys.shard_channel("oil")
    ('larder:{pods.v1}:meta', 'larder:{pods.v1}:objects:oil', 'larder:{pods.v1}:shard:oil')
    """

    __slots__ = ("base", "clock", "feed", "floors", "lease", "logsizes", "meta", "places")

    def __init__(self, prefix: str, gvr: GVR | str) -> None:
        self.base = base = f"{prefix}:{{{gvr}}}:"
        self.meta = f"{base}meta"
        self.places = f"{base}places"
        self.logsizes = f"{base}logsizes"
        self.floors = f"{base}floors"
        self.clock = f"{base}clock"
        self.lease = f"{base}lease"
        self.feed = f"{base}feed"

    def objects(self, shard: str) -> str:
        """Hash: object key → record."""
        return f"{self.base}objects:{shard}"

    def index(self, shard: str) -> str:
        """Sorted set of object keys, all scores 0."""
        return f"{self.base}index:{shard}"

    def log(self, shard: str) -> str:
        """Stream of the shard's recent events."""
        return f"{self.base}log:{shard}"

    def shard_channel(self, shard: str) -> str:
        """Channel of the shard's events, with their records."""
        return f"{self.base}shard:{shard}"

    def shard_of_channel(self, channel: str) -> str | None:
        """The shard that `channel` belongs to; None for the feed and for channels of other resources."""
        base = f"{self.base}shard:"
        return channel[len(base) :] if channel.startswith(base) else None


class GlobalKeys(ResourceKeys):
    """The keys and the channel of what belongs to no resource."""

    __slots__ = ("docs", "events", "resources", "secrets", "upstream", "workers")

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix, GLOBAL)
        self.resources = f"{self.base}resources"
        self.docs = f"{self.base}docs"
        self.secrets = f"{self.base}secrets"
        self.upstream = f"{self.base}upstream"
        self.workers = f"{self.base}workers"
        self.events = f"{self.base}events"


def object_key(namespace: str, name: str) -> str:
    """An object's key within its shard.

    >>> object_key("default", "web-0"), object_key("", "node-1")
    ('default/web-0', 'node-1')
    """
    return f"{namespace}/{name}" if namespace else name
