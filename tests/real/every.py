"""Each real API server that is found here, for tests to run once beside each of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from tests.real.apiserver import all_assets, version_of


@cache
def every_server() -> list[Any]:
    """Parameters of a test or fixture: the folder of each version that is found, or one that is skipped aloud.

    The first folder of a version counts, so that `KUBEBUILDER_ASSETS` may name another build of it.
    """
    by_version = {version_of(folder): folder for folder in reversed(all_assets())}
    if not by_version:
        absent = pytest.mark.skip("no kube-apiserver here: `make apiserver` builds one, or set KUBEBUILDER_ASSETS")
        return [pytest.param(None, id="no-apiserver", marks=absent)]
    return [pytest.param(by_version[version], id=version) for version in sorted(by_version)]
