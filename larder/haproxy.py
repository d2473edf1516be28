"""HAProxy in front of the replicas of one machine: TLS passed through, replicas checked at /readyz."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

CONFIG = """\
global
    # Without a number HAProxy takes what the limit of open files allows.
    log stderr format raw local0 notice
defaults
    mode tcp
    timeout connect 3s
    timeout check 2s
    # A quiet watch sends a bookmark each minute; an hour bounds what a client that vanished can hold.
    timeout client 1h
    timeout server 1h
    option clitcpka
    option redispatch
    retries 3
frontend larder
    bind {listen}
    default_backend replicas
backend replicas
    balance roundrobin
    option httpchk GET /readyz
    # A replica that drains fails its check first; its open watches end by themselves, cleanly.
    default-server check inter 500ms fall 2 rise 1
{servers}
"""


def found() -> str | None:
    """The program's path, or None where it is not installed."""
    return shutil.which("haproxy") or next(
        (path for path in ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy") if Path(path).exists()), None
    )


def command(program: str, path: Path, listen: str, replicas: Sequence[tuple[str, str]]) -> list[str]:
    """Write the configuration and return the command that runs it in the foreground.

    `replicas` are (address of the API, address of /readyz), each `HOST:PORT`.
    """
    servers = "\n".join(
        f"    server replica-{number} {api} port {health.rpartition(':')[2]}"
        for number, (api, health) in enumerate(replicas, 1)
    )
    path.write_text(CONFIG.format(listen=listen, servers=servers))
    return [program, "-db", "-f", str(path)]
