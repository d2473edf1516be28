"""How long the soak lasts."""

from __future__ import annotations

import os

import pytest


@pytest.fixture
def soak_seconds() -> float:
    """Ten minutes; `SOAK_SECONDS=3600` makes it an hour."""
    return float(os.environ.get("SOAK_SECONDS", "600"))
