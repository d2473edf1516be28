"""Settings from the command line, `LARDER_*` variables and a YAML file, in this order of precedence.

A settings Struct declares everything once: its fields become options, variables and keys, and the docstring under
each field becomes the help text. What nobody knows is refused, so that a misspelt setting is never silently ignored.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

PREFIX = "LARDER_"
CONFIG = f"{PREFIX}CONFIG"
OTHER_VARIABLES = frozenset({CONFIG, "LARDER_BENCH_CACHE"})
"""Variables with our prefix that are no setting."""

ADDRESSES = {"listen", "metrics_listen"}
"""Settings that are `HOST:PORT`."""

_WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "a text", "array": "a list"}

METAVARS = {
    **dict.fromkeys(("kubeconfig", "tls_cert", "tls_key", "client_ca"), "FILE"),
    **dict.fromkeys(ADDRESSES, "HOST:PORT"),
    **dict.fromkeys(("context", "prefix", "worker_id"), "NAME"),
    "redis_url": "URL",
    "directory": "FOLDER",
}
"""What stands for a value in the help, where its type does not say it."""

S = TypeVar("S", bound=msgspec.Struct)


class OptionError(Exception):
    """A setting is unknown or has no meaning; the message names it, where it stands and what to do."""


def field_docs(struct: type[msgspec.Struct]) -> dict[str, str]:
    """Field name → the docstring under it in the Struct's source, as one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(struct)))
    body = typing.cast("ast.ClassDef", tree.body[0]).body
    docs: dict[str, str] = {}
    for field, after in itertools.pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            docs[field.target.id] = " ".join(str(after.value.value).split())
    return docs


def add_options(parser: argparse.ArgumentParser, struct: type[msgspec.Struct], hidden: Iterable[str] = ()) -> None:
    """One `--name` for each field of the Struct but the hidden ones. Lists are comma-separated or repeated."""
    docs = field_docs(struct)
    for field in msgspec.structs.fields(struct):
        if field.name in hidden:
            continue
        text = docs.get(field.name, "").replace("%", "%%")
        default = _default_text(field)
        option = _option(field.name)
        kind = _plain_type(field.type)
        note = f"{text} (default: {default.replace('%', '%%')})" if default else text
        if kind is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None, help=text)
        elif kind is list:
            parser.add_argument(option, action="append", default=None, metavar="A,B", help=note)
        else:
            parser.add_argument(option, default=None, metavar=METAVARS.get(field.name) or _metavar(kind), help=note)


def load(
    struct: type[S],
    section: str,
    *,
    arguments: argparse.Namespace,
    environment: Mapping[str, str],
    config: Path | None,
    overrides: Mapping[str, Any] | None = None,
) -> S:
    """The settings for `section` of the YAML file.

    Raises:
        OptionError: a value has the wrong form, or the file has a key that nobody knows.
    """
    values: dict[str, Any] = dict(read_config(config).get(section, {})) if config else {}
    known = {field.name for field in msgspec.structs.fields(struct)}
    if unknown := sorted(set(values) - known):
        hint = nearest(unknown[0], known)
        raise OptionError(f"{config}: `{section}` has no setting {unknown[0]!r}{hint or f'; it has {_listed(known)}'}")
    for field in msgspec.structs.fields(struct):
        variable = f"{PREFIX}{field.name.upper()}"
        if variable in environment:
            values[field.name] = _from_text(field, environment[variable])
        given = getattr(arguments, field.name, None)
        if given is not None:
            values[field.name] = _from_text(field, given)
    values.update(overrides or {})
    for name in sorted(ADDRESSES & values.keys()):
        _check_address(section, name, str(values[name] or ""))
    try:
        return msgspec.convert(values, struct, strict=False)
    except msgspec.ValidationError as error:
        raise OptionError(f"{section}: {_in_words(error, values)}; see `larder {section} --help`") from error


def _in_words(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """What msgspec says of a value, with the option's name, the value, and types as people call them."""
    said, at, where = str(error).partition(" - at `$.")
    if not at:
        return said
    name = where.rstrip("`").partition("[")[0]
    wanted = said.removeprefix("Expected ").partition(", got ")[0]
    for kind, words in _WORDS.items():
        wanted = wanted.replace(f"`{kind}`", words)
    return f"{_option(name)} must be {wanted}, not {values.get(name)!r}"


def read_config(path: Path) -> dict[str, dict[str, Any]]:
    """The YAML file: a mapping of sections (`server:`, `informer:` …), each a mapping of settings.

    Raises:
        OptionError: it cannot be read or has another form.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise OptionError(f"cannot read the configuration {path}: {error.strerror}") from error
    try:
        document = yaml.safe_load(text) or {}
    except yaml.YAMLError as error:
        raise OptionError(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict) or not all(isinstance(part, dict) for part in document.values()):
        raise OptionError(f"{path} must hold sections of settings, like `server:` with `redis_url:` under it")
    return document


def refuse_unknown(
    environment: Mapping[str, str], config: Path | None, sections: Mapping[str, type[msgspec.Struct]]
) -> None:
    """Refuse `LARDER_*` variables and sections of the file that no command knows.

    Raises:
        OptionError: there is one; the message names what was probably meant.
    """
    known = {
        f"{PREFIX}{field.name.upper()}" for struct in sections.values() for field in msgspec.structs.fields(struct)
    }
    known |= OTHER_VARIABLES
    for variable in sorted(environment):
        if variable.startswith(PREFIX) and variable not in known:
            raise OptionError(f"{variable} is set but is no setting of larder{nearest(variable, known)}")
    if config:
        for section in sorted(read_config(config)):
            if section not in sections:
                raise OptionError(f"{config} has a section {section!r}; the sections are {_listed(sections)}")


def _check_address(section: str, name: str, text: str) -> None:
    host, colon, port = text.rpartition(":")
    if not text and name == "metrics_listen":
        return  # none at all
    if not colon or not port.isdecimal() or int(port) > 65_535 or (":" in host and not host.startswith("[")):
        raise OptionError(
            f"{section}: {_option(name)} is HOST:PORT with a port from 0 to 65535, like 127.0.0.1:8443, not {text!r}"
        )


def nearest(wrong: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where one of the known words is close, else ""."""
    import difflib

    found = difflib.get_close_matches(wrong, list(known), 1)
    return f"; did you mean {found[0]}?" if found else ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _from_text(field: msgspec.structs.FieldInfo, given: Any) -> Any:
    if _plain_type(field.type) is list:
        texts = given if isinstance(given, list) else [given]
        return [part.strip() for text in texts for part in text.split(",") if part.strip()]
    if _plain_type(field.type) is bool and isinstance(given, str):
        lowered = given.lower()
        if lowered not in {"1", "0", "true", "false", "yes", "no"}:
            raise OptionError(f"{field.name} must be true or false, not {given!r}")
        return lowered in {"1", "true", "yes"}
    return None if given == "" and _optional(field.type) else given


def _plain_type(annotation: Any) -> Any:
    """`list` for list[str], `int` for Annotated[int, …] and int | None, and so on."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain_type(typing.get_args(annotation)[0])
    if typing.get_origin(annotation) in {typing.Union, types.UnionType}:
        return _plain_type(next(part for part in typing.get_args(annotation) if part is not types.NoneType))
    return typing.get_origin(annotation) or annotation


def _optional(annotation: Any) -> bool:
    return types.NoneType in typing.get_args(annotation)


def _metavar(kind: Any) -> str:
    return {int: "N", float: "SECONDS"}.get(kind, "TEXT")


def _default_text(field: msgspec.structs.FieldInfo) -> str:
    if field.default_factory is not msgspec.NODEFAULT:
        return ",".join(map(str, field.default_factory()))
    return "" if field.default in {None, msgspec.NODEFAULT, ""} else str(field.default)
