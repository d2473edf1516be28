from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kube.selectors import FieldSelector, LabelSelector, SelectorError
from kube.version import ServerVersion

NEW, OLD = ServerVersion(1, 36), ServerVersion(1, 20)

NAME_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
    " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
INTEGER_RULE = "for 'Gt', 'Lt' operators, the value must be an integer"
LONG = f'"{"x" * 64}"'
VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and"
    " end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is"
    " '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
TWO_FAULTS = ", ".join(
    f'values[{index}][a]: Invalid value: "{value}": {VALUE_RULE}' for index, value in enumerate("éü")
)
TOO_LONG = "must be no more than 63"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        ("a=b", "a=b"),
        ("a==b", "a==b"),
        (" b = c ,a\t!=\nd ", "a!=d,b=c"),
        ("a=", "a="),
        ("a=,b", "a=,b"),
        ("x in (b,a,b)", "x in (a,b)"),
        ("x in ()", "x in ()"),
        ("x in (,)", "x in ()"),
        ("x in (a,)", "x in (,a)"),
        ("x in (,,a)", "x in (,a)"),
        ("x notin(a)", "x notin (a)"),
        ("!a,b", "!a,b"),
        ("in in (in, notin)", "in in (in,notin)"),
        ("notin", "notin"),
        ("a=in", "a=in"),
        ("a>5,b<03", "a>5,b<03"),
        ("example.com/a=b", "example.com/a=b"),
    ],
)
def test_label_selectors_have_one_canonical_text(text: str, canonical: str) -> None:
    """Requirements sorted by key, values sorted and unique, no white space; parsing that again changes nothing."""
    selector = LabelSelector.parse(text, NEW)
    assert str(selector) == canonical
    assert LabelSelector.parse(canonical, OLD) == selector
    assert hash(LabelSelector.parse(canonical, OLD)) == hash(selector)


@pytest.mark.parametrize(
    ("text", "new", "old"),
    [
        ("a=b=c", "found '=', expected: ',' or 'end of string'", None),
        ("a=b,", "found '', expected: identifier after ','", None),
        (",a=b", "found ',', expected: !, identifier, or 'end of string'", None),
        ("!", "unable to parse requirement: found '', expected: identifier", None),
        ("!a=b", "found '=', expected: ',' or 'end of string'", None),
        ("a in b", "unable to parse requirement: found 'b' expected: '('", None),
        ("a in", "unable to parse requirement: found '' expected: '('", None),
        ("a in (b", "unable to parse requirement: found '', expected: ',' or ')'", None),
        ("a in (=)", "unable to parse requirement: found '=', expected: ',', ')' or identifier", None),
        ("a in (b,=)", "unable to parse requirement: found '=', expected: ',', or identifier", None),
        ("a=(", "unable to parse requirement: found '(', expected: identifier", None),
        (
            "a!b",
            "unable to parse requirement: found '!', expected: in, notin, =, ==, !=, gt, lt",
            "unable to parse requirement: found '!', expected: '=', '!=', '==', 'in', notin'",
        ),
        (
            "_x=1",
            f'unable to parse requirement: <nil>: Invalid value: "_x": name part {NAME_RULE}',
            f'unable to parse requirement: invalid label key "_x": name part {NAME_RULE}',
        ),
        (
            "app=a/b",
            f'unable to parse requirement: values[0][app]: Invalid value: "a/b": {VALUE_RULE}',
            f'unable to parse requirement: invalid label value: "a/b": at key: "app": {VALUE_RULE}',
        ),
        (
            "app>x",
            f'unable to parse requirement: values[0]: Invalid value: "x": {INTEGER_RULE}',
            f"unable to parse requirement: {INTEGER_RULE}",
        ),
        (
            "a in (é,ü)",
            f"unable to parse requirement: [{TWO_FAULTS}]",
            f'unable to parse requirement: invalid label value: "é": at key: "a": {VALUE_RULE}',
        ),
        (
            "a=" + "x" * 64,
            f"unable to parse requirement: values[0][a]: Invalid value: {LONG}: {TOO_LONG} bytes",
            f'unable to parse requirement: invalid label value: {LONG}: at key: "a": {TOO_LONG} characters',
        ),
        (
            "/a=b",
            'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty',
            'unable to parse requirement: invalid label key "/a": prefix part must be non-empty',
        ),
    ],
)
def test_wrong_label_selectors_say_what_upstream_says(text: str, new: str, old: str | None) -> None:
    """The message of 1.36, and that of 1.20 where it was another."""
    for version, message in ((NEW, new), (OLD, old or new)):
        with pytest.raises(SelectorError) as caught:
            LabelSelector.parse(text, version)
        assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a=b", {}, False),
        ("a=", {}, False),
        ("a=", {"a": ""}, True),
        ("a!=b", {}, True),
        ("a!=b", {"a": "c"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b,c)", {"a": "c"}, True),
        ("a notin (b,c)", {}, True),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a>5", {"a": "6"}, True),
        ("a>5", {"a": "5"}, False),
        ("a>5", {"a": "x"}, False),
        ("a>5", {}, False),
        ("a<3", {"a": "-4"}, True),
        ("a=b,c", {"a": "b", "c": "1"}, True),
        ("a=b,c,!d", {"a": "b", "c": "1", "d": ""}, False),
        ("a,b,c,d", {"a": "", "b": "", "c": "", "d": ""}, True),
    ],
)
def test_label_selectors_match_as_documented(text: str, labels: dict[str, str], matches: bool) -> None:
    """All requirements must hold; negative ones hold for objects without the label."""
    assert LabelSelector.parse(text, NEW).matches(labels) is matches


def test_label_selectors_show_what_an_index_can_use() -> None:
    """Only a key with exactly one allowed value has a required one."""
    selector = LabelSelector.parse("a=b,c in (d),e in (f,g),h!=i,j,k==l", NEW)
    assert selector.equalities() == {"a": "b", "c": "d", "k": "l"}
    assert selector.required_value("e") is None
    assert not selector.empty
    assert LabelSelector.parse("", NEW).empty


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("", ""),
        (",,", ""),
        ("b=1,a!=2", "a!=2,b=1"),
        ("a==b", "a=b"),
        (r"a=x\,y\=z\\", r"a=x\,y\=z\\"),
        ("a=", "a="),
        ("a!b=c", "a!b=c"),
        ("=b", "=b"),
        ("=,!=,a=b,==", "a=b"),
    ],
)
def test_field_selectors_have_one_canonical_text(text: str, canonical: str) -> None:
    """Terms sorted as written, empty ones and those of nothing but a sign dropped, `==` written as `=`."""
    selector = FieldSelector.parse(text)
    assert str(selector) == canonical
    assert FieldSelector.parse(canonical) == selector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("abc", "invalid selector: 'abc'; can't understand 'abc'"),
        ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
        ("a=b=c", "invalid field selector: unescaped character in value: 61"),
        (r"a=\x", r"invalid field selector: invalid escape sequence: \x"),
        ("a=b\\", "invalid field selector: invalid escape sequence: \\"),
    ],
)
def test_wrong_field_selectors_say_what_upstream_says(text: str, message: str) -> None:
    """The message is the one of every version."""
    with pytest.raises(SelectorError) as caught:
        FieldSelector.parse(text)
    assert str(caught.value) == message


def test_field_selectors_match_missing_fields_as_empty() -> None:
    """Comparison is exact; a field that is not there reads as ""."""
    assert FieldSelector.parse("spec.nodeName=").matches({})
    assert not FieldSelector.parse("spec.nodeName!=").matches({})
    assert FieldSelector.parse("a=1,b!=2").matches({"a": "1", "b": "3"})
    assert not FieldSelector.parse("a=1,b!=2").matches({"a": "1", "b": "2"})
    assert FieldSelector.parse("").matches({"a": "1"})


def test_field_selectors_show_their_parts() -> None:
    """Required values, the fields looked at, and the same with other names."""
    selector = FieldSelector.parse("metadata.name=a,metadata.name=b,x!=1")
    assert selector.required("metadata.name") == "a"
    assert selector.required("x") is None
    assert selector.fields() == ("metadata.name", "x")
    assert str(selector.renamed({"x": "z"})) == "metadata.name=a,metadata.name=b,z!=1"


TEXTS = st.text(alphabet=st.sampled_from("ab/.-_=!<>(), \tin\\é\x00;1") | st.characters(), max_size=40)


@given(TEXTS, st.sampled_from([OLD, NEW]))
def test_any_label_selector_parses_or_is_refused(text: str, version: ServerVersion) -> None:
    """Nothing but a SelectorError comes out, and what parses has a text that parses to the same."""
    try:
        selector = LabelSelector.parse(text, version)
    except SelectorError:
        return
    assert LabelSelector.parse(str(selector), version) == selector
    assert selector.matches({}) in (True, False)


@given(TEXTS)
def test_any_field_selector_parses_or_is_refused(text: str) -> None:
    """Nothing but a SelectorError comes out, and what parses has a text that parses to the same."""
    try:
        selector = FieldSelector.parse(text)
    except SelectorError:
        return
    assert FieldSelector.parse(str(selector)) == selector
    assert selector.matches({}) in (True, False)


KEYS, VALUES = st.sampled_from("abc"), st.sampled_from(["", "x", "y", "5", "-7"])
ASKED = st.sampled_from(["x", "y", "5"])  # "-7" is no label value, and commas in a row have a grammar of their own


@given(
    st.lists(
        st.tuples(KEYS, st.sampled_from(["=", "!=", "in", "notin", "", "!", ">", "<"]), st.lists(ASKED, min_size=1))
    ),
    st.dictionaries(KEYS, VALUES),
)
def test_the_matcher_agrees_with_a_naive_model(
    requirements: list[tuple[str, str, list[str]]], labels: dict[str, str]
) -> None:
    """The compiled closure decides as the sentences of the documentation do."""
    texts, expected = [], True
    for key, operator, values in requirements:
        if operator in ("in", "notin"):
            texts.append(f"{key} {operator} ({','.join(values)})")
            found = key in labels and labels[key] in values
            expected &= found if operator == "in" else not found
        elif operator in ("=", "!="):
            texts.append(f"{key}{operator}{values[0]}")
            found = key in labels and labels[key] == values[0]
            expected &= found if operator == "=" else not found
        elif operator in (">", "<"):
            texts.append(f"{key}{operator}3")
            number = int(labels[key]) if labels.get(key) in ("5", "-7") else None
            expected &= number is not None and (number > 3 if operator == ">" else number < 3)
        else:
            texts.append(f"{operator}{key}")
            expected &= (key in labels) is (operator == "")
    assert LabelSelector.parse(",".join(texts), NEW).matcher()(labels) is expected
