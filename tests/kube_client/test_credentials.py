from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kube import credentials, kubeconfig
from kube.upstream_error import CredentialsError


def write(path: Path, user: str = "token: abc", cluster: str = "server: 'http://127.0.0.1:1'", more: str = "") -> Path:
    """A kubeconfig with one cluster and one user."""
    path.write_text(
        "apiVersion: v1\nkind: Config\n"
        f"clusters: [{{name: c, cluster: {{{cluster}}}}}]\n"
        f"users: [{{name: u, user: {{{user}}}}}]\n"
        "contexts: [{name: one, context: {cluster: c, user: u}}, {name: nowhere, context: {cluster: missing}}]\n"
        f"current-context: one\n{more}"
    )
    return path


def test_importing_the_client_does_not_import_the_slow_library() -> None:
    """`import kube.client` leaves kubernetes_asyncio alone, which takes seconds to import."""
    code = "import sys, kube.client, kube.discovery; print('kubernetes_asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.asyncio
async def test_token_of_a_kubeconfig(tmp_path: Path) -> None:
    """A token in the file becomes a bearer header."""
    loaded = credentials.load(write(tmp_path / "config"))
    assert loaded.server == "http://127.0.0.1:1"
    assert await loaded.authorization() == "Bearer abc"
    assert loaded.ssl_context() is None


@pytest.mark.asyncio
async def test_basic_login(tmp_path: Path) -> None:
    """A user name and a password become a basic header."""
    loaded = credentials.load(write(tmp_path / "config", user="username: joe, password: secret"))
    assert await loaded.authorization() == "Basic " + base64.b64encode(b"joe:secret").decode()


@pytest.mark.asyncio
async def test_token_file_is_read_again(tmp_path: Path) -> None:
    """A token file that changed is read again, at once when upstream refuses the old token."""
    (tmp_path / "token").write_text("first\n")
    loaded = credentials.load(write(tmp_path / "config", user="tokenFile: token"))
    assert await loaded.authorization() == "Bearer first"
    assert not await loaded.renew()
    (tmp_path / "token").write_text("second\n")
    assert await loaded.renew()
    assert await loaded.authorization() == "Bearer second"


@pytest.mark.asyncio
async def test_service_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pod, the mounted service account is used, IPv6 addresses included."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    (tmp_path / "token").write_text("mounted")
    loaded = credentials.in_cluster(tmp_path)
    assert loaded.server == "https://[fd00::1]:6443"
    assert await loaded.authorization() == "Bearer mounted"


def test_kubeconfig_paths_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several files in $KUBECONFIG the first wins for each name; missing ones do not matter."""
    write(tmp_path / "a")
    write(tmp_path / "b", cluster="server: 'http://other'").write_text(
        (tmp_path / "b")
        .read_text()
        .replace("name: c,", "name: d,")
        .replace("name: one", "name: two")
        .replace("cluster: c,", "cluster: d,")
    )
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path}/gone{os.pathsep}{tmp_path}/a{os.pathsep}{tmp_path}/b")
    assert credentials.load().server == "http://127.0.0.1:1"
    assert credentials.load(context="two").server == "http://other"


@pytest.mark.parametrize(
    ("text", "context", "message"),
    [
        (None, None, "there is no kubeconfig at"),
        ("[", None, "is not YAML"),
        ("{}", None, "has no current-context"),
        (..., "two", "has no context named 'two': it has nowhere, one"),
        (..., "nowhere", "has no cluster named 'missing': it has c"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: object, context: str | None, message: str) -> None:
    """Errors name what is missing and what there is instead."""
    path = tmp_path / "config"
    if text is ...:
        write(path)
    elif isinstance(text, str):
        path.write_text(text)
    with pytest.raises(CredentialsError) as caught:
        credentials.load(path, context)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("user", "message"),
    [("as: bob", "impersonates"), ("client-certificate: none.crt, client-key: none.key", "cannot read")],
)
def test_users_that_cannot_be_used(tmp_path: Path, user: str, message: str) -> None:
    """A user that impersonates, or whose certificate is missing, is refused with the reason."""
    path = write(tmp_path / "config", user=user, cluster="server: 'https://127.0.0.1:1'")
    with pytest.raises(CredentialsError) as caught:
        credentials.load(path).ssl_context()
    assert message in str(caught.value)


def plugin(folder: Path, expires_in: float | None) -> str:
    """An exec plugin that counts its runs and gives `token-N`; the exec section that names it."""
    script = folder / "plugin"
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + expires_in)) if expires_in else ""
    status = {"token": "token-@", **({"expirationTimestamp": stamp} if stamp else {})}
    answer = json.dumps({"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status})
    script.write_text(
        f"#!/bin/sh\necho run >> {folder}/runs\nn=$(wc -l < {folder}/runs)\necho '{answer}' | sed \"s/@/$n/\"\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return f"exec: {{apiVersion: client.authentication.k8s.io/v1, command: {script}}}"


@pytest.mark.asyncio
async def test_exec_plugin_is_run_again_before_its_login_expires(tmp_path: Path) -> None:
    """A login that ends within a minute is renewed with the next request; a lasting one is kept until refused."""
    ending = credentials.load(write(tmp_path / "config", user=plugin(tmp_path, expires_in=30)))
    assert await ending.authorization() == "Bearer token-1"
    assert await ending.authorization() == "Bearer token-2"
    (tmp_path / "runs").unlink()
    lasting = credentials.load(write(tmp_path / "config", user=plugin(tmp_path, expires_in=3600)))
    assert await lasting.authorization() == "Bearer token-1"
    assert await lasting.authorization() == "Bearer token-1"
    assert await lasting.renew()
    assert await lasting.authorization() == "Bearer token-2"


@pytest.mark.asyncio
async def test_missing_plugin_is_named(tmp_path: Path) -> None:
    """A plugin that is not on PATH is named, with its own hint how to install it."""
    user = "exec: {apiVersion: v1, command: no-such-plugin, installHint: 'get it at example.com'}"
    with pytest.raises(CredentialsError, match=r"no-such-plugin.*not on PATH: get it at example.com"):
        await credentials.load(write(tmp_path / "config", user=user)).authorization()


def test_default_path_is_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a flag, a variable or a pod, `~/.kube/config` is read."""
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert kubeconfig.default_paths()[0] == [tmp_path / ".kube" / "config"]
