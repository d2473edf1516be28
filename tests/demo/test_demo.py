"""The demonstration holds what it promises, with and without the programs that it can use."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from larder import haproxy
from tests.cli.larder_command import clean_environment


def _demo(*arguments: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "larder.demo", *arguments],
        capture_output=True, text=True, check=False, timeout=110, env=clean_environment(), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    return ended.stdout


def test_two_tenants_are_shown_with_everything_installed() -> None:
    """Kubectl through HAProxy: every command, and the requests that upstream saw."""
    if shutil.which("kubectl") is None or haproxy.found() is None:
        pytest.skip("kubectl or haproxy is not installed: the demonstration is tested without them only")
    shown = _demo()
    for told in (
        "alice$ kubectl get namespaces", "bob$ kubectl get pods -A -o wide", "get pods -A -l tier=frontend",
        "-o yaml", "--output-watch-events", "HAProxy before two replicas", "create tokenreviews",
        "came from the store, and not one went to upstream", "with one list and one watch each", "Everything held.",
    ):  # fmt: skip
        assert told in shown, told
    assert "✗" not in shown


def test_two_tenants_are_shown_with_nothing_installed() -> None:
    """Without kubectl and HAProxy the Tables themselves are shown, and the same promises are checked."""
    shown = _demo("--tables", "--no-haproxy")
    assert "storefront-staging   demo-pod" in shown
    assert "NODE" in shown
    assert "Everything held." in shown
    assert "✗" not in shown
