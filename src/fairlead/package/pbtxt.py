"""Protobuf text format, as far as configuration files use it: fields, messages, lists, strings, numbers, names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

Message = dict[str, list[Any]]
"""Field name to its values, in order: str, int, float or another message. Names such as TRUE stay strings."""

_TOKEN = re.compile(
    r"""(?>\s*(?:\#[^\n]*\s*)*)(?:(?P<string>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<word>[-+]?[A-Za-z0-9_.][A-Za-z0-9_.+-]*)|(?P<mark>[{}<>\[\]:,;]))""",
    re.VERBOSE,
)
_DEEPEST = 32
_CLOSING = {"{": "}", "<": ">"}


def parse(text: str) -> Message:
    """Raises ValueError that names the line."""
    tokens = _Tokens(text)
    found = _message(tokens, "", 0)
    tokens.done()
    return found


class _Tokens:
    """The tokens of a text, one ahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self.kind = self.value = ""
        self.step()

    def step(self) -> None:
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            rest = re.sub(r"#[^\n]*", "", self._text[self._at :]).strip()
            self.kind = self.value = ""
            if rest:
                raise self.wrong(f"{rest[:20]!r} cannot be read")
            return
        self._at = match.end()
        self.kind = match.lastgroup or ""
        self.value = match[self.kind]

    def takes(self, mark: str) -> bool:
        """Step over a mark, if it is the next token."""
        if self.kind != "mark" or self.value != mark:
            return False
        self.step()
        return True

    def wrong(self, what: str) -> ValueError:
        return ValueError(f"line {self._text.count(chr(10), 0, self._at) + 1}: {what}")

    def done(self) -> None:
        if self.value:
            raise self.wrong(f"a field was expected, found {self.value!r}")


def _message(tokens: _Tokens, closing: str, depth: int) -> Message:
    if depth > _DEEPEST:
        raise tokens.wrong("messages are nested too deeply")
    found: Message = {}
    while tokens.kind == "word":
        name = tokens.value
        tokens.step()
        tokens.takes(":")
        found.setdefault(name, []).extend(_values(tokens, depth))
        if not tokens.takes(","):
            tokens.takes(";")
    if closing and not tokens.takes(closing):
        raise tokens.wrong(f"{closing!r} was expected, found {tokens.value or 'the end'!r}")
    return found


def _values(tokens: _Tokens, depth: int) -> Iterator[Any]:
    if not tokens.takes("["):
        yield _value(tokens, depth)
        return
    while not tokens.takes("]"):
        yield _value(tokens, depth)
        if not tokens.takes(",") and tokens.value != "]":
            raise tokens.wrong(f"',' or ']' was expected, found {tokens.value or 'the end'!r}")


def _value(tokens: _Tokens, depth: int) -> Any:
    kind, value = tokens.kind, tokens.value
    if value in _CLOSING and kind == "mark":
        tokens.step()
        return _message(tokens, _CLOSING[value], depth + 1)
    if kind not in ("string", "word"):
        raise tokens.wrong(f"a value was expected, found {value or 'the end'!r}")
    tokens.step()
    if kind == "word":
        return _number(value)
    text = _unquoted(value, tokens)
    while tokens.kind == "string":  # strings side by side are one
        text += _unquoted(tokens.value, tokens)
        tokens.step()
    return text


def _unquoted(quoted: str, tokens: _Tokens) -> str:
    try:
        return str(ast.literal_eval(quoted))
    except (ValueError, SyntaxError) as error:
        raise tokens.wrong(f"the string {quoted[:40]} cannot be read") from error


def _number(word: str) -> Any:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
