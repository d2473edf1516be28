from __future__ import annotations

import json
from typing import Any

import pytest

from kube.paths import parse
from kube.resources import GVR
from kube.version import ServerVersion
from server import deprecations
from tests.replay.world import cases


def definition(*versions: dict[str, Any]) -> bytes:
    """A CustomResourceDefinition of wells with these versions."""
    return json.dumps({"spec": {"group": "petro.io", "names": {"kind": "Well"}, "versions": list(versions)}}).encode()


def version(name: str, *, deprecated: bool = False, served: bool = True, **more: Any) -> dict[str, Any]:
    """One version of it."""
    return {"name": name, "served": served, "deprecated": deprecated, **more}


def test_built_in_warnings_are_those_that_were_recorded() -> None:
    """Every Warning that a 1.36 server sent of a built-in kind is ours too."""
    compared = 0
    for case in cases():
        if "warning" not in case.get("headers", {}):
            continue
        info = parse("GET", *case["path"].partition("?")[::2])
        assert info.gvr is not None
        if "example.io" in info.gvr.group:
            continue
        (recorded,) = case["headers"]["warning"]
        text = recorded.removeprefix('299 - "').removesuffix('"')
        kind = text.split(" ")[1]
        assert deprecations.built_in(info.gvr, kind, ServerVersion(1, 36)) == text
        compared += 1
    assert compared > 30


def test_alphas_and_betas_beside_what_is_preferred_warn_too() -> None:
    """Nothing takes the place of some; others name the version that does."""
    latest = ServerVersion(1, 36)
    bundles = GVR("certificates.k8s.io", "v1alpha1", "clustertrustbundles")
    assert deprecations.built_in(bundles, "ClusterTrustBundle", latest) == (
        "certificates.k8s.io/v1alpha1 ClusterTrustBundle is deprecated in v1.34+, unavailable in v1.37+"
    )
    schemas = GVR("flowcontrol.apiserver.k8s.io", "v1beta3", "flowschemas")
    assert deprecations.built_in(schemas, "FlowSchema", latest).endswith(
        "; use flowcontrol.apiserver.k8s.io/v1 FlowSchema"
    )


@pytest.mark.parametrize(("minor", "warned"), [(20, False), (32, False), (33, True), (36, True)])
def test_built_in_warnings_begin_with_their_version(minor: int, *, warned: bool) -> None:
    """A kind is deprecated from one version on, not before."""
    gvr = parse("GET", "/api/v1/endpoints").gvr
    assert gvr is not None
    assert bool(deprecations.built_in(gvr, "Endpoints", ServerVersion(1, minor))) is warned


@pytest.mark.parametrize(
    ("versions", "text"),
    [
        ([version("v1beta1")], ""),
        ([version("v1beta1", deprecated=True)], "petro.io/v1beta1 Well is deprecated"),
        (
            [version("v1"), version("v2alpha1"), version("v1beta1", deprecated=True)],
            "petro.io/v1beta1 Well is deprecated; use petro.io/v1 Well",
        ),
        ([version("v1", served=False), version("v1beta1", deprecated=True)], "petro.io/v1beta1 Well is deprecated"),
        ([version("v1alpha1"), version("v1beta1", deprecated=True)], "petro.io/v1beta1 Well is deprecated"),
        (
            [version("v2"), version("v10"), version("v1beta1", deprecated=True)],
            "petro.io/v1beta1 Well is deprecated; use petro.io/v10 Well",
        ),
        ([version("v1beta1", deprecated=True, deprecationWarning="leave it")], "leave it"),
    ],
)
def test_custom_warnings(versions: list[dict[str, Any]], text: str) -> None:
    """A deprecated version of a custom resource says its own text, or names the best served version in its place."""
    assert deprecations.custom(definition(*versions), "v1beta1") == text
