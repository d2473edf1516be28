"""A tenant at a terminal, for the demonstration: kubectl where it is installed, else the Tables themselves.

Both show what the server sends; neither knows anything of larder but an address and a credential.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import yaml

LIMIT_SECONDS = 30.0
"""For one command. Everything is on this machine, so only something broken takes that long."""

_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


class CommandFailed(Exception):
    """A command did not do what it should; the message is what it said."""


class Tenant(Protocol):
    """What the demonstration lets somebody do. Each method returns what stands on the screen."""

    user: str

    def said(self, arguments: str) -> str:
        """How the command would be typed."""

    async def get(self, resource: str, *, namespace: str = "", wide: bool = False, labels: str = "") -> str:
        """A list as people read it; of all namespaces where none is given (namespaces themselves have none)."""

    async def get_yaml(self, resource: str, namespace: str, name: str) -> str:
        """One object as YAML."""

    async def create(self, obj: Mapping[str, Any]) -> str:
        """Make an object."""

    async def label(self, resource: str, namespace: str, name: str, label: str) -> str:
        """Set `key=value` on an object."""

    async def delete(self, resource: str, namespace: str, name: str) -> str:
        """Delete an object, without waiting for its end."""

    def watch(self, resource: str) -> contextlib.AbstractAsyncContextManager[AsyncIterator[str]]:
        """One line for each event on any of the tenant's objects: `EVENT NAMESPACE NAME …`."""


def find_kubectl() -> str | None:
    """Its path, or None."""
    return shutil.which("kubectl")


@dataclass
class Kubectl:
    """A tenant who types kubectl commands."""

    user: str
    kubeconfig: Path
    program: str
    cache: Path

    def said(self, arguments: str) -> str:
        """As it is typed, less the kubeconfig."""
        return f"kubectl {arguments}"

    async def get(self, resource: str, *, namespace: str = "", wide: bool = False, labels: str = "") -> str:
        """`kubectl get`."""
        where = ["-n", namespace] if namespace else ["-A"] if resource != "namespaces" else []
        return await self._run(
            "get", resource, *where, *(["-o", "wide"] if wide else []), *(["-l", labels] if labels else [])
        )

    async def get_yaml(self, resource: str, namespace: str, name: str) -> str:
        """`kubectl get -o yaml`."""
        return await self._run("get", resource, name, "-n", namespace, "-o", "yaml")

    async def create(self, obj: Mapping[str, Any]) -> str:
        """`kubectl create -f -`."""
        return await self._run("create", "-f", "-", stdin=json.dumps(obj).encode())

    async def label(self, resource: str, namespace: str, name: str, label: str) -> str:
        """`kubectl label`."""
        return await self._run("label", resource, name, "-n", namespace, "--overwrite", label)

    async def delete(self, resource: str, namespace: str, name: str) -> str:
        """`kubectl delete --wait=false`."""
        return await self._run("delete", resource, name, "-n", namespace, "--wait=false")

    @contextlib.asynccontextmanager
    async def watch(self, resource: str) -> AsyncIterator[AsyncIterator[str]]:
        """`kubectl get -w`, only what happens from now on."""
        process = await asyncio.create_subprocess_exec(
            *self._command("get", resource, "-A", "--watch-only", "--output-watch-events", "--no-headers"),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the demonstration, which ends it
        )  # fmt: skip
        assert process.stdout is not None
        try:
            yield _lines(process.stdout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.wait()

    def _command(self, *arguments: str) -> list[str]:
        return [self.program, "--kubeconfig", str(self.kubeconfig), "--cache-dir", str(self.cache), *arguments]

    async def _run(self, *arguments: str, stdin: bytes = b"") -> str:
        process = await asyncio.create_subprocess_exec(
            *self._command(*arguments),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        async with asyncio.timeout(LIMIT_SECONDS):
            output, _ = await process.communicate(stdin)
        text = output.decode(errors="replace").rstrip()
        if process.returncode:
            raise CommandFailed(text)
        return text


@dataclass
class Tables:
    """A tenant without kubectl: the same requests, and the Tables of their answers in columns."""

    user: str
    kubeconfig: Path
    _paths: Mapping[str, str] = field(
        default_factory=lambda: {"namespaces": "/api/v1", "pods": "/api/v1", "deployments": "/apis/apps/v1"}
    )

    def __post_init__(self) -> None:
        document = yaml.safe_load(self.kubeconfig.read_text())
        cluster = document["clusters"][0]["cluster"]
        self._host, self._port = cluster["server"].removeprefix("https://").split(":")
        self._token = document["users"][0]["user"]["token"]
        ca = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._tls = ssl.create_default_context(cadata=ca)

    def said(self, arguments: str) -> str:
        """What kubectl would be told."""
        return f"(no kubectl here) {arguments}"

    async def get(self, resource: str, *, namespace: str = "", wide: bool = False, labels: str = "") -> str:
        """A list's Table in columns; those of a lower priority only where `wide`."""
        query = f"?labelSelector={quote(labels)}" if labels else ""
        table = json.loads(await self._send("GET", self._path(resource, namespace) + query, accept=_TABLE))
        return in_columns(table, wide=wide, namespaced=resource != "namespaces")

    async def get_yaml(self, resource: str, namespace: str, name: str) -> str:
        """One object as YAML."""
        return yaml.safe_dump(json.loads(await self._send("GET", self._path(resource, namespace, name)))).rstrip()

    async def create(self, obj: Mapping[str, Any]) -> str:
        """POST."""
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        await self._send("POST", self._path("pods", namespace), json.dumps(obj).encode())
        return f"{name} created"

    async def label(self, resource: str, namespace: str, name: str, label: str) -> str:
        """A merge patch."""
        key, _, value = label.partition("=")
        patch = json.dumps({"metadata": {"labels": {key: value}}}).encode()
        await self._send(
            "PATCH", self._path(resource, namespace, name), patch, content_type="application/merge-patch+json"
        )
        return f"{name} labeled"

    async def delete(self, resource: str, namespace: str, name: str) -> str:
        """DELETE."""
        await self._send("DELETE", self._path(resource, namespace, name))
        return f"{name} deleted"

    @contextlib.asynccontextmanager
    async def watch(self, resource: str) -> AsyncIterator[AsyncIterator[str]]:
        """A watch for Tables from the list's resourceVersion on."""
        listed = json.loads(await self._send("GET", f"{self._path(resource)}?limit=1"))
        path = f"{self._path(resource)}?watch=1&resourceVersion={listed['metadata']['resourceVersion']}"
        reader, writer = await self._connect("GET", path, accept=_TABLE)
        try:
            await _head(reader)
            yield _events(_chunks(reader))
        finally:
            writer.close()

    def _path(self, resource: str, namespace: str = "", name: str = "") -> str:
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"{self._paths[resource]}{where}/{resource}" + (f"/{name}" if name else "")

    async def _connect(
        self, method: str, path: str, body: bytes = b"", *, accept: str = "application/json", content_type: str = ""
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._host, int(self._port), ssl=self._tls)
        lines = [
            f"{method} {path} HTTP/1.1", f"Host: {self._host}", f"Authorization: Bearer {self._token}",
            f"Accept: {accept}", f"Content-Type: {content_type or 'application/json'}",
            f"Content-Length: {len(body)}", "User-Agent: larder-demo-tenant", "", "",
        ]  # fmt: skip
        writer.write("\r\n".join(lines).encode() + body)
        return reader, writer

    async def _send(self, method: str, path: str, body: bytes = b"", **options: str) -> bytes:
        async with asyncio.timeout(LIMIT_SECONDS):
            reader, writer = await self._connect(method, path, body, **options)
            try:
                code, headers = await _head(reader)
                if "chunked" in headers.get("transfer-encoding", ""):
                    data = b"".join([chunk async for chunk in _chunks(reader)])
                else:
                    data = await reader.readexactly(int(headers.get("content-length", "0")))
            finally:
                writer.close()
        if code >= 400:
            raise CommandFailed(json.loads(data).get("message", data.decode()))
        return data


def in_columns(table: Mapping[str, Any], *, wide: bool, namespaced: bool, headers: bool = True) -> str:
    """A Table as kubectl would print it."""
    shown = [index for index, one in enumerate(table["columnDefinitions"]) if wide or not one["priority"]]
    rows = [[str(row["cells"][index]) for index in shown] for row in table["rows"] or ()]
    names = [table["columnDefinitions"][index]["name"].upper() for index in shown]
    if namespaced:
        rows = [
            [row["object"]["metadata"]["namespace"], *cells] for row, cells in zip(table["rows"], rows, strict=True)
        ]
        names.insert(0, "NAMESPACE")
    lines = [names, *rows] if headers else rows
    if not rows:
        return "No resources found"
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    while line := await reader.readline():
        yield line.decode(errors="replace").rstrip()


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[str]:
    rest, columns = b"", None
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            event = json.loads(line)
            table = event["object"]
            columns = table["columnDefinitions"] or columns
            text = in_columns({**table, "columnDefinitions": columns}, wide=False, namespaced=True, headers=False)
            yield f"{event['type']:<10} {text}"


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Status code and headers of an answer."""
    status = (await reader.readline()).decode()
    headers: dict[str, str] = {}
    while line := (await reader.readline()).decode().strip():
        key, _, value = line.partition(":")
        headers[key.strip().lower()] = value.strip()
    return int(status.split()[1]), headers


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """The pieces of a chunked body."""
    while size := int((await reader.readline()).strip() or b"0", 16):
        yield await reader.readexactly(size)
        await reader.readline()
