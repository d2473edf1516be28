from __future__ import annotations

from kube import gojson

COMPACT = (
    b'{"kind":"Table","metadata":{},"rows":[{"cells":["\\"object\\":{",1e-7,12],"object":{"a":{},"b":[1]}},'
    b'{"cells":[],"object":null}]}'
)


def test_indented() -> None:
    """Two spaces a level, empty objects and arrays closed at once, numbers as they were."""
    text = gojson.indent(COMPACT).decode()
    assert '  "metadata": {},\n' in text
    assert "        1e-7,\n        12\n" in text
    assert '        "a": {},\n' in text


def test_indented_by_jsoniter() -> None:
    """Old servers left raw values compact, broke empty objects over two lines, and wrote exponents with two digits."""
    text = gojson.indent(COMPACT, jsoniter=True).decode()
    assert '  "metadata": {\n    \n  },\n' in text
    assert '        "\\"object\\":{",\n        1e-07,\n        12\n' in text
    assert '      "object": {"a":{},"b":[1]}\n' in text
    assert '      "object": null\n' in text
    managed = gojson.indent(b'{"metadata":{"managedFields":[{"fieldsV1":{"f:data":{}}}]},"data":{}}', jsoniter=True)
    assert b'"fieldsV1": {"f:data":{}}\n' in managed
    assert b'"data": {\n    \n  }\n' in managed


def test_strings_that_look_like_the_marker_stay() -> None:
    """What stands for raw values meanwhile is something that the text does not have."""
    text = gojson.indent(b'{"a":"\\u0001:0","fieldsV1":{"x":[]}}', jsoniter=True)
    assert text == b'{\n  "a": "\\u0001:0",\n  "fieldsV1": {"x":[]}\n}'
