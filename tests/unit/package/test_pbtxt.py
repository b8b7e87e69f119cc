from __future__ import annotations

import pytest
from google.protobuf import text_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.package.pbtxt import parse

CONFIG = """
# a model
name: "re\\x6e\\"et"  'more'   # two strings are one
max_batch_size: 8
input [
  { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] },
  { name: "y", data_type: TYPE_STRING; dims: 1 dims: 2 }
]
output < name: "z" >
parameters { key: "a" value: { string_value: "b" } }
optimization { priority: PRIORITY_MAX cuda { graphs: true } }
rate: 1.5e-3
empty: []
"""


def test_a_configuration() -> None:
    found = parse(CONFIG)
    assert found == {
        "name": ['ren"etmore'],
        "max_batch_size": [8],
        "input": [
            {"name": ["x"], "data_type": ["TYPE_FP32"], "dims": [3, -1]},
            {"name": ["y"], "data_type": ["TYPE_STRING"], "dims": [1, 2]},
        ],
        "output": [{"name": ["z"]}],
        "parameters": [{"key": ["a"], "value": [{"string_value": ["b"]}]}],
        "optimization": [{"priority": ["PRIORITY_MAX"], "cuda": [{"graphs": ["true"]}]}],
        "rate": [0.0015],
        "empty": [],
    }
    assert parse("") == parse("  # nothing\n") == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name: "x', "line 1: '\"x' cannot be read"),
        ("a: 1\nb {", "line 2: '}' was expected, found 'the end'"),
        ("a: 1\n\n}", "line 3: a field was expected, found '}'"),
        ("a: [1 2]", r"line 1: ',' or '\]' was expected, found '2'"),
        ("a:", "line 1: a value was expected, found 'the end'"),
        ("a {" * 100, "nested too deeply"),
        ('a: "\\xz"', "cannot be read"),
    ],
)
def test_what_is_wrong_names_its_line(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse(text)


values = st.recursive(
    st.text(max_size=8) | st.booleans(),
    lambda inner: st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=4), values, max_size=3))
def test_what_protobuf_writes_is_read(document: dict[str, object]) -> None:
    """A ``Struct`` is fields of key and value: what comes back is what went in."""

    def read(message: dict[str, list[object]]) -> object:
        return {_of(field.get("key", [""])): value(field["value"][0]) for field in message.get("fields", [])}

    def _of(found: list[object]) -> str:
        return str(found[-1])

    def value(message: dict[str, list[object]]) -> object:
        kind, found = next(iter(message.items()))
        return {"string_value": lambda one: one, "bool_value": lambda one: one == "true", "struct_value": read}[kind](
            found[-1]
        )

    struct = Struct()
    struct.update(document)
    assert read(parse(text_format.MessageToString(struct, as_utf8=True))) == document


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="ab:{}[]<>,;\"'\\# \n12.-", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        parse(text)
    except ValueError:
        return
