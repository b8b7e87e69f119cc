"""What a language model is asked, and what it says: the records that edges, stages and engines share.

Counts of tokens are those of the model that answers. Nothing here is mutable: a stage that changes a question makes
another one by ``dataclasses.replace``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Role = Literal["system", "developer", "user", "assistant", "tool"]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]
"""Why an answer ended, in the words of OpenAI's API."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """``arguments``: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation. ``name``: who speaks, where the caller said.

    ``calls``: of an assistant that used tools.  ``answers``: the id of the call that a tool's message answers.
    """

    role: Role
    content: str
    name: str = ""
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call. ``parameters``: JSON Schema of its arguments."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """What the answer must look like. ``schema`` None: any JSON object."""

    name: str = ""
    schema: Mapping[str, Any] | None = None
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. ``temperature`` 0: the likeliest each time.  ``seed`` None: not repeatable.

    ``most``: tokens of the answer, at most; None: as many as fit.  ``stop``: texts that end it and are left out.
    ``logprobs`` None: not asked for; else how many alternatives a token comes with, 0 to 20.
    ``bias``: added to the logits, by token id.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    most: int | None = None
    least: int = 0
    ignore_end: bool = False
    logprobs: int | None = None
    bias: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer that is asked for. ``prompt``: a conversation, a text, or the ids of tokens.

    ``id``: unique in this server.  ``choose``: ``auto``, ``none``, ``required``, or the name of the tool to call.
    ``deadline``: monotonic seconds.  ``tenant``: whose share of the engine it takes.  ``lane``: of ``LANES``.
    ``adapter``: of the weights (LoRA); empty for none.
    ``resumes``: the last message is the beginning of the answer, and what is wanted is the rest of it.
    """

    id: str
    model: str
    prompt: tuple[Message, ...] | str | tuple[int, ...]
    sampling: Sampling = Sampling()
    tools: tuple[Tool, ...] = ()
    choose: str = "auto"
    parallel: bool = True
    format: Format | None = None
    deadline: float = float("inf")
    tenant: str = ""
    lane: int = 1
    adapter: str = ""
    resumes: bool = False


class Usage(NamedTuple):
    """Tokens, in classes that share none: ``input`` leaves out ``cached``, ``output`` leaves out ``reasoning``."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def prompt(self) -> int:
        return self.input + self.cached

    @property
    def completion(self) -> int:
        return self.output + self.reasoning


class Chosen(NamedTuple):
    """A token and how likely it was. ``others``: those it was chosen among, likeliest first."""

    token: str
    logprob: float
    data: bytes
    others: tuple[tuple[str, float, bytes], ...] = ()


class CallDelta(NamedTuple):
    """A piece of a tool call. ``place``: which call of the answer, from 0.  ``id``, ``name``: with its first piece."""

    place: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Begun(NamedTuple):
    """The engine has taken it up. ``usage``: what is known of the prompt."""

    usage: Usage


class Piece(NamedTuple):
    """What came next. ``tokens``: how many made it, 0 where the engine does not say."""

    text: str = ""
    tokens: int = 1
    calls: tuple[CallDelta, ...] = ()
    reasoning: str = ""
    refusal: str = ""
    logprobs: tuple[Chosen, ...] = ()


class Ended(NamedTuple):
    """The answer is whole. ``exact`` False: the engine did not say ``usage``, which is estimated."""

    reason: Reason
    usage: Usage
    exact: bool = True
