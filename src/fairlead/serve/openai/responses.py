"""``POST /v1/responses``: bodies to plans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct

from fairlead.contracts.access import Caller
from fairlead.contracts.engine import EngineTraits
from fairlead.contracts.generation import Format, Message, Sampling, Tool
from fairlead.serve.llm.chats import Chat
from fairlead.serve.openai import tools
from fairlead.serve.openai.answers import Now, Plan
from fairlead.serve.openai.bodies import Asked, Metadata, decode, not_among, sampling
from fairlead.serve.openai.chat import able, alternatives, limited, told
from fairlead.serve.openai.items import Item, conversation
from fairlead.serve.openai.kept import Kept, Shelf
from fairlead.serve.openai.refusals import Invalid, unsupported
from fairlead.serve.openai.unfolding import Document, Unfolding

PROMPT: Final = "input"
LOGPROBS: Final = "message.output_text.logprobs"


class Offered(Struct, forbid_unknown_fields=True, kw_only=True):
    """A function, as responses have it: flat."""

    type: str
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Choice(Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    name: str | None = None


class Form(Struct, forbid_unknown_fields=True, kw_only=True):
    type: str
    name: str | None = None
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Text(Struct, forbid_unknown_fields=True, kw_only=True):
    format: Form | None = None
    verbosity: str | None = None


class Options(Struct, forbid_unknown_fields=True, kw_only=True):
    include_obfuscation: bool | None = None


class Reasoning(Struct, kw_only=True):
    effort: str | None = None
    summary: str | None = None


class Body(Asked, kw_only=True):
    """What is not named in ``Asked``. Down from ``truncation``: what is known and not honoured."""

    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Meta(ge=16, le=10_000_000)] | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=20)] | None = None
    tools: list[Offered] | None = None
    tool_choice: str | Choice | None = None
    parallel_tool_calls: bool | None = None
    max_tool_calls: Annotated[int, Meta(ge=1)] | None = None
    text: Text | None = None
    stream_options: Options | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    metadata: Metadata | None = None
    include: list[str] | None = None
    reasoning: Reasoning | None = None
    truncation: str | None = None
    background: bool | None = None
    conversation: Any = UNSET
    prompt: Any = UNSET
    moderation: Any = UNSET
    context_management: Any = UNSET


_BODY: Final = msgspec.json.Decoder(Body)
_REFUSED: Final = {
    "conversation": "is not supported: use 'previous_response_id', or send the whole conversation.",
    "prompt": "is not supported: no prompts are kept here; send the text.",
    "moderation": "is not honoured: the guardrails of the endpoint decide.",
    "context_management": "is not supported: send what the model should see.",
}


def reading(shelf: Shelf) -> Callable[[bytes], Wish]:
    """Reads bodies; answers are kept on this shelf. Raises MalformedBody and Invalid."""
    return lambda body: Wish(decode(_BODY, body), shelf)


class Wish:
    """What one body wants."""

    prompt = PROMPT
    __slots__ = ("_body", "_shelf", "model", "streams")

    def __init__(self, body: Body, shelf: Shelf) -> None:
        self._body, self._shelf = body, shelf
        self.model = body.model
        self.streams = bool(body.stream)

    @property
    def facts(self) -> dict[str, object]:
        return told(self._body.user or self._body.safety_identifier, self._body.metadata)

    def plan(self, chat: Chat, identity: str, now: Now, caller: Caller | None) -> Plan:
        """Raises Invalid for values, and for what this engine cannot; Gone for what is not kept."""
        body, traits = self._body, chat.engine.traits
        self._refuse()
        chosen = sampling(body, limited(body.max_output_tokens, chat), self._logprobs(traits))
        offered = _offered(body.tools)
        choose = _chosen(body.tool_choice, offered)
        form = _form(body.text)
        able(traits, bool(offered) and choose != "none", form is not None, chosen.seed, "text.format")
        who = "" if caller is None else caller.name
        before: tuple[Message, ...] = ()
        if body.previous_response_id is not None:
            before = self._shelf.get(who, body.previous_response_id, "previous_response_id").turns
        turns = conversation(body.input, before)
        prompt = turns if body.instructions is None else (Message("system", body.instructions), *turns)
        keeps = body.store is not False and self._shelf.keeps
        id_ = f"resp_{identity}"

        def done(document: bytes, said: Message) -> None:
            if keeps:
                self._shelf.put(who, id_, Kept(document, (*turns, said)))

        base = _base(body, id_, now(), chosen, offered, form, keeps)
        answer = Unfolding(base, self.streams, identity, now, done)
        parallel = body.parallel_tool_calls is not False
        return Plan((prompt,), chosen, answer, 1, offered, choose, parallel, form)

    def _refuse(self) -> None:
        body = self._body
        for name, why in _REFUSED.items():
            if getattr(body, name) is not UNSET and getattr(body, name) is not None:
                raise unsupported(name, why)
        if body.truncation not in (None, "disabled"):
            raise unsupported("truncation", "is not honoured: a prompt that is too long is refused.")
        if body.background:
            raise unsupported("background", "is not supported: an answer comes on the connection that asked for it.")
        if body.reasoning is not None and (body.reasoning.effort not in (None, "none") or body.reasoning.summary):
            raise unsupported("reasoning", "is not honoured by these engines.")
        if body.text is not None and body.text.verbosity not in (None, "medium"):
            raise unsupported("text.verbosity", "is not honoured: say in the prompt how long the answer should be.")
        if body.stream_options is not None and not body.stream:
            raise Invalid(
                "The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options", None
            )
        for at, one in enumerate(body.include or ()):
            if one != LOGPROBS:
                raise not_among(f"include[{at}]", one, (LOGPROBS,))

    def _logprobs(self, traits: EngineTraits) -> int | None:
        body = self._body
        if LOGPROBS not in (body.include or ()):
            if body.top_logprobs:
                raise Invalid(f"'top_logprobs' is only allowed when 'include' has '{LOGPROBS}'.", "top_logprobs")
            return None
        return alternatives(body.top_logprobs or 0, traits, "include", "top_logprobs")


def _offered(given: list[Offered] | None) -> tuple[Tool, ...]:
    found = []
    for at, one in enumerate(given or ()):
        param = f"tools[{at}]"
        if one.type != "function":
            raise not_among(f"{param}.type", one.type, ("function",))
        if one.name is None:
            raise Invalid(f"Missing required parameter: '{param}.name'.", f"{param}.name", "missing_required_parameter")
        found.append(tools.tool(one.name, one.description, one.parameters, one.strict, param))
    return tools.together(found)


def _chosen(given: str | Choice | None, offered: tuple[Tool, ...]) -> str:
    if given is None or isinstance(given, str):
        return tools.chosen(given, offered)
    if given.type != "function":
        raise not_among("tool_choice.type", given.type, ("function",))
    if given.name is None:
        raise Invalid(
            "Missing required parameter: 'tool_choice.name'.", "tool_choice.name", "missing_required_parameter"
        )
    return tools.among(given.name, offered)


def _form(text: Text | None) -> Format | None:
    form = None if text is None else text.format
    if form is None or form.type == "text":
        return None
    if form.type == "json_object":
        return Format()
    if form.type != "json_schema":
        raise not_among("text.format.type", form.type, ("text", "json_object", "json_schema"))
    if form.name is None:
        raise Invalid(
            "Missing required parameter: 'text.format.name'.", "text.format.name", "missing_required_parameter"
        )
    return tools.schema(form.name, form.schema, form.strict, "text.format")


def _base(
    body: Body, id_: str, created: int, chosen: Sampling, offered: tuple[Tool, ...], form: Format | None, keeps: bool
) -> Document:
    """The document of the answer, but for what is not known yet."""
    choice: Any = body.tool_choice or "auto"
    if isinstance(choice, Choice):
        choice = {"type": "function", "name": choice.name}
    shape: Document = {"type": "text"}
    if form is not None:
        shape = {"type": "json_object"}
        if form.schema is not None:
            shape = {"type": "json_schema", "name": form.name, "schema": form.schema, "strict": form.strict}
    return {
        "id": id_,
        "object": "response",
        "created_at": created,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "model": body.model,
        "output": [],
        "parallel_tool_calls": body.parallel_tool_calls is not False,
        "previous_response_id": body.previous_response_id,
        "store": keeps,
        "temperature": chosen.temperature,
        "text": {"format": shape},
        "tool_choice": choice,
        "tools": tools.shown(offered),
        "top_p": chosen.top_p,
        "truncation": "disabled",
        "metadata": body.metadata or {},
        **({"service_tier": "default"} if body.service_tier else {}),
        **({"user": body.user} if body.user else {}),
    }
