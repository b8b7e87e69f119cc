"""A conversation as the text that a model was trained on: its chat template, rendered."""

from __future__ import annotations

import contextvars
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jinja2.exceptions import TemplateError, TemplateSyntaxError

from fairlead.adapters.tokenizers.foreign import Tables, Wall
from fairlead.adapters.tokenizers.sandbox import Budget, Sandbox, TooMuch
from fairlead.contracts.errors import BrokenModel, InvalidParameter
from fairlead.contracts.generation import Message, Tool

_ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool"})
_STEPS: Final = 50_000
_STEPS_EACH: Final = 500
"""Of a rendering: so many, and so many more for each message and tool."""
_SIZE: Final = 1 << 20
"""Characters of a rendering: so many, and eight times those that callers wrote."""
_LONGEST: Final = 1 << 20
"""Characters of a template."""

_budget: contextvars.ContextVar[Budget] = contextvars.ContextVar("budget")


class Conversation:
    """The templates of one model, compiled. ``templates``: by name, ``default`` and maybe ``tool_use``.

    ``words``: names of special tokens and how each is written, for the template.  Raises BrokenModel.
    """

    def __init__(self, templates: Mapping[str, str], words: Mapping[str, str], wall: Wall) -> None:
        self._words = dict(words)
        self._wall = wall
        self._sources = dict(templates)
        sandbox = Sandbox(_budget.get)
        self._compiled = {}
        for name, source in templates.items():
            if len(source) > _LONGEST:
                raise BrokenModel(f"chat template {name!r} has {len(source)} characters; at most {_LONGEST} are read")
            token = _budget.set(Budget(_STEPS, _SIZE))
            try:
                self._compiled[name] = sandbox.from_string(source)
            except TemplateSyntaxError as error:
                raise BrokenModel(f"chat template {name!r}, line {error.lineno}: {error.message}") from None
            except (TemplateError, RecursionError, OverflowError, MemoryError) as error:
                raise BrokenModel(f"chat template {name!r}: {_told(error)}") from None
            finally:
                _budget.reset(token)

    def source(self, tools: bool) -> str:
        """The template that conversations with or without tools have."""
        return self._sources[self._name(tools)]

    def _name(self, tools: bool) -> str:
        if tools and "tool_use" in self._sources:
            return "tool_use"
        return "default" if "default" in self._sources else next(iter(self._sources))

    def render(self, messages: Sequence[Message], tools: Sequence[Tool]) -> tuple[str, Tables]:
        """The text, and how to put back what callers said: only what is not behind the wall may be a special token.

        Raises InvalidParameter for what the template refuses, or does not come to an end with.
        """
        name = self._name(bool(tools))
        source = self._sources[name]
        if tools and "tools" not in source:
            raise InvalidParameter("the model takes no tools: its chat template has no place for them; leave tools out")
        documents = _documents(messages, "developer" in source)
        functions = [_function(one) for one in tools]
        said = _texts([documents, functions])
        tables = self._wall.tables(said)
        budget = Budget(_STEPS + _STEPS_EACH * (len(messages) + len(tools)), _SIZE + 8 * sum(map(len, said)), tables)
        token = _budget.set(budget)
        try:
            return self._rendered(name, documents, functions, tables), tables
        except TooMuch as error:
            raise InvalidParameter(f"messages: {error.message}") from None
        except TemplateError as error:
            told = tables.plain(_told(error))
            raise InvalidParameter(f"messages: the model's chat template refuses them: {told}") from None
        except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
            told = f"{type(error).__name__}: {tables.plain(_told(error))}"
            raise InvalidParameter(f"messages: the model's chat template cannot take them ({told})") from None
        finally:
            _budget.reset(token)

    def _rendered(
        self, name: str, documents: list[dict[str, Any]], functions: list[dict[str, Any]], tables: Tables
    ) -> str:
        memory: dict[str, str] = {}

        def behind(value: Any) -> Any:
            return self._wall.all_behind(value, tables, memory)

        conversation = [
            {key: one if key == "role" else behind(one) for key, one in document.items()} for document in documents
        ]
        for document in conversation:
            for call in document.get("tool_calls", ()):
                call["type"] = "function"
        offered = [{"type": "function", "function": behind(one)} for one in functions] or None
        given = {"tools": offered, "documents": None, "add_generation_prompt": True}
        parts: list[str] = []
        size = 0
        for part in self._compiled[name].generate(messages=conversation, **(self._words | given)):
            size += len(part)
            _budget.get().fits(size)
            parts.append(part)
        return "".join(parts)


def _documents(messages: Sequence[Message], developers: bool) -> list[dict[str, Any]]:
    """Messages as templates expect them. ``developers``: whether it knows that role."""
    found = []
    for one in messages:
        if one.role not in _ROLES:
            raise InvalidParameter(f"messages: role is {one.role!r}; expected one of {', '.join(sorted(_ROLES))}")
        role = "system" if one.role == "developer" and not developers else one.role
        document: dict[str, Any] = {"role": role, "content": one.content}
        if one.name:
            document["name"] = one.name
        if one.calls:
            document["tool_calls"] = [
                {"id": call.id, "function": {"name": call.name, "arguments": _arguments(call.arguments)}}
                for call in one.calls
            ]
        if one.answers:
            document["tool_call_id"] = one.answers
        found.append(document)
    return found


def _arguments(text: str) -> Any:
    """Templates expect the object; what is none stays as the model wrote it."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) else text


def _function(tool: Tool) -> dict[str, Any]:
    parameters = tool.parameters if tool.parameters is not None else {"type": "object", "properties": {}}
    return {"name": tool.name, "description": tool.description, "parameters": parameters}


def _texts(value: Any) -> list[str]:
    """Every text in documents."""
    found, waiting = [], [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, str):
            found.append(one)
        elif isinstance(one, Mapping):
            waiting.extend(one.keys())
            waiting.extend(one.values())
        elif isinstance(one, list | tuple):
            waiting.extend(one)
    return found


def _told(error: BaseException) -> str:
    text = error.message if isinstance(error, TemplateError) else str(error)
    return (text or type(error).__name__)[:500]
