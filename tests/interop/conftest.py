"""Clients that are not ours, before two replicas behind HAProxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from larder import haproxy
from tests.fixtures.running import Running, running
from tests.interop import kubectl
from tests.interop.kubectl import Kubectl, Sides

KUBECTLS = kubectl.installed()

QUIET = ("--life-seconds", "3600", "--pod-end-seconds", "0.3")
"""Deployments get their pods and pods start, but nothing happens that nobody asked for."""


@pytest.fixture(scope="package")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Sandbox, Redis, informer, two replicas, and HAProxy."""
    if haproxy.found() is None:
        pytest.skip("haproxy is not installed: clients that are not ours are not tested before two replicas")
    with running(tmp_path_factory.mktemp("interop"), sandbox_options=QUIET) as system:
        yield system


@pytest.fixture(params=list(KUBECTLS) or ["none"])
def program(request: pytest.FixtureRequest) -> Path:
    """Each kubectl that is to be tried."""
    return KUBECTLS[request.param] if KUBECTLS else plain()


def plain() -> Path:
    """The kubectl on PATH."""
    found = kubectl.plain()
    if found is None:
        pytest.skip("kubectl is not installed: what it makes of larder's answers is not tested")
    return found


@pytest.fixture
def sides(system: Running, program: Path, tmp_path_factory: pytest.TempPathFactory) -> Sides:
    """The administrator's kubectl on both sides."""
    return sides_of(system, program, "admin")


def sides_of(system: Running, program: Path, user: str) -> Sides:
    """A user's kubectl on both sides; its cache is kept between tests."""
    homes = system.stack.directory / "homes" / program.name / user
    return Sides(
        Kubectl(program, system.stack.kubeconfigs[user], homes / "larder"),
        Kubectl(program, system.stack.directory / "sandbox" / f"{user}.kubeconfig", homes / "upstream"),
    )
