"""How one model is spoken to: what is asked of its engine, and how the tokens that come are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.contracts.engine import EngineTraits
from fairlead.contracts.errors import ContextTooLong, InvalidParameter
from fairlead.contracts.generation import Generation
from fairlead.contracts.tokens import TokenGeneration, Tokenizer
from fairlead.serve.llm.texting import schemas
from fairlead.serve.llm.texting.answering import Reading
from fairlead.serve.llm.texting.calling.parsing import FORMATS, JSON, Format, chosen
from fairlead.serve.llm.texting.prompts import Prompts, continues, fits, offered, talks, weight
from fairlead.serve.llm.texting.stopping import Automaton
from fairlead.serve.llm.texting.thinking import CLOSE, OPEN

_UNBOUNDED: Final = 1 << 20
"""Tokens of an answer, where neither the caller nor the model says."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How a model calls tools and thinks. ``tools``: ``auto`` (as its chat template says), ``none``, or of ``FORMATS``.

    ``thinks``: ``auto``, ``none`` or ``think``: whether ``<think>`` is told apart from the answer.
    """

    tools: str = "auto"
    thinks: str = "auto"


@dataclass(frozen=True, slots=True)
class Prepared:
    """What takes time to make of what is asked."""

    ids: Sequence[int]
    stops: Automaton | None
    grammar: Mapping[str, Any] | None


class Speech:
    """Of one model, once its tokenizer is there. ``prepared`` may be called in a thread."""

    def __init__(
        self, name: str, tokenizer: Tokenizer, traits: EngineTraits, manner: Manner, longest: int = 256
    ) -> None:
        self._characters = 4 * longest * traits.context
        self._name, self.tokenizer, self._traits = name, tokenizer, traits
        template = tokenizer.template
        takes = "tools" in template and manner.tools != "none"
        auto = chosen(template) if takes else None
        self.format: Format | None = FORMATS.get(manner.tools, auto) if manner.tools != "none" else None
        self._thinks = manner.thinks == "think" or (manner.thinks == "auto" and (OPEN in template or CLOSE in template))
        self.prompts = Prompts(tokenizer)

    def prepared(self, asked: Generation, ids: Sequence[int] | None) -> Prepared:
        """Raises InputError for what the model cannot take."""
        if ids is None:
            self.possible(asked)
        grammar = self._grammar(asked)
        stops = asked.sampling.stop
        return Prepared(ids or self.prompts.made(asked), Automaton(stops) if stops else None, grammar)

    def possible(self, asked: Generation) -> None:
        """Raises ContextTooLong for a prompt that is longer than any of so many tokens: reading it would take long.

        Four times the longest token for each, since normalizing may make a text shorter.
        """
        size = weight(asked)
        if self._characters and size > self._characters:
            raise ContextTooLong(
                f"the prompt has {size} characters, and {self._name} takes {self._traits.context} tokens of prompt and "
                f"answer together, which are {self._characters // 4} characters at the very most; shorten it"
            )

    def generation(self, asked: Generation, made: Prepared) -> TokenGeneration:
        ids, sampling, traits = made.ids, asked.sampling, self._traits
        fits(len(ids), traits.context, sampling.least, self._name)
        if sampling.bias:
            raise InvalidParameter(f"logit_bias: {self._name} has no place for it; leave it out")
        if sampling.logprobs is not None and traits.logprobs < 0:
            raise InvalidParameter(f"logprobs: {self._name} does not tell them; leave it out")
        room = traits.context - len(ids) if traits.context else _UNBOUNDED
        most = room if sampling.most is None else min(sampling.most, room)
        ends = () if sampling.ignore_end else self.tokenizer.ends
        return TokenGeneration(asked.id, ids, most, sampling, ends, made.grammar, asked.adapter)

    def _grammar(self, asked: Generation) -> Mapping[str, Any] | None:
        """What the answer is held to, before it is written."""
        schema: Mapping[str, Any] | None = None
        for place, tool in enumerate(offered(asked)):
            if tool.parameters is not None:
                schemas.checked(tool.parameters, f"tools[{place}].function.parameters", held=False)
        if asked.tools and asked.choose not in ("auto", "none"):
            wanted = [one for one in asked.tools if asked.choose in ("required", one.name)]
            if not wanted:
                raise InvalidParameter(f"tool_choice: there is no tool {asked.choose!r} among tools")
            schema = schemas.of_calls(wanted)
        elif asked.format is not None:
            schema = asked.format.schema
            where = "response_format.json_schema.schema"
            schema = schemas.ANY_OBJECT if schema is None else schemas.checked(schema, where)
        if schema is None:
            return None
        if not self._traits.schemas:
            raise InvalidParameter(
                f"{self._name} has an engine that no schema can hold; leave out response_format, let tool_choice be "
                "auto"
            )
        return {"json_schema": schema}

    def reading(self, asked: Generation, made: Prepared) -> Reading:
        ids, tools, held = made.ids, offered(asked), made.grammar is not None
        format_ = None if not tools or (held and asked.choose == "auto") else JSON if held else self.format
        thinks = self._thinks and not held and talks(asked)
        wanted = (format_.marks if format_ is not None else frozenset()) | ({OPEN, CLOSE} if thinks else set())
        marks = self.tokenizer.marks
        shown = {token: text.encode() for token, text in marks.items() if text in wanted} if wanted else {}
        begins = self.tokenizer.pads and (
            (talks(asked) and not continues(asked)) or len(ids) <= len(self.tokenizer.begin)
        )
        return Reading(
            asked.id, self._piece(asked), len(ids), begins, made.stops, format_, frozenset(one.name for one in tools),
            asked.parallel, thinks, thinks and self._thinking_already(ids), shown, asked.sampling.logprobs,
        )  # fmt: skip

    def _piece(self, asked: Generation) -> Callable[[int], bytes]:
        """The bytes of a token. One that ends the answer has none, also where its tokenizer takes it for text."""
        piece = self.tokenizer.piece
        if asked.sampling.ignore_end or not any(map(piece, self.tokenizer.ends)):
            return piece
        ends = frozenset(self.tokenizer.ends)
        return lambda token: b"" if token in ends else piece(token)

    def _thinking_already(self, ids: Sequence[int]) -> bool:
        """Whether the prompt ends with the mark that opens thought."""
        tokenizer = self.tokenizer
        written = b"".join([tokenizer.marks.get(one, "").encode() or tokenizer.piece(one) for one in ids[-12:]])
        return written.rstrip().endswith(OPEN.encode())
