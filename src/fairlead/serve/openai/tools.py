"""Tools, the choice among them, and the form of an answer: checked before an engine sees them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

from msgspec import UNSET, Struct

from fairlead.contracts.generation import Format, Tool
from fairlead.kit.codec import json
from fairlead.serve.openai import grammars
from fairlead.serve.openai.bodies import not_among
from fairlead.serve.openai.refusals import Invalid, unsupported

MOST_TOOLS: Final = 128
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
CHOICES: Final = ("none", "auto", "required")


class Described(Struct, forbid_unknown_fields=True, kw_only=True):
    """A function, as chat describes it."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Offered(Struct, forbid_unknown_fields=True, kw_only=True):
    """A tool of chat."""

    type: str
    function: Described | None = None
    custom: Any = UNSET


class Named(Struct, forbid_unknown_fields=True):
    name: str


class Choice(Struct, forbid_unknown_fields=True, kw_only=True):
    """``{"type": "function", "function": {"name": ...}}``."""

    type: str
    function: Named | None = None
    custom: Any = UNSET
    allowed_tools: Any = UNSET


class Schema(Struct, forbid_unknown_fields=True, kw_only=True):
    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None


class Form(Struct, forbid_unknown_fields=True, kw_only=True):
    """``response_format`` of chat."""

    type: str
    json_schema: Schema | None = None


def offered(given: Sequence[Offered] | None) -> tuple[Tool, ...]:
    """Raises Invalid that names the tool."""
    tools = []
    for at, one in enumerate(given or ()):
        param = f"tools[{at}]"
        if one.type != "function":
            raise not_among(f"{param}.type", one.type, ("function",))
        if one.function is None:
            where = f"{param}.function"
            raise Invalid(f"Missing required parameter: '{where}'.", where, "missing_required_parameter")
        found = one.function
        tools.append(tool(found.name, found.description, found.parameters, found.strict, f"{param}.function"))
    return together(tools)


def tool(name: str, description: str | None, parameters: dict[str, Any] | None, strict: bool | None, at: str) -> Tool:
    """One tool. ``at``: where it stands. Raises Invalid."""
    named(name, f"{at}.name")
    if name in CHOICES:
        raise Invalid(f"Invalid '{at}.name': '{name}' says how tools are chosen and is no name of one.", f"{at}.name")
    if parameters is not None:
        grammars.check(parameters, f"{at}.parameters", "invalid_function_parameters")
        if parameters and parameters.get("type", "object") != "object":
            raise Invalid(
                f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', got "
                f"'type: {str(parameters['type'])[:40]}'.",
                f"{at}.parameters",
                "invalid_function_parameters",
            )
    return Tool(name, description or "", parameters, bool(strict))


def together(tools: Sequence[Tool]) -> tuple[Tool, ...]:
    """All of them. Raises Invalid where there are too many, or two of one name."""
    if len(tools) > MOST_TOOLS:
        raise Invalid(
            f"Invalid 'tools': array too long. Expected an array with maximum length {MOST_TOOLS}, but got an array "
            f"with length {len(tools)} instead.",
            "tools",
            "array_above_max_length",
        )
    names = [one.name for one in tools]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(f"Invalid 'tools': two tools have the name '{twice}'.", "tools")
    return tuple(tools)


def named(name: str, param: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"Invalid '{param}': string does not match pattern. Expected a string that matches the pattern "
            "'^[a-zA-Z0-9_-]{1,64}$'.",
            param,
        )


def chosen(given: str | Choice | None, tools: Sequence[Tool]) -> str:
    """How tools are chosen. Raises Invalid."""
    if given is None:
        return "auto"
    if isinstance(given, str):
        if given not in CHOICES:
            raise not_among("tool_choice", given, CHOICES)
        if given == "none":
            return given
        name = given
    else:
        if given.type == "allowed_tools":
            raise unsupported("tool_choice.allowed_tools", "is not honoured: send the tools that are allowed.")
        if given.type != "function":
            raise not_among("tool_choice.type", given.type, ("function",))
        if given.function is None:
            raise Invalid(
                "Missing required parameter: 'tool_choice.function'.",
                "tool_choice.function",
                "missing_required_parameter",
            )
        name = given.function.name
    return among(name, tools)


def among(name: str, tools: Sequence[Tool]) -> str:
    """``name``: of a tool, or a choice. Raises Invalid where there is no such tool."""
    if not tools:
        raise Invalid(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.",
            "tool_choice",
            None,
        )
    if name not in CHOICES and all(one.name != name for one in tools):
        raise Invalid(f"Tool choice '{name[:64]}' not found in 'tools' parameter.", "tool_choice")
    return name


def form(given: Form | None) -> Format | None:
    """What the answer must look like. Raises Invalid."""
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return Format()
    if given.type != "json_schema":
        raise not_among("response_format.type", given.type, ("text", "json_object", "json_schema"))
    param = "response_format.json_schema"
    if given.json_schema is None:
        raise Invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")
    found = given.json_schema
    return schema(found.name, found.schema, found.strict, param)


def schema(name: str, found: dict[str, Any] | None, strict: bool | None, at: str) -> Format:
    """A form by schema. ``at``: where it stands. Raises Invalid."""
    named(name, f"{at}.name")
    if found is None:
        raise Invalid(f"Missing required parameter: '{at}.schema'.", f"{at}.schema", "missing_required_parameter")
    grammars.check(found, f"{at}.schema", "invalid_json_schema")
    return Format(name, found, bool(strict))


def shown(tools: Sequence[Tool]) -> list[dict[str, Any]]:
    """Tools as responses tell them."""
    return [
        {
            "type": "function",
            "name": one.name,
            "description": one.description or None,
            "parameters": json.ANY.decode(json.encode(one.parameters)) if one.parameters is not None else None,
            "strict": one.strict,
        }
        for one in tools
    ]
