"""Random reads: paths, options, Accept headers and callers put together as no list of cases would have them."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus

from kube.resources import GVR

JSON = "application/json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
OLD_TABLE = "application/json;as=Table;v=v1beta1;g=meta.k8s.io"
KUBECTL = f"{TABLE},{OLD_TABLE},application/json"
METADATA = "application/json;as=PartialObjectMetadata;v={};g=meta.k8s.io"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;v={};g=meta.k8s.io"

_COMMON_ACCEPTS = (
    JSON, JSON, KUBECTL, TABLE, OLD_TABLE, "application/yaml", METADATA.format("v1"), METADATA_LIST.format("v1"),
    METADATA_LIST.format("v1beta1"), f"{METADATA_LIST.format('v1')},application/json", "application/json, */*", "*/*",
)  # fmt: skip
_TYPES = (
    "application/json", "application/json", "application/json", "application/yaml", "application/*", "*/*", "*",
    "text/html", "text/*", "application/xml", "application/cbor", "application/JSON", "garbage", "", "a/b/c", "*/json",
    "application/", "/json", "application/json/",
)  # fmt: skip
_TRANSFORMS = (
    "as=Table;v=v1;g=meta.k8s.io", "as=Table;v=v1beta1;g=meta.k8s.io", "g=meta.k8s.io;v=v1;as=Table",
    "as=PartialObjectMetadata;v=v1;g=meta.k8s.io", "as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "as=PartialObjectMetadataList;v=v1beta1;g=meta.k8s.io", "as=Table;v=v2;g=meta.k8s.io", "as=Table", "as=Table;v=v1",
    "as=Table;v=v1;g=apps", "as=Foo;v=v1;g=meta.k8s.io", "as=table;v=v1;g=meta.k8s.io", "as=Table;g=meta.k8s.io",
    "as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", "as=;v=;g=", "v=v1", "as=Table ; v = v1 ; g=meta.k8s.io",
    "as=Table;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
)  # fmt: skip
_PARAMETERS = (
    "q=0.9", "q=0.1", "q=1", "q=0", "q=x", "q=", "q=1.5", "q=-1", "stream=watch", "stream=x", "stream=", "sv=v1",
    "sv=v2", "pretty=1", "pretty=0", "pretty=true", "charset=utf-8", "profile=nopeer", "foo=bar", "foo", "=",
    "export=1", "q = 0.5", 'charset="utf-8"',
)  # fmt: skip
_LABEL_SELECTORS = (
    "a=b", "a=b=c", "app=a/b", "_x=1", "app>x", "app>5", "a in (b,c)", "x in (a", "=a", "a=b,", ",a=b", "!", "a!b",
    "a in b", "A_b.c/d=e", "a/b/c=d", "é=1", "a=é", "a=" + "x" * 64, "-a=b", "a in ()", "a in (,)", "a in (a,,b)",
    "!a=b", "a notin", "a b", "a==", "a=in", "in in (in)", "notin", "a in (é,ü)", "a>é", "a=b c", "(((", "a=(",
    "a in (b c)", "a in (=)", "/a=b", "a/=b", "x" * 300 + "/a", "a\tin\n(b)", "a in ((b)", "a<1,b>2,!c", "a><b",
    "a=b;c", "app", "!app", "app!=web", "app in (web,api)", "app notin (web)", "app,tier", "app=", "app==web", " app ",
    "app = web", "app=web,app!=api", "a in (b),c notin (d),!e,f", "a.b/c", "!!a", "! a", "a! =b", "a=!b", "a<=1",
    "a>=1", "a => b", "x=y,", "app in (web),", "notin in (a)", "in", "a in(b)", "a notin(b,c)", "a in (b)c", "a>1,a>2",
    "a>-1", "a>+1", "a>01", "a>9223372036854775808", "example.com/" + "y" * 64, "UPPER.com/a=b", "a=.", "a=b_c-d.e",
    "a\x00=b", "a=b\n", "\u2028=1", 'a="b"', "a='b'", "a&b", "a%b", "a\\b=c", "кот=пёс",
)  # fmt: skip
_FIELD_SELECTORS = (
    "metadata.name=x", "metadata.name=default", "a", "a=b=c", "=b", "metadata.name in (a)", "metadata.name=a\\xb",
    "metadata.name=a\\", "spec.foo=bar", "metadata.namespace=x", "status.phase=Running", "spec.nodeName=",
    "spec.host=x", "status.podIPs=", "status.replicas=1", "status.successful=1", "spec.signerName=x", "type=x",
    "metadata.name!=x", "metadata.name=a,metadata.name=b", ",,", "spec.hostNetwork=true", "spec.clusterIP=x",
    "involvedObject.name=x", "regarding.name=x", "reason=x", "a!=b,metadata.name=x", "metadata.name==a\\,b",
    "spec.unschedulable=true", "metadata.name=..", "metadata.name=a/b", "source=x", "reportingController=x", "é=1",
    "metadata.namespace=default", "metadata.namespace!=default", "status.phase!=Running", "spec.nodeName!=",
    "type!=Opaque", "type=Opaque", "spec.unschedulable=", "spec.unschedulable!=true", "status.successful!=0",
    "metadata.uid=x", "metadata.labels.app=web", "status.phase=Active", "spec.type=ClusterIP", "spec.type!=ClusterIP",
    "spec.clusterIP=None", "involvedObject.kind=Pod", "type=Normal", "type=Warning,reason=BackOff", "source=kubelet",
    "reportingComponent=kubelet", "reportingComponent=", "involvedObject.fieldPath=", "regarding.kind=Pod",
    "status.nominatedNodeName=", "spec.schedulerName=default-scheduler", "spec.serviceAccountName=default",
    "status.podIP=", "status.podIP!=", "spec.restartPolicy=Never", "metadata.name=", "metadata.name!=",
    "metadata.namespace=", "metadata.namespace!=", "metadata.namespace=default,metadata.namespace=kube-system",
    "metadata.name=default,metadata.namespace=default", "spec.driver=x", "spec.nodeName=x", "spec.podName=x",
    " metadata.name=x", "metadata.name =x", "metadata.name= x", "metadata.name\\=x", "metadata.name=x,",
    "metadata.name", "!metadata.name", "metadata.name=x=y", "metadata.name=\\=", "a\\,b=c", "metadata.name=%",
    "metadata.name=.", "metadata.namespace=.., metadata.name=x", "kind=Pod", "apiVersion=v1", "spec.region=north",
    "spec.depth=5",
)  # fmt: skip
_RVS = ("", "0", "0", "1", "abc", "-1", "+1", "1.5", "18446744073709551616", "00", "01", " 1", "1 ", "0x1", "null")
_MATCHES = ("", "Exact", "NotOlderThan", "Foo", "exact", "notOlderThan")
_LIMITS = ("1", "2", "3", "5", "500", "", "abc", "-1", "0", "1.5", "9223372036854775808", "+2", "01", " 1", "1e3")
_FLAGS = ("true", "1", "false", "0", "", "FALSE", "x", "True", "t", "no")
_INCLUDES = ("None", "Object", "Metadata", "", "Foo", "metadata", "object")
_TOKENS = ("x", "eyJ", "", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0=",
           "eyJ2IjoibWV0YS5rOHMuaW8vdjIiLCJydiI6MSwic3RhcnQiOiJhIn0", "////", "a b", "eyJ2IjoxfQ", "bnVsbA",
           "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MSwic3RhcnQiOiIifQ",
           "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MCwic3RhcnQiOiJhIn0",
           "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6Ii4uIn0")  # fmt: skip
_TIMEOUTS = ("30s", "1m", "0s", "x", "5", "-1s", "", "1h", "1.5s", "30")
_AGENTS = (
    "beside/1",
    "beside/1",
    "beside/1",
    "curl/8",
    "Wget/1",
    "Mozilla/5.0 (X11)",
    "mozilla/5.0",
    "kubectl/v1.36",
    "",
)
_ENCODINGS = ("gzip", "gzip", "gzip, deflate", "deflate,gzip", "gzip;q=1.0", "*", "identity", "br", " gzip ", "GZIP",
              "gzip,,", "deflate", "")  # fmt: skip
_NAMES = (
    "no-such-object",
    "default",
    "..",
    ".",
    "a%2Fb",
    "%7E",
    "UPPER",
    "a%20b",
    "%C3%A9",
    "x" * 260,
    "a:b",
    "%",
    "a;b",
)


@dataclass(frozen=True, slots=True)
class Known:
    """What the questions can be about: resources, and the metadata of objects that each has."""

    objects: dict[GVR, list[dict[str, Any]]]
    namespaced: dict[GVR, bool]
    rv: str
    """Of a state in which all of them were there."""
    semicolons: Sequence[str] = ("{};", "a;b&{}")
    """What a `;` does depends on the Go that a server before 1.23 was built with."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request; `pages`: every page is to be asked for."""

    target: str
    headers: dict[str, str] = field(default_factory=dict)
    method: str = "GET"
    pages: bool = False

    def __str__(self) -> str:
        headers = {name: value[:8] if name == "Authorization" else value for name, value in self.headers.items()}
        return f"{self.method} {self.target} {json.dumps(headers)}{' (all pages)' if self.pages else ''}"


@dataclass(slots=True)
class Questioner:
    """Makes questions; the same ones of the same seed and the same state."""

    known: Known
    chance: random.Random
    strangers: Sequence[str]
    """Tokens that nobody has; "" for none."""
    users: Sequence[str]
    """Of users who may read little: across namespaces larder shows what they may read, and upstream refuses."""

    def question(self) -> Question:
        """A new one."""
        gvr = self.chance.choice(sorted(self.known.objects, key=str))
        watch = self.chance.random() < 0.3
        path = self._path(gvr, watch=watch)
        parameters = self._parameters(gvr, watch=watch)
        method = self.chance.choice(("HEAD", "OPTIONS", "FOO", "get")) if self.chance.random() < 0.03 else "GET"
        pages = not watch and self.chance.random() < 0.06
        if pages:
            parameters = [pair for pair in parameters if not pair.startswith(("limit=", "continue=", "watch"))]
            parameters.append(f"limit={self.chance.choice((1, 2, 3, 7, 500))}")
        query = self._joined(parameters)
        headers = self._headers(everywhere="/namespaces/" not in path)
        return Question(f"{path}?{query}" if query else path, headers, method, pages and method == "GET")

    # Paths

    def _path(self, gvr: GVR, *, watch: bool) -> str:
        metadata = self._some(gvr)
        namespaced = self.known.namespaced[gvr]
        namespace = metadata.get("namespace", "") or self._namespace()
        if self.chance.random() < 0.1:
            namespace = self.chance.choice((self._namespace(), "no-such-namespace", "kube-system"))
        name = quote(metadata["name"], safe=":") if self.chance.random() < 0.85 else self.chance.choice(_NAMES)
        kind = self.chance.random()
        scope = namespace if namespaced and self.chance.random() < 0.5 else ""
        if watch:
            path = gvr.path(scope) if kind < 0.85 else gvr.path(namespace if namespaced else "", name)
            if self.chance.random() < 0.25:
                root, rest = path.split(f"/{gvr.version}/", 1)
                path = f"{root}/{gvr.version}/watch/{rest}"
        elif kind < 0.62:
            path = gvr.path(scope)
        elif kind < 0.96:
            path = gvr.path(namespace if namespaced else "", name)
        elif kind < 0.98:
            path = gvr.path("" if namespaced else "default", name)
        else:
            path = gvr.path(namespace if namespaced else "", name) + self.chance.choice(
                ("/status", "/scale", "/foo", "/")
            )
        return self._oddly(path) if self.chance.random() < 0.04 else path

    def _oddly(self, path: str) -> str:
        at = self.chance.randrange(1, len(path))
        slashes = [index for index, character in enumerate(path) if character == "/"]
        return self.chance.choice((
            path + "/",
            path + "//",
            "/" + path,
            path[:at] + f"%{ord(path[at]):02X}" + path[at + 1 :],
            path[:at] + f"%{ord(path[at]):02x}" + path[at + 1 :],
            path[: slashes[-1]] + "/" + path[slashes[-1] :],
            path[: slashes[-1]] + "%2F" + path[slashes[-1] + 1 :],
            path[: slashes[-1]] + "/." + path[slashes[-1] :],
            path + "%zz",
            path + "/x/y",
            path[:-1],
            path.upper(),
            path + "%00",
            path + "%20",
        ))  # fmt: skip

    def _some(self, gvr: GVR) -> dict[str, Any]:
        return self.chance.choice(self.known.objects[gvr] or [{"name": "nothing", "namespace": ""}])

    def _namespace(self) -> str:
        found = self.known.objects.get(GVR("", "v1", "namespaces")) or [{"name": "default"}]
        name: str = self.chance.choice(found)["name"]
        return name

    # Queries

    def _parameters(self, gvr: GVR, *, watch: bool) -> list[str]:
        chance = self.chance
        pairs: list[tuple[str, str]] = []

        def maybe(share: float, name: str, *values: str) -> None:
            if chance.random() < share:
                pairs.append((name, chance.choice(values)))

        if watch:
            pairs.append(("watch", chance.choice(("true", "1", "", "True"))))
            pairs.append(("timeoutSeconds", chance.choice(("1", "1", "1", "2", "-1"))))
            maybe(0.2, "allowWatchBookmarks", *_FLAGS)
            if chance.random() < 0.25:
                pairs.append(("sendInitialEvents", chance.choice(("true", "true", "1", "", "false"))))
                pairs.append(("resourceVersionMatch", chance.choice(("NotOlderThan", "NotOlderThan", *_MATCHES))))
            maybe(0.1, "sendInitialEvents", *_FLAGS)
        else:
            maybe(0.25, "limit", *_LIMITS)
            maybe(0.03, "continue", *_TOKENS)
            maybe(0.03, "watch", "false", "0", "FALSE")
            maybe(0.03, "sendInitialEvents", *_FLAGS)
            maybe(0.03, "timeoutSeconds", "1", "-1", "x", "")
            maybe(0.03, "timeout", *_TIMEOUTS)
            maybe(0.01, "export", "true", "false", "")
        # A watch from before the cache began is refused on purpose.
        maybe(
            0.25,
            "resourceVersion",
            *(value for value in (self.known.rv, self.known.rv, *_RVS) if not watch or value not in ("1", "01")),
        )
        maybe(0.02, "resourceVersion", "99999999999")
        maybe(0.12, "resourceVersionMatch", *_MATCHES)
        maybe(0.25, "labelSelector", self._label(gvr), self._label(gvr), chance.choice(_LABEL_SELECTORS))
        maybe(0.2, "fieldSelector", self._field(gvr), chance.choice(_FIELD_SELECTORS), chance.choice(_FIELD_SELECTORS))
        maybe(0.2, "includeObject", *_INCLUDES)
        maybe(0.08, "pretty", "true", "1", "false", "0", "", "x", "True", "yes")
        maybe(0.02, chance.choice(("foo", "labelselector", "Limit", "shardSelector")), "x", "", "1")
        encoded = [f"{name}={chance.choice((quote, quote_plus))(value)}" for name, value in pairs]
        if encoded and chance.random() < 0.03:
            encoded.append(chance.choice(encoded).split("=")[0] + "=" + chance.choice(("1", "", "x", "true")))
        return encoded

    def _label(self, gvr: GVR) -> str:
        labels = self._some(gvr).get("labels") or {"app": "web"}
        key = self.chance.choice(sorted(labels))
        value = labels[key]
        return self.chance.choice((
            f"{key}={value}", f"{key}={value}", f"{key}!={value}", f"{key} in ({value},zz)", f"{key} notin ({value})",
            key, f"!{key}", f"{key}=={value},{key}", f"{key}>{value}", f"{key}<{value}",
        ))  # fmt: skip

    def _field(self, gvr: GVR) -> str:
        metadata = self._some(gvr)
        name, namespace = metadata["name"], metadata.get("namespace", "default")
        return self.chance.choice((
            f"metadata.name={name}", f"metadata.name={name}", f"metadata.name!={name}",
            f"metadata.namespace={namespace}",
            f"metadata.name={name},metadata.namespace={namespace}", f"metadata.namespace!={namespace}",
        ))  # fmt: skip

    def _joined(self, parameters: list[str]) -> str:
        self.chance.shuffle(parameters)
        query = "&".join(parameters)
        if self.chance.random() < 0.02:
            # A watch whose deadline is lost to a semicolon would not end.
            semicolons = () if "watch" in query else self.known.semicolons
            # The second question mark takes the first option's name: a timeout, without which a watch would not end.
            odd = (f"{query}&", f"&{query}", f"{query}&%zz=1", f"{query}&=", f"?a=b&{query}", *semicolons)
            query = self.chance.choice(odd).format(query)
        return query

    # Headers

    def _headers(self, *, everywhere: bool) -> dict[str, str]:
        chance = self.chance
        headers = {"User-Agent": chance.choice(_AGENTS) if chance.random() < 0.15 else "beside/1"}
        if not headers["User-Agent"]:
            del headers["User-Agent"]
        if chance.random() < 0.95:
            headers["Accept"] = chance.choice(_COMMON_ACCEPTS) if chance.random() < 0.7 else self._accept()
        if chance.random() < 0.15:
            headers["Accept-Encoding"] = chance.choice(_ENCODINGS)
        token = "admin-token"
        if chance.random() < 0.08:
            token = chance.choice(self.strangers if everywhere else (*self.strangers, *self.users))
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return headers

    def _accept(self) -> str:
        chance = self.chance
        clauses = []
        for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
            clause = chance.choice(_TYPES)
            if chance.random() < 0.6:
                clause += chance.choice((";", ";", " ; ", "; ")) + chance.choice(_TRANSFORMS)
            for _ in range(chance.choice((0, 0, 1, 2))):
                clause += chance.choice((";", ";", "; ", " ;")) + chance.choice(_PARAMETERS)
            clauses.append(clause)
        return chance.choice((",", ",", ", ", " , ")).join(clauses) + chance.choice(("", "", "", "", ",", " ", ";"))
