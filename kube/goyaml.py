"""YAML as API servers write it: keys sorted, two spaces, long plain and quoted strings folded at 80 columns.

Meant for small objects such as a Status: PyYAML's emitter is a sibling of Go's (both follow libyaml),
but slow.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """SafeDumper with Go's choice of string styles."""

    def ignore_aliases(self, data: Any) -> bool:
        """Equal objects are written out each time."""
        return True


_resolver: Any = yaml.resolver.Resolver()


def _represent_string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = None
    if "\n" in text:
        style = "|"
    elif _resolver.resolve(yaml.ScalarNode, text, (True, False)) != "tag:yaml.org,2002:str":
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_string)


def dumps(value: Any) -> bytes:
    r"""The YAML document of a JSON-like value, without `---`.

    >>> dumps({"kind": "Status", "code": 404, "rv": "518", "message": "a: b"})
    b'code: 404\nkind: Status\nmessage: \'a: b\'\nrv: "518"\n'
    """
    text = yaml.dump(
        value,
        Dumper=_Dumper,
        default_flow_style=False,
        allow_unicode=True,
        width=80,
        sort_keys=True,
    )
    return text.encode("utf-8", "replace")
