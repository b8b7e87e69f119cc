"""``POST /v1/chat/completions``: bodies to plans, events to chunks or one document."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineTraits
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import CallDelta, Ended, Piece
from fairlead.serve.llm.ask import Notes
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai import tools
from fairlead.serve.openai.answers import DONE, Calls, Now, Plan, Tally, chances, encode, in_band
from fairlead.serve.openai.bodies import Choosing, Metadata, decode, not_among, sampling
from fairlead.serve.openai.messages import Turn, conversation
from fairlead.serve.openai.refusals import Invalid, unsupported
from fairlead.serve.openai.tools import Choice, Form, Offered

PROMPT: Final = "messages"
Count = Annotated[int, Meta(ge=1, le=10_000_000)]


class Body(Choosing, kw_only=True):
    """What is not named in ``Choosing``. Down from ``reasoning_effort``: what is known and not honoured."""

    messages: list[Turn]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Offered] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: Form | None = None
    store: bool | None = None
    metadata: Metadata | None = None
    modalities: list[str] | None = None
    verbosity: str | None = None
    reasoning_effort: str | None = None
    audio: Any = UNSET
    prediction: Any = UNSET
    web_search_options: Any = UNSET
    moderation: Any = UNSET
    functions: Any = UNSET
    function_call: Any = UNSET


_BODY: Final = msgspec.json.Decoder(Body)
_REFUSED: Final = {
    "audio": "is not supported: models here write text.",
    "prediction": "is not supported by these engines.",
    "web_search_options": "is not supported: offer a tool of your own.",
    "moderation": "is not honoured: the guardrails of the endpoint decide.",
    "functions": "is of the old function API; use 'tools' instead.",
    "function_call": "is of the old function API; use 'tool_choice' instead.",
}


def read(body: bytes) -> Wish:
    """Raises MalformedBody and Invalid."""
    return Wish(decode(_BODY, body))


class Wish:
    """What one body wants."""

    prompt = PROMPT
    __slots__ = ("_body", "model", "streams")

    def __init__(self, body: Body) -> None:
        self._body = body
        self.model = body.model
        self.streams = bool(body.stream)

    @property
    def facts(self) -> dict[str, object]:
        """What is told of it in traces."""
        return told(self._body.user or self._body.safety_identifier, self._body.metadata)

    def plan(self, chat: Chat, identity: str, now: Now, caller: Caller | None) -> Plan:  # noqa: ARG002 - responses
        """Raises Invalid for values, and for what this engine cannot."""
        body, traits = self._body, chat.engine.traits
        self._refuse()
        most = body.max_completion_tokens
        if most is None:
            most = body.max_tokens
        elif body.max_tokens is not None and body.max_tokens != most:
            raise Invalid("'max_tokens' and 'max_completion_tokens' differ; send the second one.", "max_tokens")
        logprobs = self._logprobs(traits)
        chosen = sampling(body, limited(most, chat), logprobs)
        offered = tools.offered(body.tools)
        choose = tools.chosen(body.tool_choice, offered)
        form = tools.form(body.response_format)
        able(traits, bool(offered) and choose != "none", form is not None, chosen.seed, "response_format")
        n, usage_too = body.choices(), body.usage_too()
        tier = "default" if body.service_tier else ""
        id_ = f"chatcmpl-{identity}"
        made = Streamed if self.streams else Whole
        answer = made(id_, now(), body.model, n, logprobs is not None, usage_too, tier)
        parallel = body.parallel_tool_calls is not False
        return Plan((conversation(body.messages),), chosen, answer, n, offered, choose, parallel, form)

    def _refuse(self) -> None:
        body = self._body
        for name, why in _REFUSED.items():
            value = getattr(body, name)
            if value is not UNSET and value is not None:
                raise unsupported(name, why)
        if body.modalities is not None and body.modalities != ["text"]:
            raise not_among("modalities", body.modalities, ("text",))
        if body.verbosity not in (None, "medium"):
            raise unsupported("verbosity", "is not honoured: say in the prompt how long the answer should be.")
        if body.reasoning_effort not in (None, "none"):
            raise unsupported("reasoning_effort", "is not honoured by these engines.")
        if body.parallel_tool_calls is not None and not body.tools:
            raise Invalid(
                "Invalid value for 'parallel_tool_calls': 'parallel_tool_calls' is only allowed when 'tools' are "
                "specified.",
                "parallel_tool_calls",
                None,
            )

    def _logprobs(self, traits: EngineTraits) -> int | None:
        body = self._body
        if not body.logprobs:
            if body.top_logprobs:
                raise Invalid("'top_logprobs' is only allowed when 'logprobs' is true.", "top_logprobs")
            return None
        return alternatives(body.top_logprobs or 0, traits, "logprobs", "top_logprobs")


def told(user: str | None, metadata: dict[str, str] | None) -> dict[str, object]:
    found: dict[str, object] = {"user": user} if user else {}
    return {**found, "metadata": metadata} if metadata else found


def limited(most: int | None, chat: Chat) -> int | None:
    """Tokens of the answer, at most: what was asked for, within what the endpoint allows."""
    if most is None:
        return chat.default
    return most if chat.most is None else min(most, chat.most)


def able(traits: EngineTraits, calls: bool, form: bool, seed: int | None, form_param: str) -> None:
    """Raises Invalid for what the engine cannot: nothing that was asked for is dropped in silence."""
    if calls and not traits.tools:
        raise unsupported("tools", f"is not supported by the engine of this model ({traits.platform}).")
    if form and not traits.schemas:
        raise unsupported(form_param, f"is not supported by the engine of this model ({traits.platform}).")
    if seed is not None and not traits.seeds:
        raise unsupported("seed", f"is not supported by the engine of this model ({traits.platform}).")


def alternatives(wanted: int, traits: EngineTraits, param: str, count: str) -> int:
    if traits.logprobs < 0:
        raise unsupported(param, f"is not supported by the engine of this model ({traits.platform}).")
    if wanted > traits.logprobs:
        raise Invalid(
            f"Invalid '{count}': integer above maximum value. The engine of this model ({traits.platform}) tells at "
            f"most {traits.logprobs} alternatives of a token, but got {wanted}.",
            count,
            "integer_above_max_value",
        )
    return wanted


class Whole:
    """``chat.completion``."""

    def __init__(self, id_: str, created: int, model: str, n: int, logprobs: bool, usage: bool, tier: str) -> None:  # noqa: ARG002 - as a stream
        self._head = {"id": id_, "object": "chat.completion", "created": created, "model": model}
        self._logprobs = logprobs
        self._tier = tier
        self._tally = Tally(n)
        self._said: list[list[str]] = [[] for _ in range(n)]
        self._more: dict[int, _More] = {}
        self._reasons = [""] * n

    def piece(self, at: int, piece: Piece) -> bytes:
        if piece.text:
            self._said[at].append(piece.text)
        if piece.calls or piece.logprobs or piece.reasoning or piece.refusal:
            self._more.setdefault(at, _More()).add(piece)
        return b""

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:
        self._tally.add(at, ended.usage, notes)
        self._reasons[at] = ended.reason
        return b""

    def close(self) -> bytes:
        choices = [self._choice(at, reason) for at, reason in enumerate(self._reasons)]
        document: dict[str, Any] = {**self._head, "choices": choices, "usage": self._tally.document()}
        if self._tier:
            document["service_tier"] = self._tier
        return encode(document)

    def failed(self, error: FairleadError) -> bytes:
        return in_band(error, PROMPT)

    def _choice(self, at: int, reason: str) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._said[at]), "refusal": None}
        more, logprobs = self._more.get(at), None
        if more is not None:
            message |= more.message(message["content"])
        if self._logprobs:
            logprobs = {"content": [] if more is None else more.chances, "refusal": None}
        return {"index": at, "message": message, "logprobs": logprobs, "finish_reason": reason}


class _More:
    """What an answer has beside its text."""

    def __init__(self) -> None:
        self._calls = Calls()
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self.chances: list[dict[str, Any]] = []

    def add(self, piece: Piece) -> None:
        for one in piece.calls:
            self._calls.add(one)
        if piece.reasoning:
            self._reasoning.append(piece.reasoning)
        if piece.refusal:
            self._refusal.append(piece.refusal)
        if piece.logprobs:
            self.chances += chances(piece.logprobs)

    def message(self, text: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        calls = self._calls.document()
        if calls:
            found["tool_calls"] = calls
        if self._refusal:
            found["refusal"] = "".join(self._refusal)
        if self._reasoning:
            found["reasoning_content"] = "".join(self._reasoning)
        if not text and (calls or self._refusal):
            found["content"] = None
        return found


class Streamed:
    """``chat.completion.chunk``: everything but what is new was encoded before."""

    def __init__(self, id_: str, created: int, model: str, n: int, logprobs: bool, usage: bool, tier: str) -> None:  # noqa: ARG002 - as a whole
        head: dict[str, Any] = {"id": id_, "object": "chat.completion.chunk", "created": created, "model": model}
        if tier:
            head["service_tier"] = tier
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._usage = usage
        self._end = b'],"usage":null}\n\n' if usage else b"]}\n\n"
        self._plain = b'},"logprobs":null,"finish_reason":null}' + self._end
        self._open = [b'%b{"index":%d,"delta":' % (self._head, at) for at in range(n)]
        self._text = [one + b'{"content":' for one in self._open]
        self._begun = [False] * n
        self._tally = Tally(n)

    def piece(self, at: int, piece: Piece) -> bytes:
        first = b"" if self._begun[at] else self._role(at)
        text = piece.text
        if not (piece.calls or piece.logprobs or piece.reasoning or piece.refusal):
            return b"".join((first, self._text[at], encode(text), self._plain)) if text else first
        delta: dict[str, Any] = {}
        if text:
            delta["content"] = text
        if piece.reasoning:
            delta["reasoning_content"] = piece.reasoning
        if piece.refusal:
            delta["refusal"] = piece.refusal
        if piece.calls:
            delta["tool_calls"] = [_called(one) for one in piece.calls]
        said = b"null"
        if piece.logprobs:
            said = encode({"content": chances(piece.logprobs), "refusal": None})
        return b"".join(
            (first, self._open[at], encode(delta), b',"logprobs":', said, b',"finish_reason":null}', self._end)
        )

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:
        first = b"" if self._begun[at] else self._role(at)
        self._tally.add(at, ended.usage, notes)
        reason = encode(ended.reason)
        return b"".join((first, self._open[at], b'{},"logprobs":null,"finish_reason":', reason, b"}", self._end))

    def close(self) -> bytes:
        if not self._usage:
            return DONE
        return b"".join((self._head, b'],"usage":', encode(self._tally.document()), b"}\n\n", DONE))

    def failed(self, error: FairleadError) -> bytes:
        return in_band(error, PROMPT)

    def _role(self, at: int) -> bytes:
        self._begun[at] = True
        return b"".join((self._open[at], b'{"role":"assistant","content":"","refusal":null', self._plain))


def _called(one: CallDelta) -> dict[str, Any]:
    function: dict[str, str] = {"arguments": one.arguments}
    if one.name:
        function["name"] = one.name
    found: dict[str, Any] = {"index": one.place}
    if one.id:
        found |= {"id": one.id, "type": "function"}
    return {**found, "function": function}
