"""What a server says in the words of OpenAI's API, and what that is in ours."""

from __future__ import annotations

from typing import Any

import msgspec

from fairlead.contracts.generation import CallDelta, Chosen, Piece, Reason, Usage

_encode = msgspec.json.Encoder().encode


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: Any = None  # text; some servers write the object


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    """Also a whole message. ``reasoning``: what vLLM and others now call ``reasoning_content``."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Top(msgspec.Struct):
    token: str
    logprob: float | None = None
    bytes: list[int] | None = None


class _Token(_Top):
    top_logprobs: list[_Top] | None = None


class _Logprobs(msgspec.Struct):
    """Of a conversation, or, with ``tokens``, of a text."""

    content: list[_Token] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None
    top_logprobs: list[dict[str, float] | None] | None = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None
    logprobs: _Logprobs | None = None
    finish_reason: str | None = None


class _Cached(msgspec.Struct):
    cached_tokens: int | None = None


class _Reasoning(msgspec.Struct):
    reasoning_tokens: int | None = None


class Used(msgspec.Struct):
    """Of the whole answer so far."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Cached | None = None
    completion_tokens_details: _Reasoning | None = None
    prompt_cache_hit_tokens: int | None = None  # DeepSeek


class Chunk(msgspec.Struct):
    """``error``, or ``object`` that says so: a failure in the middle of a stream."""

    choices: list[_Choice] | None = None
    usage: Used | None = None
    error: Any = None
    kind: str | None = msgspec.field(name="object", default=None)

    @property
    def failed(self) -> bool:
        return self.error is not None or self.kind == "error"


chunk_of = msgspec.json.Decoder(Chunk).decode
"""Raises DecodeError, UnicodeDecodeError or RecursionError."""

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_REASONS: dict[str, Reason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_LOST = ("abort", "error", "cancelled")


def reason_of(said: str, *, called: bool) -> Reason | None:
    """Why it ended; None where the server says that it broke. ``called``: tools were."""
    if said in _LOST:
        return None
    found: Reason = _REASONS.get(said, "stop")
    return "tool_calls" if called and found == "stop" else found


def usage_of(used: Used) -> Usage | None:
    """Classes that share nothing. None where the server left out what matters."""
    prompt, completion = used.prompt_tokens, used.completion_tokens
    if prompt is None or completion is None or prompt < 0 or completion < 0:
        return None
    cached = used.prompt_cache_hit_tokens or 0
    if used.prompt_tokens_details is not None:
        cached = used.prompt_tokens_details.cached_tokens or cached
    cached = min(max(cached, 0), prompt)
    reasoning = 0
    if used.completion_tokens_details is not None:
        reasoning = max(used.completion_tokens_details.reasoning_tokens or 0, 0)
    beside = reasoning > completion or used.total_tokens == prompt + completion + reasoning  # some add it themselves
    output = completion if beside else completion - reasoning
    return Usage(prompt - cached, cached, output, reasoning)


class Saying:
    """Makes pieces of what comes for one answer. ``call``: the beginning of ids for calls that have none."""

    __slots__ = ("_call", "_ids", "said", "tokens")

    def __init__(self, call: str) -> None:
        self._call = call
        self._ids: list[tuple[int | None, str]] = []
        self.tokens = 0
        """Told so far, as well as is known."""
        self.said = False
        """Whether there was a piece."""

    @property
    def called(self) -> bool:
        return bool(self._ids)

    def piece(self, choice: _Choice, used: Used | None) -> Piece | None:
        """None where nothing is said."""
        delta = choice.delta or choice.message
        text, reasoning, refusal = choice.text or "", "", ""
        calls: tuple[CallDelta, ...] = ()
        if delta is not None:
            text = delta.content or text
            reasoning = delta.reasoning_content or delta.reasoning or ""
            refusal = delta.refusal or ""
            if delta.tool_calls:
                calls = tuple(map(self._called, delta.tool_calls))
        logprobs = () if choice.logprobs is None else _chosen(choice.logprobs)
        if not (text or reasoning or refusal or calls or logprobs):
            return None
        tokens = self._tokens(used, len(logprobs))
        self.said = True
        return Piece(text, tokens, calls, reasoning, refusal, logprobs)

    def _tokens(self, used: Used | None, told: int) -> int:
        """How many made a piece: as the server counts them, or by its logprobs; else one, which is the least."""
        made = told or 1
        if used is not None and used.completion_tokens is not None and used.completion_tokens > self.tokens:
            made = used.completion_tokens - self.tokens
        self.tokens += made
        return made

    def _called(self, call: _Call) -> CallDelta:
        """Some servers give every call place 0, or none, or its id with each piece."""
        function = call.function or _Function()
        given = call.id or ""
        place = self._place(call.index, given, function.name or "")
        arguments = function.arguments
        text = arguments or ""
        if not isinstance(text, str):
            text = _encode(text).decode()
        if place < len(self._ids):
            return CallDelta(place, arguments=text)
        identity = given or f"{self._call}{place}"
        self._ids.append((call.index, given))
        return CallDelta(place, identity, function.name or "", text)

    def _place(self, index: int | None, given: str, name: str) -> int:
        for place in range(len(self._ids) - 1, -1, -1):
            known_index, known = self._ids[place]
            if given and known:
                if given == known:
                    return place
            elif (index == known_index and not (index is None and name)) or (index is None and not name):
                return place
        return len(self._ids)


def _chosen(told: _Logprobs) -> tuple[Chosen, ...]:
    if told.content is not None:
        return tuple(
            Chosen(
                one.token,
                _number(one.logprob),
                _bytes(one),
                tuple((top.token, _number(top.logprob), _bytes(top)) for top in one.top_logprobs or ()),
            )
            for one in told.content
        )
    if not told.tokens:
        return ()
    numbers, tops = told.token_logprobs or [], told.top_logprobs or []
    found = []
    for place, token in enumerate(told.tokens):
        top = (tops[place] if place < len(tops) else None) or {}
        others = sorted(top.items(), key=lambda item: -item[1])
        number = numbers[place] if place < len(numbers) else None
        found.append(
            Chosen(
                token, _number(number), token.encode(), tuple((name, value, name.encode()) for name, value in others)
            )
        )
    return tuple(found)


def _number(logprob: float | None) -> float:
    return -9999.0 if logprob is None else logprob


def _bytes(top: _Top) -> bytes:
    if top.bytes is None:
        return top.token.encode()
    return bytes(one & 255 for one in top.bytes)
