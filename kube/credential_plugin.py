"""Logins that a program or an identity provider hands out: `exec` and `auth-provider` of a kubeconfig.

kubernetes_asyncio knows these. Importing it takes seconds, so it is imported when a kubeconfig needs it.
It runs a plugin once and forgets when the login expires; that is kept here.
"""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import importlib
import json
from dataclasses import dataclass
from typing import Any

from kube.upstream_error import CredentialsError

PLUGIN_SECONDS = 60.0
"""How long a plugin may take: some wait for a person with a browser."""
UNKNOWN_EXPIRY_SECONDS = 600.0
"""After so long a provider is asked again for a token that does not say when it expires."""


@dataclass(frozen=True, slots=True)
class PluginLogin:
    """What a plugin gave: an Authorization header, or a client certificate with its key (PEM), or both.

    `expires` is in Unix seconds; None: until upstream refuses it.
    """

    authorization: str = ""
    certificate: bytes = b""
    key: bytes = b""
    expires: float | None = None


async def run_exec(config: dict[str, Any]) -> PluginLogin:
    """Run the program of a kubeconfig's `exec` section.

    Raises:
        CredentialsError: the program is missing, fails, takes too long, or answers nonsense.
    """
    command = str(config.get("command"))
    provider = await _import("kubernetes_asyncio.config.exec_provider")
    loader = await _import("kubernetes_asyncio.config.kube_config")
    try:
        async with asyncio.timeout(PLUGIN_SECONDS):
            status = await provider.ExecProvider(loader.ConfigNode("exec", config)).run()
    except TimeoutError:
        problem = f"gave no login within {PLUGIN_SECONDS:.0f} s"
        raise CredentialsError(f"the credential plugin {command!r} {problem}") from None
    except FileNotFoundError:
        hint = config.get("installHint") or "install it, or use a kubeconfig with a token or a client certificate"
        raise CredentialsError(f"the credential plugin {command!r} of the kubeconfig is not on PATH: {hint}") from None
    except (loader.ConfigException, OSError) as error:
        raise CredentialsError(f"the credential plugin {command!r} failed: {error}") from error
    token, certificate, key = (status.get(name) or "" for name in ("token", "clientCertificateData", "clientKeyData"))
    if not token and not (certificate and key):
        raise CredentialsError(f"the credential plugin {command!r} gave neither a token nor a certificate with its key")
    return PluginLogin(
        authorization=f"Bearer {token}" if token else "",
        certificate=certificate.encode(),
        key=key.encode(),
        expires=_instant(status.get("expirationTimestamp")),
    )


async def run_auth_provider(kubeconfig: dict[str, Any], context: str) -> PluginLogin:
    """Ask the identity provider of a kubeconfig's `auth-provider` section (gcp, oidc).

    `kubeconfig` is changed in place: it keeps the tokens that were got.

    Raises:
        CredentialsError: the provider is unknown, cannot be asked, or refuses.
    """
    loader_module = await _import("kubernetes_asyncio.config.kube_config")
    client = await _import("kubernetes_asyncio.client")
    settings = client.Configuration()
    try:
        async with asyncio.timeout(PLUGIN_SECONDS):
            loader = loader_module.KubeConfigLoader(kubeconfig, active_context=context, config_base_path=None)
            await loader.load_and_set(settings)
    except TimeoutError:
        raise CredentialsError(f"the auth-provider of context {context!r} gave no login in time") from None
    except Exception as error:  # whatever a provider's library raises is the same to the caller
        raise CredentialsError(f"the auth-provider of context {context!r} failed: {error!r}") from error
    authorization = settings.api_key.get("BearerToken")
    if not authorization:
        raise CredentialsError(
            f"the auth-provider of context {context!r} is not known here: use an exec plugin or a token instead"
        )
    return PluginLogin(authorization=authorization, expires=_token_expiry(authorization))


async def _import(name: str) -> Any:
    """Import in a thread: it takes seconds, and open watches must not wait for it."""
    return await asyncio.to_thread(importlib.import_module, name)


def _instant(text: str | None) -> float | None:
    if not text:
        return None
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise CredentialsError(f"the credential plugin's expirationTimestamp {text!r} is no timestamp") from None


def _token_expiry(authorization: str) -> float:
    """When a JWT expires; for other tokens a time after which the provider is asked again."""
    unknown = dt.datetime.now(dt.UTC).timestamp() + UNKNOWN_EXPIRY_SECONDS
    parts = authorization.removeprefix("Bearer ").split(".")
    if len(parts) != 3:
        return unknown
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError):
        return unknown
