"""``POST /v1/completions``: bodies to plans, events to chunks or one document, which have the same form here."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import Chosen, Ended, Piece
from fairlead.serve.llm.ask import Notes
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai.answers import DONE, Now, Plan, Prompt, Tally, encode, in_band
from fairlead.serve.openai.bodies import Choosing, decode, sampling
from fairlead.serve.openai.chat import able, alternatives, limited, told
from fairlead.serve.openai.refusals import Invalid, unsupported

PROMPT: Final = "prompt"
MOST_ANSWERS: Final = 128
"""Of one request: prompts times ``n``."""

Ids = list[Annotated[int, Meta(ge=0, le=2**31 - 1)]]


class Body(Choosing, kw_only=True):
    """What is not named in ``Choosing``. ``best_of``, ``suffix``: known and not honoured."""

    prompt: str | list[Any]
    max_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    logprobs: Annotated[int, Meta(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Meta(ge=1, le=20)] | None = None
    suffix: str | None = None
    metadata: Any = UNSET
    store: Any = UNSET


_BODY: Final = msgspec.json.Decoder(Body)


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
        return told(self._body.user or self._body.safety_identifier, None)

    def plan(self, chat: Chat, identity: str, now: Now, caller: Caller | None) -> Plan:  # noqa: ARG002 - responses
        """Raises Invalid for values, and for what this engine cannot."""
        body, traits = self._body, chat.engine.traits
        n = body.choices()
        if body.best_of is not None and body.best_of != 1:
            raise unsupported("best_of", "is not honoured: ask for 'n' answers and choose among them.")
        if body.suffix:
            raise unsupported("suffix", "is not honoured: these engines write on, not in between.")
        prompts = _prompts(body.prompt)
        if len(prompts) * n > MOST_ANSWERS:
            raise Invalid(
                f"Invalid 'prompt': {len(prompts)} prompts of {n} answers each; at most {MOST_ANSWERS} answers may be "
                "asked for at once.",
                PROMPT,
                "array_above_max_length",
            )
        logprobs = body.logprobs
        if logprobs is not None:
            logprobs = alternatives(logprobs, traits, "logprobs", "logprobs")
        chosen = sampling(body, limited(body.max_tokens, chat), logprobs)
        able(traits, False, False, chosen.seed, "")
        said = _echoed(prompts, logprobs is not None) if body.echo else [""] * len(prompts)
        echoes = [one for one in said for _ in range(n)]
        made = Streamed if self.streams else Whole
        usage_too = body.usage_too()
        answer = made(f"cmpl-{identity}", now(), body.model, n, echoes, logprobs is not None, usage_too)
        return Plan(prompts, chosen, answer, n)


def _prompts(given: str | list[Any]) -> tuple[Prompt, ...]:
    """A text, texts, ids of tokens, or several of these. Raises Invalid."""
    if isinstance(given, str):
        return (given,)
    if not given:
        raise Invalid("Invalid 'prompt': empty array. Expected a text, or ids of tokens.", PROMPT, "empty_array")
    if all(isinstance(one, str) for one in given):
        return tuple(given)
    if all(type(one) is int for one in given):
        return (_ids(given, PROMPT),)
    if all(isinstance(one, list) for one in given):
        return tuple(_ids(one, f"{PROMPT}[{at}]") for at, one in enumerate(given))
    raise Invalid(
        "Invalid type for 'prompt': expected a string, an array of strings, an array of ids of tokens, or an array of "
        "such arrays.",
        PROMPT,
        "invalid_type",
    )


def _ids(given: list[Any], param: str) -> tuple[int, ...]:
    if not given:
        raise Invalid(f"Invalid '{param}': empty array. Expected ids of tokens.", param, "empty_array")
    if not all(type(one) is int and 0 <= one < 2**31 for one in given):
        raise Invalid(f"Invalid '{param}': expected ids of tokens, integers from 0.", param, "invalid_type")
    return tuple(given)


def _echoed(prompts: tuple[Prompt, ...], logprobs: bool) -> list[str]:
    if logprobs:
        raise unsupported("echo", "is not supported together with 'logprobs': the prompt's are not computed.")
    found = [one for one in prompts if isinstance(one, str)]
    if len(found) != len(prompts):
        raise unsupported("echo", "is supported for prompts that are texts, not for ids of tokens.")
    return found


class _Chances:
    """``logprobs`` of one answer. ``offset``: characters before its next token."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def document(self, chosen: tuple[Chosen, ...]) -> dict[str, Any]:
        offsets = []
        for one in chosen:
            offsets.append(self._offset)
            self._offset += len(one.token)
        return {
            "tokens": [one.token for one in chosen],
            "token_logprobs": [one.logprob for one in chosen],
            "top_logprobs": [{token: logprob for token, logprob, _ in one.others} for one in chosen],
            "text_offset": offsets,
        }


class Whole:
    """``text_completion``, at once."""

    def __init__(
        self,
        id_: str,
        created: int,
        model: str,
        n: int,
        echoes: list[str],
        logprobs: bool,
        usage: bool,  # noqa: ARG002 - as a stream
    ) -> None:
        self._head = {"id": id_, "object": "text_completion", "created": created, "model": model}
        self._tally = Tally(n)
        self._said = [[one] for one in echoes]
        self._chosen: list[list[Chosen]] | None = [[] for _ in echoes] if logprobs else None
        self._echoes = echoes
        self._reasons = [""] * len(echoes)

    def piece(self, at: int, piece: Piece) -> bytes:
        self._said[at].append(piece.text)
        if self._chosen is not None:
            self._chosen[at] += piece.logprobs
        return b""

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:
        self._tally.add(at, ended.usage, notes)
        self._reasons[at] = _reason(ended)
        return b""

    def close(self) -> bytes:
        choices = [
            {
                "text": "".join(said),
                "index": at,
                "logprobs": None
                if self._chosen is None
                else _Chances(len(self._echoes[at])).document(tuple(self._chosen[at])),
                "finish_reason": self._reasons[at],
            }
            for at, said in enumerate(self._said)
        ]
        return encode({**self._head, "choices": choices, "usage": self._tally.document()})

    def failed(self, error: FairleadError) -> bytes:
        return in_band(error, PROMPT)


class Streamed:
    """The same in pieces."""

    def __init__(
        self, id_: str, created: int, model: str, n: int, echoes: list[str], logprobs: bool, usage: bool
    ) -> None:
        head = {"id": id_, "object": "text_completion", "created": created, "model": model}
        self._head = b"data: " + encode(head)[:-1] + b',"choices":['
        self._usage = usage
        self._end = b'],"usage":null}\n\n' if usage else b"]}\n\n"
        self._plain = b',"logprobs":null,"finish_reason":null}' + self._end
        self._open = [b'%b{"index":%d,"text":' % (self._head, at) for at in range(len(echoes))]
        self._echoes = list(echoes)
        self._chances = [_Chances(len(one)) for one in echoes] if logprobs else None
        self._tally = Tally(n)

    def piece(self, at: int, piece: Piece) -> bytes:
        first = self._echo(at)
        if piece.logprobs and self._chances is not None:
            said = encode(self._chances[at].document(piece.logprobs))
            text = encode(piece.text)
            return b"".join((first, self._open[at], text, b',"logprobs":', said, b',"finish_reason":null}', self._end))
        return b"".join((first, self._open[at], encode(piece.text), self._plain)) if piece.text else first

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:
        self._tally.add(at, ended.usage, notes)
        reason = encode(_reason(ended))
        return b"".join(
            (self._echo(at), self._open[at], b'"","logprobs":null,"finish_reason":', reason, b"}", self._end)
        )

    def close(self) -> bytes:
        if not self._usage:
            return DONE
        return b"".join((self._head, b'],"usage":', encode(self._tally.document()), b"}\n\n", DONE))

    def failed(self, error: FairleadError) -> bytes:
        return in_band(error, PROMPT)

    def _echo(self, at: int) -> bytes:
        """The prompt, before what follows it."""
        said, self._echoes[at] = self._echoes[at], ""
        return b"".join((self._open[at], encode(said), self._plain)) if said else b""


def _reason(ended: Ended) -> str:
    """Tools are not offered there."""
    return "stop" if ended.reason == "tool_calls" else ended.reason
