"""What bad input gets from OpenAI's API, as a table: a body in, code and param out. All are 400 but where they say."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from fairlead.contracts.engine import EngineTraits
from fairlead.testing.engines import EchoEngine

CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS = (
    "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings",
)  # fmt: skip
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
FLAT = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}


class Five(EchoEngine):
    """Tells five alternatives of a token at most."""

    @property
    def traits(self) -> EngineTraits:
        return replace(super().traits, logprobs=5)


@dataclass(frozen=True)
class Case:
    """``words``: stand in the message."""

    name: str
    path: str
    body: bytes
    code: str | None
    param: str | None
    words: str = ""
    status: int = 400


def _case(
    path: str, base: dict[str, Any], name: str, more: Any, code: str | None, param: str | None, *rest: Any
) -> Case:
    if isinstance(more, bytes):
        return Case(name, path, more, code, param, *rest)
    body = {key: value for key, value in {**base, **more}.items() if value is not ...}
    return Case(name, path, json.dumps(body).encode(), code, param, *rest)


def chat(name: str, more: Any, code: str | None, param: str | None, *rest: Any) -> Case:
    return _case(CHAT, {"model": "m", "messages": HI}, f"chat {name}", more, code, param, *rest)


def complete(name: str, more: Any, code: str | None, param: str | None, *rest: Any) -> Case:
    return _case(COMPLETIONS, {"model": "m", "prompt": "hi"}, f"completions {name}", more, code, param, *rest)


def respond(name: str, more: Any, code: str | None, param: str | None, *rest: Any) -> Case:
    return _case(RESPONSES, {"model": "m", "input": "hi"}, f"responses {name}", more, code, param, *rest)


def embed(name: str, more: Any, code: str | None, param: str | None, *rest: Any) -> Case:
    return _case(EMBEDDINGS, {"model": "e", "input": "hi"}, f"embeddings {name}", more, code, param, *rest)


def _turn(**fields: Any) -> dict[str, Any]:
    return {"messages": [*HI, fields]}


def _schema(schema: Any, **more: Any) -> dict[str, Any]:
    form = {"name": "s", "schema": schema, **more}
    return {"response_format": {"type": "json_schema", "json_schema": form}}


def _tool(**function: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "look", **function}}]}


def _deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


_MISSING, _TYPE, _VALUE, _UNSUPPORTED = (
    "missing_required_parameter", "invalid_type", "invalid_value", "unsupported_parameter",
)  # fmt: skip

CASES: list[Case] = [
    # No JSON, or not of this form.
    chat("is empty", b"", None, None, "parse the JSON body"),
    chat("ends early", b'{"model": "m", "messages": [', None, None, "ends too early"),
    chat("is no JSON", b"model=m", None, None, "parse the JSON body"),
    chat("is not UTF-8", b'{"model": "\xff\xfe"}', None, None, "UTF-8"),
    chat("nests too deep", b'{"model":"m","messages":[],"prediction":' + b'{"a":' * 100_000, None, None, "deep"),
    chat("unknown nests too deep", b"[" * 100_000, _TYPE, None),
    chat("is an array", b"[]", _TYPE, None, "expected an object, but got an array"),
    chat("is null", b"null", _TYPE, None),
    chat("is a number", b"7", _TYPE, None),
    chat("has NaN", b'{"model":"m","messages":[],"temperature":NaN}', None, None, "parse the JSON body"),
    chat("has something behind it", b'{"model":"m","messages":[]} x', None, None, "trailing"),
    # Fields.
    chat("no model", {"model": ...}, _MISSING, "model"),
    chat("model null", {"model": None}, _TYPE, "model"),
    chat("model empty", {"model": ""}, "empty_string", "model"),
    chat("model a number", {"model": 4}, _TYPE, "model"),
    chat("unknown model", {"model": "gpt-9"}, "model_not_found", "model", "gpt-9", 404),
    chat("no messages", {"messages": ...}, _MISSING, "messages"),
    chat("messages empty", {"messages": []}, "empty_array", "messages"),
    chat("messages a text", {"messages": "hi"}, _TYPE, "messages"),
    chat("messages of texts", {"messages": ["hi"]}, _TYPE, "messages[0]"),
    chat("unknown argument", {"temprature": 1}, None, "temprature", "Unrecognized request argument supplied: t"),
    chat("unknown in a message", _turn(role="user", content="x", colour=1), "unknown_parameter", "messages[1].colour"),
    # Messages.
    chat("role missing", _turn(content="x"), _MISSING, "messages[1].role"),
    chat("role unknown", _turn(role="robot", content="x"), _VALUE, "messages[1].role", "'robot'"),
    chat("role function", _turn(role="function", content="x", name="f"), _VALUE, "messages[1].role"),
    chat("content missing", _turn(role="user"), _TYPE, "messages[1].content"),
    chat("content null", _turn(role="system", content=None), _TYPE, "messages[1].content"),
    chat("content a number", _turn(role="user", content=5), _TYPE, "messages[1].content"),
    chat("content image", _turn(role="user", content=[{"type": "image_url", "image_url": {"url": "x"}}]),
         "unsupported_content", "messages[1].content[0]", "images"),
    chat("content audio", _turn(role="user", content=[{"type": "input_audio", "input_audio": {}}]),
         "unsupported_content", "messages[1].content[0]", "audio"),
    chat("content file", _turn(role="user", content=[{"type": "text", "text": "a"}, {"type": "file", "file": {}}]),
         "unsupported_content", "messages[1].content[1]"),
    chat("content unknown part", _turn(role="user", content=[{"type": "smell"}]), _VALUE,
         "messages[1].content[0].type"),
    chat("content part without text", _turn(role="user", content=[{"type": "text"}]), _MISSING,
         "messages[1].content[0].text"),
    chat("content part without type", _turn(role="user", content=[{"text": "a"}]), _MISSING,
         "messages[1].content[0].type"),
    chat("user refuses", _turn(role="user", content=[{"type": "refusal", "refusal": "no"}]), _VALUE,
         "messages[1].content[0]"),
    chat("assistant says nothing", _turn(role="assistant"), _TYPE, "messages[1].content"),
    chat("assistant with old call", _turn(role="assistant", content=None, function_call={"name": "f"}), _UNSUPPORTED,
         "messages[1].function_call"),
    chat("tool calls of a user", _turn(role="user", content="x", tool_calls=[
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": ""}}]), _VALUE, "messages[1]"),
    chat("tool call of another type", _turn(role="assistant", tool_calls=[{"id": "1", "type": "custom", "custom": {}}]),
         _VALUE, "messages[1].tool_calls[0].type"),
    chat("tool call without function", _turn(role="assistant", tool_calls=[{"id": "1", "type": "function"}]), _MISSING,
         "messages[1].tool_calls[0].function"),
    chat("tool without id", _turn(role="tool", content="x"), _MISSING, "messages[1].tool_call_id"),
    chat("tool answers nobody", _turn(role="tool", content="x", tool_call_id="c1"), _VALUE, "messages[1].tool_call_id"),
    # Sampling.
    chat("temperature high", {"temperature": 2.1}, "decimal_above_max_value", "temperature"),
    chat("temperature low", {"temperature": -0.1}, "decimal_below_min_value", "temperature"),
    chat("temperature a text", {"temperature": "hot"}, _TYPE, "temperature"),
    chat("temperature a boolean", {"temperature": True}, _TYPE, "temperature"),
    chat("temperature too large to be one", b'{"model":"m","messages":[],"temperature":1e999}', _VALUE, "temperature"),
    chat("top_p high", {"top_p": 1.5}, "decimal_above_max_value", "top_p"),
    chat("presence_penalty", {"presence_penalty": 3}, "decimal_above_max_value", "presence_penalty"),
    chat("frequency_penalty", {"frequency_penalty": -3}, "decimal_below_min_value", "frequency_penalty"),
    chat("seed a text", {"seed": "x"}, _TYPE, "seed"),
    chat("seed too large", {"seed": 2**70}, "integer_above_max_value", "seed"),
    chat("max_tokens zero", {"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    chat("max_completion_tokens negative", {"max_completion_tokens": -5}, "integer_below_min_value",
         "max_completion_tokens"),
    chat("two maxima", {"max_tokens": 5, "max_completion_tokens": 6}, _VALUE, "max_tokens"),
    chat("n zero", {"n": 0}, "integer_below_min_value", "n"),
    chat("n a thousand", {"n": 1000}, "integer_above_max_value", "n", "<= 16"),
    chat("n a fraction", {"n": 1.5}, _TYPE, "n"),
    chat("stop too many", {"stop": ["a", "b", "c", "d", "e"]}, "array_above_max_length", "stop"),
    chat("stop ten thousand", {"stop": ["a"] * 10_000}, "array_above_max_length", "stop", "10000"),
    chat("stop empty", {"stop": ["a", ""]}, "empty_string", "stop[1]"),
    chat("stop long", {"stop": "a" * 1001}, "string_above_max_length", "stop"),
    chat("stop numbers", {"stop": [1]}, _TYPE, "stop[0]"),
    chat("logit_bias a list", {"logit_bias": []}, _TYPE, "logit_bias"),
    chat("logit_bias words", {"logit_bias": {"hello": 1}}, _VALUE, "logit_bias"),
    chat("logit_bias high", {"logit_bias": {"5": 101}}, _VALUE, "logit_bias"),
    chat("logit_bias many", {"logit_bias": {str(at): 1 for at in range(2000)}}, "object_above_max_properties",
         "logit_bias"),
    chat("logprobs a number", {"logprobs": 3}, _TYPE, "logprobs"),
    chat("top_logprobs alone", {"top_logprobs": 3}, _VALUE, "top_logprobs"),
    chat("top_logprobs high", {"logprobs": True, "top_logprobs": 21}, "integer_above_max_value", "top_logprobs"),
    chat("top_logprobs of the engine", {"logprobs": True, "top_logprobs": 6}, "integer_above_max_value",
         "top_logprobs"),
    chat("top_k low", {"top_k": -2}, "integer_below_min_value", "top_k"),
    chat("min_p high", {"min_p": 2}, "decimal_above_max_value", "min_p"),
    chat("repetition_penalty zero", {"repetition_penalty": 0}, "decimal_below_min_value", "repetition_penalty"),
    chat("min_tokens over max", {"min_tokens": 9, "max_tokens": 8}, _VALUE, "min_tokens"),
    chat("chat_template_kwargs", {"chat_template_kwargs": {}}, _UNSUPPORTED, "chat_template_kwargs"),
    # Streams.
    chat("stream a text", {"stream": "yes"}, _TYPE, "stream"),
    chat("stream_options alone", {"stream_options": {"include_usage": True}}, None, "stream_options"),
    chat("stream_options unknown", {"stream": True, "stream_options": {"x": 1}}, "unknown_parameter",
         "stream_options.x"),
    # Tools.
    chat("tool of another type", {"tools": [{"type": "web_search"}]}, _VALUE, "tools[0].type"),
    chat("tool without a function", {"tools": [{"type": "function"}]}, _MISSING, "tools[0].function"),
    chat("tool with a bad name", _tool(name="look up!"), _VALUE, "tools[0].function.name"),
    chat("tool named auto", _tool(name="auto"), _VALUE, "tools[0].function.name"),
    chat("tool that takes no object", _tool(parameters={"type": "string"}), "invalid_function_parameters",
         "tools[0].function.parameters"),
    chat("tool with a broken schema", _tool(parameters={"type": "object", "properties": {"a": {"type": "strnig"}}}),
         "invalid_function_parameters", "tools[0].function.parameters", "strnig"),
    chat("tool twice", {"tools": [TOOL, TOOL]}, _VALUE, "tools", "look"),
    chat("tools too many", {"tools": [TOOL] * 129}, "array_above_max_length", "tools"),
    chat("tool_choice without tools", {"tool_choice": "auto"}, None, "tool_choice"),
    chat("tool_choice unknown", {"tools": [TOOL], "tool_choice": "maybe"}, _VALUE, "tool_choice"),
    chat("tool_choice of no tool", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "x"}}},
         _VALUE, "tool_choice"),
    chat("tool_choice allowed_tools", {"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
         _UNSUPPORTED, "tool_choice.allowed_tools"),
    chat("tool_choice without function", {"tools": [TOOL], "tool_choice": {"type": "function"}}, _MISSING,
         "tool_choice.function"),
    chat("parallel_tool_calls alone", {"parallel_tool_calls": True}, None, "parallel_tool_calls"),
    chat("functions", {"functions": []}, _UNSUPPORTED, "functions"),
    chat("function_call", {"function_call": "auto"}, _UNSUPPORTED, "function_call"),
    # The form of an answer.
    chat("form unknown", {"response_format": {"type": "xml"}}, _VALUE, "response_format.type"),
    chat("form a text", {"response_format": "json"}, _TYPE, "response_format"),
    chat("form without schema", {"response_format": {"type": "json_schema"}}, _MISSING, "response_format.json_schema"),
    chat("schema missing", {"response_format": {"type": "json_schema", "json_schema": {"name": "s"}}}, _MISSING,
         "response_format.json_schema.schema"),
    chat("schema with a bad name", _schema({}, name="a b"), _VALUE, "response_format.json_schema.name"),
    chat("schema of an unknown type", _schema({"type": "text"}), "invalid_json_schema",
         "response_format.json_schema.schema", "is no type"),
    chat("schema with broken properties", _schema({"properties": []}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema with broken required", _schema({"required": "a"}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema that requires twice", _schema({"required": ["a", "a"]}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema of nothing", _schema({"anyOf": []}), "invalid_json_schema", "response_format.json_schema.schema"),
    chat("schema with an empty enum", _schema({"enum": []}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema with a broken pattern", _schema({"pattern": "("}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema that points away", _schema({"$ref": "http://a/b"}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema that points to nothing", _schema({"$ref": "#/$defs/a"}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema with a negative count", _schema({"minItems": -1}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema with a bound of text", _schema({"minimum": "1"}), "invalid_json_schema",
         "response_format.json_schema.schema"),
    chat("schema too deep", _schema(_deep(40)), "invalid_json_schema", "response_format.json_schema.schema", "deeper"),
    chat("schema too large", _schema({"properties": {str(at): {} for at in range(11_000)}}), "invalid_json_schema",
         "response_format.json_schema.schema", "10000"),
    # What is known and not honoured.
    chat("audio", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}, _UNSUPPORTED,
         "audio"),
    chat("modalities", {"modalities": ["audio"]}, _VALUE, "modalities"),
    chat("prediction", {"prediction": {"type": "content", "content": "x"}}, _UNSUPPORTED, "prediction"),
    chat("web_search_options", {"web_search_options": {}}, _UNSUPPORTED, "web_search_options"),
    chat("reasoning_effort", {"reasoning_effort": "high"}, _UNSUPPORTED, "reasoning_effort"),
    chat("verbosity", {"verbosity": "low"}, _UNSUPPORTED, "verbosity"),
    chat("service_tier", {"service_tier": "gold"}, _VALUE, "service_tier"),
    chat("metadata many", {"metadata": {str(at): "" for at in range(17)}}, "object_above_max_length", "metadata"),
    chat("metadata of numbers", {"metadata": {"a": 1}}, _TYPE, "metadata"),
    chat("metadata long", {"metadata": {"a": "x" * 513}}, "string_above_max_length", "metadata"),
    # Completions.
    complete("no prompt", {"prompt": ...}, _MISSING, "prompt"),
    complete("prompt null", {"prompt": None}, _TYPE, "prompt"),
    complete("prompt empty", {"prompt": []}, "empty_array", "prompt"),
    complete("prompt mixed", {"prompt": ["a", 1]}, _TYPE, "prompt"),
    complete("prompt of no ids", {"prompt": [[]]}, "empty_array", "prompt[0]"),
    complete("prompt of negative ids", {"prompt": [[1], [-1]]}, _TYPE, "prompt[1]"),
    complete("prompts too many", {"prompt": ["a"] * 129}, "array_above_max_length", "prompt"),
    complete("answers too many", {"prompt": ["a"] * 20, "n": 10}, "array_above_max_length", "prompt"),
    complete("best_of", {"best_of": 3}, _UNSUPPORTED, "best_of"),
    complete("suffix", {"suffix": "end"}, _UNSUPPORTED, "suffix"),
    complete("logprobs high", {"logprobs": 6}, "integer_above_max_value", "logprobs"),
    complete("logprobs true", {"logprobs": True}, _TYPE, "logprobs"),
    complete("echo with logprobs", {"echo": True, "logprobs": 1}, _UNSUPPORTED, "echo"),
    complete("echo of ids", {"echo": True, "prompt": [1, 2]}, _UNSUPPORTED, "echo"),
    complete("messages", {"messages": HI}, None, "messages", "Unrecognized request argument"),
    complete("max_tokens zero", {"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    # Responses.
    respond("no input", {"input": ...}, _MISSING, "input"),
    respond("input empty", {"input": []}, "empty_array", "input"),
    respond("item of another type", {"input": [{"type": "image_generation_call"}]}, _VALUE, "input[0].type"),
    respond("message without a role", {"input": [{"content": "x"}]}, _MISSING, "input[0].role"),
    respond("message of a robot", {"input": [{"role": "robot", "content": "x"}]}, _VALUE, "input[0].role"),
    respond("message without content", {"input": [{"role": "user"}]}, _MISSING, "input[0].content"),
    respond("image", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "unsupported_content", "input[0].content[0]"),
    respond("output of no call", {"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, _VALUE,
            "input[0].call_id"),
    respond("call without a name", {"input": [{"type": "function_call", "call_id": "c", "arguments": ""}]}, _MISSING,
            "input[0].name"),
    respond("max_output_tokens low", {"max_output_tokens": 15}, "integer_below_min_value", "max_output_tokens"),
    respond("previous response unknown", {"previous_response_id": "resp_x"}, "previous_response_not_found",
            "previous_response_id", "resp_x", 404),
    respond("conversation", {"conversation": "c"}, _UNSUPPORTED, "conversation"),
    respond("background", {"background": True}, _UNSUPPORTED, "background"),
    respond("truncation", {"truncation": "auto"}, _UNSUPPORTED, "truncation"),
    respond("reasoning", {"reasoning": {"effort": "high"}}, _UNSUPPORTED, "reasoning"),
    respond("stored prompt", {"prompt": {"id": "p"}}, _UNSUPPORTED, "prompt"),
    respond("include", {"include": ["file_search_call.results"]}, _VALUE, "include[0]"),
    respond("tool of another type", {"tools": [{"type": "web_search"}]}, _VALUE, "tools[0].type"),
    respond("tool without a name", {"tools": [{"type": "function"}]}, _MISSING, "tools[0].name"),
    respond("tool_choice of no tool", {"tools": [FLAT], "tool_choice": {"type": "function", "name": "x"}}, _VALUE,
            "tool_choice"),
    respond("form without a name", {"text": {"format": {"type": "json_schema", "schema": {}}}}, _MISSING,
            "text.format.name"),
    respond("broken schema", {"text": {"format": {"type": "json_schema", "name": "a", "schema": {"type": 1}}}},
            "invalid_json_schema", "text.format.schema"),
    respond("top_logprobs alone", {"top_logprobs": 2}, _VALUE, "top_logprobs"),
    respond("unknown", {"max_tokens": 20}, None, "max_tokens"),
    # Embeddings.
    embed("no input", {"input": ...}, _MISSING, "input"),
    embed("input empty", {"input": []}, "empty_array", "input"),
    embed("input an empty text", {"input": ["a", ""]}, "empty_string", "input[1]"),
    embed("input mixed", {"input": ["a", 1]}, _TYPE, "input"),
    embed("input too long", {"input": ["a"] * 2049}, "array_above_max_length", "input"),
    embed("format unknown", {"encoding_format": "hex"}, _VALUE, "encoding_format"),
    embed("dimensions zero", {"dimensions": 0}, "integer_below_min_value", "dimensions"),
    embed("model unknown", {"model": "gone"}, "model_not_found", "model", "gone", 404),
    embed("model that writes text", {"model": "m"}, "model_not_found", "model", "embeddings", 404),
]  # fmt: skip
