from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tables.jsonpath import EvaluationError, JSONPath, ParseError

# The object and the expressions of the Kubernetes documentation on JSONPath.
DOCUMENTED: dict[str, Any] = {
    "kind": "List",
    "items": [
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.1", "labels": {"kubernetes.io/hostname": "127.0.0.1"}},
            "status": {"capacity": {"cpu": "4"}, "addresses": [{"type": "LegacyHostIP", "address": "127.0.0.1"}]},
        },
        {
            "kind": "None",
            "metadata": {"name": "127.0.0.2"},
            "status": {
                "capacity": {"cpu": "8"},
                "addresses": [
                    {"type": "LegacyHostIP", "address": "127.0.0.2"},
                    {"type": "another", "address": "127.0.0.3"},
                ],
            },
        },
    ],
    "users": [
        {"name": "myself", "user": {}},
        {"name": "e2e", "user": {"username": "admin", "password": "secret"}},
    ],
}


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ("{.kind}", ["List"]),
        ("{@.kind}", ["List"]),
        ("{$.kind}", ["List"]),
        ("{['kind']}", ["List"]),
        ("{..name}", ["127.0.0.1", "127.0.0.2", "myself", "e2e"]),
        ("{.items[*].metadata.name}", ["127.0.0.1", "127.0.0.2"]),
        ("{.items[*]['metadata.name', 'status.capacity']}", ["127.0.0.1", "127.0.0.2", {"cpu": "4"}, {"cpu": "8"}]),
        ("{.users[0].name}", ["myself"]),
        ("{.users[-1].name}", ["e2e"]),
        ('{.users[?(@.name=="e2e")].user.password}', ["secret"]),
        (r"{.items[0].metadata.labels.kubernetes\.io/hostname}", ["127.0.0.1"]),
        ("{.users[0:2].name}", ["myself", "e2e"]),
        ("{.users[1:].name}", ["e2e"]),
        ("{.users[:1].name}", ["myself"]),
        ("{.users[::2].name}", ["myself"]),
        ("{.users[?(@.user.username)].name}", ["e2e"]),
        ("{'text'}", ["text"]),
        ("{5}", [5]),
        ("plain", ["plain"]),
        ("{}", [DOCUMENTED]),
        ("", []),
    ],
)
def test_the_documented_expressions(template: str, found: list[Any]) -> None:
    """What the documentation shows, and the forms around it."""
    assert JSONPath.parse(template).first(DOCUMENTED) == found


OBJECT: dict[str, Any] = {
    "list": [{"n": 1, "f": 1.5, "s": "a", "t": True}, {"n": 2, "f": 2.5, "s": "b", "t": False}, {"s": "c"}],
    "text": "tank",
    "nothing": None,
    "empty": [],
    "map": {"a.b": "dotted", "x": 1},
    "mixed": [{"v": 1}, {"v": "1"}],
    "quotes": [{"q": "it's"}, {"q": 'say "x"'}, {"q": "tab\t"}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".list[?(@.n>1)].s", ["b"]),
        (".list[?(@.n<=1)].s", ["a"]),
        (".list[?(@.n!=1)].s", ["b"]),
        (".list[?(@.f>=2.5)].s", ["b"]),
        (".list[?(@.t==true)].s", ["a"]),
        (".list[?(@.s < 'c')].n", [1, 2]),
        ('.list[?( @.s == "c" )].s', ["c"]),
        (".list[1,0].s", ["b", "a"]),
        (".list[0:3:2].s", ["a", "c"]),
        (".list[1:1].s", []),
        (".list[].s", ["a"]),
        (r".map['a\.b']", ["dotted"]),
        (r".map.a\.b", ["dotted"]),
        (".text.*", [116, 97, 110, 107]),
        (".text.x", []),
        (".nothing", [None]),
        (".nothing.x", []),
        (".nothing[0]", []),
        (".missing[0].x", []),
        (".empty[*].x", []),
        (".map.*", ["dotted", 1]),
        ("..x", [1]),
        (".", []),
        ("..", None),
        (".list[?(@.n[5])].s", ["a", "b"]),  # an existence test counts what a failing step was given
        ('.quotes[?(@.q == "it\'s")].q', ["it's"]),
        ('.quotes[?(@.q == "say \\"x\\"")].q', ['say "x"']),
        ('.quotes[?(@.q == "tab\\t")].q', ["tab\t"]),
        (".map.x}/{.map.y", [1]),
        (".list[?(@.n==$.list[*].n)]", []),  # `$` is the element, not the root
        (".map.x|", []),
    ],
)
def test_steps(path: str, found: list[Any] | None) -> None:
    """Each kind of step, on what it fits and on what it does not."""
    if found is not None:
        assert JSONPath.parse(f"{{{path}}}").first(OBJECT) == found
    else:
        assert OBJECT in JSONPath.parse(f"{{{path}}}").first(OBJECT)


@pytest.mark.parametrize(
    "path",
    [
        ".list[7]", ".list[-7]", ".list[1:9]", ".list[2:1]", ".list[::0].n", ".list[::-1].n", ".text[0]", ".map[0]",
        ".map[?(@.x)]", ".text[?(@.x)]", ".mixed[?(@.v==1)].v", '.list[?(@.n=="1")]', ".list[?(@.f==1)]",
        ".list[?(@.n==1.0)]", ".list[?(@.s==Ready)]", ".list[?(@.t>true)]", ".list[?(@.n===1)]", "range .list[*]",
        ".list[*]}{range", ".nothing[?(@.x)]", ".map[?(@.x == 1)]", "end",
    ],
)  # fmt: skip
def test_misfits_are_errors(path: str) -> None:
    """What client-go refuses to evaluate is refused here."""
    with pytest.raises(EvaluationError):
        JSONPath.parse(f"{{{path}}}").first(OBJECT)


@pytest.mark.parametrize(
    "path",
    [
        ".list[abc", ".list[first].s", '.map["x"]', "....x", ".list[?(@.n=~1)]", ".list[?(@.n==1]", "'open", ".list[-]",
        ".list[99999999999999999999]", ".a\n", "1.2.3", "+", ".list[?(@.n==1)", "'\\q'", ".a,.b",
        ".list[?('\\ud800' == 1)]",
    ],
)  # fmt: skip
def test_what_does_not_parse(path: str) -> None:
    """What client-go's parser refuses is refused here."""
    with pytest.raises(ParseError):
        JSONPath.parse(f"{{{path}}}")


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=4)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["a", "b", "c.d"]), inner, max_size=3)
    ),
    max_leaves=12,
)
_PIECES = st.sampled_from([
    ".a", ".b", "..", "..a", "[0]", "[*]", "[-1]", "[0:2]", "[::2]", "[0,1]", "['a']", "[?(@.a)]", "[?(@.a==1)]",
    '[?(@.b=="x")]', ".*", "}{", "@", "$", " ", "'t'", "1", "1.5", "true", "range", "[?(@[0]>1)]", r".c\.d", "[", "]",
    ")",
])  # fmt: skip


@given(st.lists(_PIECES, max_size=6), _JSON)
def test_any_path_on_any_value_ends_in_values_or_its_own_errors(pieces: list[str], value: Any) -> None:
    """Neither parsing nor evaluation fails in a way of its own."""
    try:
        path = JSONPath.parse(f"{{{''.join(pieces)}}}")
    except ParseError:
        return
    with suppress(EvaluationError):
        assert isinstance(path.first(value), list)


def test_a_deep_object_is_no_danger() -> None:
    """Recursive descent does not recurse."""
    deep: Any = {"x": "found"}
    for _ in range(5000):
        deep = {"a": deep}
    assert JSONPath.parse("{..x}").first(deep) == ["found"]
