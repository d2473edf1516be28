"""WebSocket handshakes and frames beside real API servers: the same bytes to the same request, right or wrong."""

from __future__ import annotations

import asyncio
import base64
import re
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.real.every import every_server
from tests.real.test_watches import METADATA, TABLE, Side, both, comparable

pytestmark = pytest.mark.real

SECONDS = 30.0
ADMIN = "Authorization: Bearer admin-token"
BASE = (
    "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: https://dashboard.example",
)  # fmt: skip
MAPS = "/api/v1/namespaces/west/configmaps"
ONE = f"{MAPS}?watch=true&resourceVersion=0&timeoutSeconds=2&fieldSelector=metadata.name%3Dx1"


def _bearer(token: str) -> str:
    text = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return f"base64url.bearer.authorization.k8s.io.{text}"


def _without(name: str) -> tuple[str, ...]:
    return tuple(line for line in BASE if not line.startswith(f"{name}:"))


CASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "plain": (ONE, (*BASE, ADMIN)),
    "the dashboards' protocol": (ONE, (*BASE, ADMIN, "Sec-WebSocket-Protocol: base64.binary.k8s.io")),
    "any protocol": (ONE, (*BASE, ADMIN, "Sec-WebSocket-Protocol: x.y")),
    "two protocols": (ONE, (*BASE, ADMIN, "Sec-WebSocket-Protocol: a, b")),
    "two headers": (ONE, (*BASE, ADMIN, "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b")),
    "no origin": (ONE, (*_without("Origin"), ADMIN)),
    "null origin": (ONE, (*_without("Origin"), ADMIN, "Origin: null")),
    "version 12": (ONE, (*_without("Sec-WebSocket-Version"), ADMIN, "Sec-WebSocket-Version: 12")),
    "no key": (ONE, (*_without("Sec-WebSocket-Key"), ADMIN)),
    "token and protocol": (ONE, (*BASE, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}, v4.channel.k8s.io")),
    "token alone": (ONE, (*BASE, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}")),
    "unknown token": (ONE, (*BASE, f"Sec-WebSocket-Protocol: {_bearer('nobody')}, a")),
    "token twice": (ONE, (*BASE, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}, {_bearer('admin-token')}, a")),
    "token and two protocols": (ONE, (*BASE, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}, a, b")),
    "nobody's right": (ONE, (*BASE, "Authorization: Bearer carol-token")),
    "table": (ONE, (*BASE, ADMIN, f"Accept: {TABLE.format('v1')}")),
    "metadata": (ONE, (*BASE, ADMIN, f"Accept: {METADATA}")),
    "yaml": (ONE, (*BASE, ADMIN, "Accept: application/yaml")),
    "legacy path": ("/api/v1/watch/namespaces/west/configmaps/x1?timeoutSeconds=2", (*BASE, ADMIN)),
    "bad option": (f"{MAPS}?watch=true&resourceVersionMatch=Exact", (*BASE, ADMIN)),
    "bad version": (f"{MAPS}?watch=true&resourceVersion=abc", (*BASE, ADMIN)),
    "bad selector": (f"{MAPS}?watch=true&labelSelector=a%3Db%3Dc", (*BASE, ADMIN)),
    "relative origin": (ONE, (*_without("Origin"), ADMIN, "Origin: dashboard")),
    "origin without host": (ONE, (*_without("Origin"), ADMIN, "Origin: file:")),
    "token in both places": (ONE, (*BASE, ADMIN, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}, a")),
    "token beside another credential": (ONE, (*BASE, ADMIN, f"Sec-WebSocket-Protocol: {_bearer('admin-token')}")),
    "empty protocol": (ONE, (*BASE, ADMIN, "Sec-WebSocket-Protocol:")),
    "a get": (f"{MAPS}/x1", (*BASE, ADMIN)),
}

_LENGTH = re.compile(rb"\x81(?:[\x00-\x7d]|\x7e..|\x7f.{8})", re.DOTALL)
_FREE = ("alt-svc", "date", "audit-id", "x-larder-source", "x-larder-age", "x-kubernetes-pf-flowschema-uid",
         "x-kubernetes-pf-prioritylevel-uid", "warning", "connection", "keep-alive", "transfer-encoding")  # fmt: skip


async def _exchange(side: Side, target: str, lines: tuple[str, ...], tls: ssl.SSLContext | None) -> tuple[Any, ...]:
    """Status, the headers that count, and everything after them, until the server closes or is silent for long."""
    parts = urlsplit(side.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    writer.write("\r\n".join((f"GET {target} HTTP/1.1", "Host: x", *lines, "", "")).encode())
    async with asyncio.timeout(SECONDS):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = sorted(line for line in head[1:] if line and line.partition(":")[0].lower() not in _FREE)
        length = next(
            (int(line.partition(":")[2]) for line in headers if line.lower().startswith("content-length")), -1
        )
        body = await (reader.readexactly(length) if length >= 0 else reader.read())
        while length < 0 and (more := await reader.read(1 << 16)):
            body += more
    writer.close()
    lowered = sorted(f"{line.partition(':')[0].lower()}: {line.partition(':')[2].strip()}" for line in headers)
    return int(head[0].split(" ")[1]), lowered, body


@pytest.mark.parametrize("assets", every_server())
@pytest.mark.asyncio
@pytest.mark.timeout(240)
async def test_handshakes_and_frames_are_the_same(assets: Path, tmp_path: Path) -> None:
    """Each case is put to both servers: status, headers and every byte after them."""
    async with both(assets, tmp_path) as pair:
        for _ in range(60):
            await pair.write()
        await asyncio.sleep(1)
        tls = ssl.create_default_context(cafile=str(tmp_path / "apiserver" / "ca.crt"))
        different, upgraded = [], 0
        for name, (target, lines) in CASES.items():
            theirs = await _exchange(pair.real, target, lines, tls)
            ours = await _exchange(pair.larder, target, lines, None)
            upgraded += theirs[0] == 101
            if _comparable(ours) != _comparable(theirs):
                different.append((name, ours, theirs))
        assert not different, "\n".join(f"{name}:\n  {ours}\n  {theirs}" for name, ours, theirs in different)
        assert upgraded > 8


def _comparable(answer: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of Tables the frames' texts without ages, and so without their lengths."""
    status, headers, body = answer
    if status == 101 and b'"kind":"Table"' in body:
        return status, headers, comparable([text for text in _LENGTH.split(body) if text])
    return status, headers, body
