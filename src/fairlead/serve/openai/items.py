"""``input`` of a response: a text, or items of a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from msgspec import Struct

from fairlead.contracts.generation import Message, ToolCall
from fairlead.serve.openai.bodies import Name, not_among
from fairlead.serve.openai.messages import Part, joined
from fairlead.serve.openai.refusals import Invalid

ROLES: Final = ("user", "assistant", "system", "developer")
TYPES: Final = ("message", "function_call", "function_call_output", "reasoning")


class Item(Struct, forbid_unknown_fields=True, kw_only=True):
    """One item of any type; what it has depends on its type."""

    type: str = "message"
    id: Name | None = None
    status: str | None = None
    role: str | None = None
    content: str | list[Part] | None = None
    phase: str | None = None
    call_id: Name | None = None
    name: Name | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    summary: list[Any] | None = None
    encrypted_content: str | None = None
    namespace: str | None = None
    caller: Any = None


def conversation(given: str | Sequence[Item], before: tuple[Message, ...]) -> tuple[Message, ...]:
    """With what was said before. Raises Invalid that names the item.

    Reasoning of earlier answers is taken and not said again.
    """
    if isinstance(given, str):
        return (*before, Message("user", given))
    if not given:
        raise Invalid("Invalid 'input': empty array. Expected at least one item.", "input", "empty_array")
    found = list(before)
    called = {call.id for one in before for call in one.calls}
    for at, item in enumerate(given):
        param = f"input[{at}]"
        if item.type == "message":
            found.append(_message(item, param))
        elif item.type == "function_call":
            call = ToolCall(*(_needed(item, name, param) for name in ("call_id", "name", "arguments")))
            called.add(call.id)
            if found and found[-1].role == "assistant":
                found[-1] = replace(found[-1], calls=(*found[-1].calls, call))
            else:
                found.append(Message("assistant", "", calls=(call,)))
        elif item.type == "function_call_output":
            found.append(_output(item, param, called))
        elif item.type != "reasoning":
            raise not_among(f"{param}.type", item.type, TYPES)
    return tuple(found)


def _needed(item: Item, name: str, param: str) -> str:
    value: str | None = getattr(item, name)
    if value is None:
        where = f"{param}.{name}"
        raise Invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
    return value


def _message(item: Item, param: str) -> Message:
    role = _needed(item, "role", param)
    if role not in ROLES:
        raise not_among(f"{param}.role", role, ROLES)
    if item.content is None:
        where = f"{param}.content"
        raise Invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
    known = ("output_text", "refusal", "input_text") if role == "assistant" else ("input_text",)
    text = item.content if isinstance(item.content, str) else joined(item.content, f"{param}.content", known)
    return Message(role, text)  # type: ignore[arg-type]  # one of ROLES


def _output(item: Item, param: str, called: set[str]) -> Message:
    call = _needed(item, "call_id", param)
    if call not in called:
        raise Invalid(f"No tool call found for function call output with call_id {call[:80]}.", f"{param}.call_id")
    if item.output is None:
        where = f"{param}.output"
        raise Invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
    text = item.output if isinstance(item.output, str) else joined(item.output, f"{param}.output", ("input_text",))
    return Message("tool", text, answers=call)
