"""A conversation, as chat's ``messages`` hold it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct

from fairlead.contracts.generation import Message, ToolCall
from fairlead.serve.openai.bodies import Name, not_among
from fairlead.serve.openai.refusals import Invalid

ROLES: Final = ("system", "developer", "user", "assistant", "tool")

_MEDIA: Final = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio",
    "file": "files",
    "input_file": "files",
    "input_video": "videos",
}


class Part(Struct, kw_only=True):
    """A part of a message; what it has depends on its type."""

    type: Name
    text: str | None = None
    refusal: str | None = None


class Function(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=256)]
    arguments: str


class Call(Struct, forbid_unknown_fields=True, kw_only=True):
    id: Name
    type: str
    function: Function | None = None
    custom: Any = UNSET


class Turn(Struct, forbid_unknown_fields=True, kw_only=True):
    """One message. ``reasoning_content``: what an answer of ours may bring back; it is not said again."""

    role: Name
    content: str | list[Part] | None = None
    name: Name | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: Name | None = None
    audio: dict[str, Any] | None = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None
    function_call: Any = None


def conversation(turns: Sequence[Turn]) -> tuple[Message, ...]:
    """Raises Invalid that names the message."""
    if not turns:
        raise Invalid(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            "messages",
            "empty_array",
        )
    called: set[str] = set()
    found = []
    for at, turn in enumerate(turns):
        param = f"messages[{at}]"
        role = turn.role
        if role == "user":
            found.append(Message("user", _said(turn, param), turn.name or ""))
        elif role in ("system", "developer"):
            found.append(Message(role, _said(turn, param), turn.name or ""))  # type: ignore[arg-type]
        elif role == "assistant":
            found.append(_assistant(turn, param, called))
        elif role == "tool":
            found.append(_answer(turn, param, called))
        else:
            raise not_among(f"{param}.role", role, ROLES)
        if role != "assistant" and (turn.tool_calls or turn.function_call is not None):
            raise Invalid(f"'{param}.tool_calls' is for the assistant; this is a message of {role}.", param)
    return tuple(found)


def _said(turn: Turn, param: str) -> str:
    if turn.content is None:
        raise Invalid(
            f"Invalid value for '{param}.content': expected a string or an array of parts, got null.",
            f"{param}.content",
            "invalid_type",
        )
    return turn.content if isinstance(turn.content, str) else joined(turn.content, f"{param}.content")


def joined(parts: Sequence[Part], param: str, known: Sequence[str] = ("text",)) -> str:
    """The text of parts. Raises Invalid for what is no text."""
    said = []
    for at, part in enumerate(parts):
        where = f"{param}[{at}]"
        if part.type in _MEDIA:
            raise Invalid(
                f"'{where}' is of type '{part.type}'; models here take text, not {_MEDIA[part.type]}.",
                where,
                "unsupported_content",
            )
        if part.type == "refusal" and "refusal" not in known:
            raise Invalid(f"'{where}' is a refusal, which the assistant alone says.", where)
        if part.type not in known:
            raise not_among(f"{where}.type", part.type, known)
        text = part.refusal if part.type == "refusal" else part.text
        if text is None:
            name = f"{where}.{'refusal' if part.type == 'refusal' else 'text'}"
            raise Invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        said.append(text)
    return "".join(said)


def _assistant(turn: Turn, param: str, called: set[str]) -> Message:
    if turn.function_call is not None:
        where = f"{param}.function_call"
        raise Invalid(f"'{where}' is of the old function API; send 'tool_calls'.", where, "unsupported_parameter")
    if turn.audio is not None:
        raise Invalid(f"'{param}.audio': audio is not supported.", f"{param}.audio", "unsupported_content")
    calls = []
    for at, one in enumerate(turn.tool_calls or ()):
        where = f"{param}.tool_calls[{at}]"
        if one.type != "function":
            raise not_among(f"{where}.type", one.type, ("function",))
        if one.function is None:
            name = f"{where}.function"
            raise Invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        calls.append(ToolCall(one.id, one.function.name, one.function.arguments))
        called.add(one.id)
    content = turn.content
    if content is None:
        if not calls and turn.refusal is None:
            raise Invalid(
                f"Invalid value for '{param}.content': null is for a message with 'tool_calls'.",
                f"{param}.content",
                "invalid_type",
            )
        text = turn.refusal or ""
    elif isinstance(content, str):
        text = content
    else:
        text = joined(content, f"{param}.content", ("text", "refusal"))
    return Message("assistant", text, turn.name or "", tuple(calls))


def _answer(turn: Turn, param: str, called: set[str]) -> Message:
    if turn.tool_call_id is None:
        where = f"{param}.tool_call_id"
        raise Invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
    if turn.tool_call_id not in called:
        raise Invalid(
            f"Invalid parameter: '{param}' answers call '{turn.tool_call_id[:80]}', which no message before it made in "
            "its 'tool_calls'.",
            f"{param}.tool_call_id",
        )
    return Message("tool", _said(turn, param), turn.name or "", answers=turn.tool_call_id)
