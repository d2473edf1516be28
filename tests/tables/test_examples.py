from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import tables

_MODULES = [found.name for found in pkgutil.walk_packages(tables.__path__, "tables.")]


@pytest.mark.parametrize("name", [*_MODULES, "kube.version"])
def test_the_examples_in_the_docstrings_hold(name: str) -> None:
    """What a docstring shows is what the code does."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0
