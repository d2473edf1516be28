"""An identity of the code that prints, so that rows made by other code can be found and refreshed."""

from __future__ import annotations

import hashlib
import pkgutil
from importlib.abc import InspectLoader
from types import CodeType

import tables


def _feed(digest: hashlib._Hash, code: CodeType) -> None:
    """Everything of `code` that decides what it does; neither paths nor line numbers."""
    digest.update(repr((code.co_name, code.co_code, code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _feed(digest, constant)
        elif isinstance(constant, frozenset):
            digest.update(repr(sorted(constant, key=repr)).encode())
        else:
            digest.update(repr(constant).encode())


def _digest() -> str:
    digest = hashlib.sha256()
    for module in sorted(pkgutil.walk_packages(tables.__path__, "tables."), key=lambda found: found.name):
        spec = module.module_finder.find_spec(module.name, None)
        loader = spec.loader if spec else None
        code = loader.get_code(module.name) if isinstance(loader, InspectLoader) else None
        if code is None:
            raise ImportError(f"{module.name} has no code to tell its version by")
        digest.update(module.name.encode())
        _feed(digest, code)
    return digest.hexdigest()


CODE_DIGEST = _digest()
