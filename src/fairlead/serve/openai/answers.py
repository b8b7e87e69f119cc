"""What answers of every form are made of: usage, chances of tokens, tool calls that come in pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from msgspec import Raw

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.generation import CallDelta, Chosen, Ended, Format, Message, Piece, Sampling, Tool, Usage
from fairlead.kit.codec import json
from fairlead.serve.llm.ask import COST, CURRENCY, Notes
from fairlead.serve.openai.refusals import document

encode: Final = json.encode

DONE: Final = b"data: [DONE]\n\n"

Now = Callable[[], int]
"""Unix time in seconds."""

Prompt = tuple[Message, ...] | str | tuple[int, ...]


class Answer(Protocol):
    """The answer to one request while it comes: events in, bytes out. ``at``: which of its choices."""

    def piece(self, at: int, piece: Piece) -> bytes:
        """Events of a stream; empty where the answer is told whole."""

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:
        """``notes``: of the request; what it cost is known when its last answer has ended."""

    def close(self) -> bytes:
        """Every choice has ended: the end of the stream, or the whole document."""

    def failed(self, error: FairleadError) -> bytes:
        """The end of a stream that had begun."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked of an engine: ``n`` answers to each of ``prompts``, and what tells them."""

    prompts: tuple[Prompt, ...]
    sampling: Sampling
    answer: Answer
    n: int = 1
    tools: tuple[Tool, ...] = ()
    choose: str = "auto"
    parallel: bool = True
    format: Format | None = None


class Tally:
    """Tokens of one request: a prompt counts once, however many answers it has."""

    __slots__ = ("_cost", "_n", "_prompts", "cached", "completion", "reasoning")

    def __init__(self, n: int) -> None:
        self._n = n
        self._prompts: dict[int, int] = {}
        self._cost: dict[str, Any] = {}
        self.cached = self.completion = self.reasoning = 0

    def add(self, at: int, usage: Usage, notes: Notes) -> None:
        which = at // self._n
        if which not in self._prompts:
            self._prompts[which] = usage.prompt
            self.cached += usage.cached
        self.completion += usage.completion
        self.reasoning += usage.reasoning
        self._cost = cost(notes)

    @property
    def prompt(self) -> int:
        return sum(self._prompts.values())

    def document(self) -> dict[str, Any]:
        """As chat and completions tell it."""
        prompt = self.prompt
        return {
            "prompt_tokens": prompt,
            "completion_tokens": self.completion,
            "total_tokens": prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": self.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
            **self._cost,
        }


def cost(notes: Notes) -> dict[str, Any]:
    """What a request has cost, for its usage, which streams have too; nothing where no price is known."""
    known = notes.facts.get(COST)
    return {} if known is None else {"cost": Raw(str(known).encode()), "currency": notes.facts.get(CURRENCY)}


class Calls:
    """Tool calls of one answer, put together."""

    __slots__ = ("_found",)

    def __init__(self) -> None:
        self._found: dict[int, list[str]] = {}

    def add(self, one: CallDelta) -> None:
        found = self._found.setdefault(one.place, ["", "", ""])
        found[0] = found[0] or one.id
        found[1] += one.name
        found[2] += one.arguments

    def document(self) -> list[dict[str, Any]]:
        return [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
            for _, (id_, name, arguments) in sorted(self._found.items())
        ]


def chances(chosen: Sequence[Chosen]) -> list[dict[str, Any]]:
    """Tokens and how likely they were, as chat tells it."""
    return [
        {
            "token": one.token,
            "logprob": one.logprob,
            "bytes": list(one.data),
            "top_logprobs": [
                {"token": token, "logprob": logprob, "bytes": list(data)} for token, logprob, data in one.others
            ],
        }
        for one in chosen
    ]


def in_band(error: FairleadError, prompt: str) -> bytes:
    """The end of a stream of chunks that had begun: no ``[DONE]``, for it is not."""
    return b"data: " + document(error, prompt) + b"\n\n"
