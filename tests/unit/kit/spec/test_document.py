from __future__ import annotations

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.kit.spec.document import parse

BOMB = "\n".join(
    f"{name}: &{name} [{','.join([inside] * 10)}]"
    for name, inside in (("a", "x"), ("b", "*a"), ("c", "*b"), ("d", "*c"), ("e", "*d"))
)


def data(text: str) -> object:
    return parse(text, "f.yaml")[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", "on"),
        ("[yes, no, off, y, 12:30, 2020-01-01, 1_000, 0x1f]", ["yes", "no", "off", "y", "12:30", "2020-01-01",
                                                               "1_000", "0x1f"]),
        ("[true, False, null, ~, 3, -2, 010, 1.5, 1e3, .5]", [True, False, None, None, 3, -2, 10, 1.5, 1000.0, 0.5]),
        ("['3', \"true\"]", ["3", "true"]),
        ("{on: 1, 2: two, true: 3}", {"on": 1, "2": "two", "true": 3}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("a: &x {b: 1, d: 2}\nc: {<<: *x, d: 3}", {"a": {"b": 1, "d": 2}, "c": {"b": 1, "d": 3}}),
        ("a: &x {b: 1}\nc: {<<: [*x, {e: 2}]}", {"a": {"b": 1}, "c": {"e": 2, "b": 1}}),
        ("", None),
    ],
)  # fmt: skip
def test_plain_data(text: str, expected: object) -> None:
    assert data(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3", "f.yaml:3: the key 'a' stands twice, first in line 1; leave one"),
        ("a: [1,\n 2", "f.yaml:2: this is not YAML: expected ',' or ']'"),
        ("a: b\n\tc: d", "f.yaml:2: this is not YAML"),
        ("a: \x00", "f.yaml: this is not YAML: unacceptable character"),
        ("a: 1\n---\nb: 2", "f.yaml:2: this is not YAML: but found another document"),
        ("x: &a [*a]", "an anchor inside itself"),
        ("[1]: 2", "f.yaml:1: a key must be a word"),
        ("a: !!python/object:os.system {}", "is not read here; leave it out"),
        ("a: !secret x", "f.yaml:1: the tag !secret is not read here"),
        ("a: !!int x", "f.yaml:1: 'x' is not what its tag says"),
        ("a: !!bool maybe", "is not what its tag says"),
        ("a: {<<: 3}", "<< takes a mapping"),
        ("[" * 5000, "f.yaml: it is nested too deeply"),
        ("a: " + "9" * 5000, "is not what its tag says"),
        (BOMB, "more than 20000 values"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        data(text)
    assert said in str(caught.value)


def test_every_path_has_its_line() -> None:
    _, lines = parse("a:\n  b:\n    - 1\n    - c: 2\n", "f.yaml")
    assert lines == {(): 1, ("a",): 1, ("a", "b"): 2, ("a", "b", 0): 3, ("a", "b", 1): 4, ("a", "b", 1, "c"): 4}
