"""Two replicas behind a real HAProxy, which passes TLS through or ends it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import httpx
import pytest

from larder import haproxy
from larder.up import free_port
from tests.fixtures.running import Running, running, wait_until

ENDS_TLS = """\
global
    log stderr format raw local0 notice
defaults
    mode http
    timeout connect 3s
    timeout client 10m
    timeout server 10m
    timeout check 2s
    retries 3
    option redispatch
frontend larder
    bind {listen} ssl crt {pem} alpn http/1.1
    default_backend replicas
backend replicas
    balance roundrobin
    http-reuse never
    option httpchk GET /readyz
    # The probes are on a port of their own, without TLS.
    default-server check inter 300ms fall 1 rise 1 no-check-ssl ssl verify required ca-file {ca} sni str(localhost)
{servers}
"""


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Sandbox, Redis, informer, two replicas, and HAProxy that passes TLS through."""
    if haproxy.found() is None:
        pytest.skip("haproxy is not installed: two replicas behind a load balancer are not tested")
    with running(tmp_path_factory.mktemp("haproxy")) as system:
        yield system


@pytest.fixture(scope="package")
def ending_tls(system: Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a second HAProxy, which ends TLS and speaks HTTP and TLS with the replicas."""
    program = haproxy.found()
    assert program is not None
    directory = tmp_path_factory.mktemp("haproxy-ends-tls")
    pem, ca = directory / "both.pem", directory / "ca.crt"
    folder = system.stack.directory
    pem.write_bytes((folder / "server.crt").read_bytes() + (folder / "server.key").read_bytes())
    ca.write_text(system.ca)
    port = free_port()
    servers = "\n".join(
        f"    server replica-{number} {url.removeprefix('https://')} port {health.rpartition(':')[2]}"
        for number, (url, health) in enumerate(zip(system.stack.replicas, system.health, strict=True), 1)
    )
    config = directory / "haproxy.cfg"
    config.write_text(ENDS_TLS.format(listen=f"127.0.0.1:{port}", pem=pem, ca=ca, servers=servers))
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([program, "-db", "-f", str(config)], stdout=log, stderr=log)
    try:
        url = f"https://127.0.0.1:{port}"
        with system.client("admin", url) as client:
            wait_until(lambda: process.poll() is None and _answers(client), 10)
        yield url
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(params=["passed through", "ended by HAProxy"])
def url(request: pytest.FixtureRequest, system: Running) -> Iterator[str]:
    """Where clients go, in each way of handling TLS; both replicas are up before and after."""
    system.wait_until_all_ready()
    yield system.url if request.param == "passed through" else request.getfixturevalue("ending_tls")
    system.wait_until_all_ready()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/version").status_code == 200
    except httpx.HTTPError:
        return False
