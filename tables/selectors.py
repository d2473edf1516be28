"""Label selectors as cells show them: "app=web,tier in (api,web)"."""

from __future__ import annotations

import re

from tables.cell import Object

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?", re.ASCII)
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*", re.ASCII)


def selector_text(selector: Object | None, *, empty: str, nothing: str, invalid: str) -> str:
    """The string form of a LabelSelector.

    `empty` stands for a selector of everything, `nothing` for an absent one, `invalid` for one that does
    not parse (old servers let label values into expressions unchecked).

    >>> selector_text({"matchLabels": {"app": "x"}}, empty="", nothing="<none>", invalid="<error>")
    'app=x'
    """
    if selector is None:
        return nothing
    terms: list[tuple[str, str]] = []
    for key, value in (selector.get("matchLabels") or {}).items():
        if not _valid(key, (value,)):
            return invalid
        terms.append((key, f"{key}={value}"))
    for requirement in selector.get("matchExpressions") or ():
        key, operator = requirement.get("key") or "", requirement.get("operator")
        values = requirement.get("values") or ()
        if not _valid(key, values):
            return invalid
        match operator:
            case "In" if values:
                terms.append((key, f"{key} in ({','.join(sorted(values))})"))
            case "NotIn" if values:
                terms.append((key, f"{key} notin ({','.join(sorted(values))})"))
            case "Exists" if not values:
                terms.append((key, key))
            case "DoesNotExist" if not values:
                terms.append((key, f"!{key}"))
            case _:
                return invalid
    # Stable: what has the same key stays in the order given, labels before expressions.
    terms.sort(key=lambda term: term[0])
    return ",".join(text for _, text in terms) or empty


def _valid(key: str, values: tuple[str, ...] | list[str]) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        return False
    return _NAME.fullmatch(name) is not None and all(not value or _NAME.fullmatch(value) for value in values)


def selector_dump(selector: Object) -> str:
    """A LabelSelector as Go dumps it, which upstream shows where it prints one without care.

    >>> selector_dump({"matchLabels": {"app": "x"}})
    '&LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:[]LabelSelectorRequirement{},}'
    """
    labels = selector.get("matchLabels") or {}
    pairs = "".join(f"{key}: {labels[key]}," for key in sorted(labels))
    requirements = "".join(
        f"LabelSelectorRequirement{{Key:{one.get('key') or ''},Operator:{one.get('operator') or ''},"
        f"Values:[{' '.join(one.get('values') or ())}],}},"
        for one in selector.get("matchExpressions") or ()
    )
    return (
        f"&LabelSelector{{MatchLabels:map[string]string{{{pairs}}},"
        f"MatchExpressions:[]LabelSelectorRequirement{{{requirements}}},}}"
    )
