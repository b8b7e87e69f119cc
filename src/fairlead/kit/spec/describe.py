"""The spec described: its JSON Schema, the table of its fields, and a first spec with comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fairlead.kit.spec.part import Part, Seconds
from fairlead.kit.spec.read import part_of
from fairlead.kit.spec.spec import _SOURCES, SPEAKING, Endpoint, Spec

_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_WIDTH = 44


def schema() -> dict[str, Any]:
    """The JSON Schema of a spec, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Spec.model_json_schema(),
        "title": "Fairlead spec",
    }


def table() -> str:
    """Every field with its type, its default and its meaning, as Markdown."""
    rows = ["| field | type | default | meaning |", "|---|---|---|---|"]
    for path, found in _fields(Spec, ""):
        meaning = (found.description or "").replace("\n", " ").replace("|", "\\|")
        rows.append(f"| `{path}` | {_type(found)} | {_default(found)} | {meaning} |")
    return "\n".join(rows)


def sample(values: Mapping[str, Any]) -> str:
    """A spec in YAML: ``values`` as they are, every other field as a comment with its default and its meaning.

    Of several endpoints only the first one has the comments.
    """
    lines = ["# What `fairlead up fairlead.yaml` serves. Unknown keys are errors; every field: docs/spec.md."]
    lines += ["# For an editor: fairlead init --schema > fairlead.schema.json", ""]
    return "\n".join([*lines, *_sample(Spec, values, "", told=True)]) + "\n"


def _fields(part: type[Part], before: str) -> Iterator[tuple[str, FieldInfo]]:
    for name, found in part.model_fields.items():
        path = f"{before}{name}"
        yield path, found
        inner = part_of(found.annotation)
        if inner is not None:
            origin = get_origin(_bare(found.annotation))
            yield from _fields(inner, path + (".NAME." if origin is dict else "[]." if origin is tuple else "."))


def _type(found: FieldInfo) -> str:
    annotation, seconds = _bare(found.annotation), any(one in get_args(Seconds) for one in found.metadata)
    origin, inside = get_origin(annotation), part_of(annotation)
    if seconds:
        return "time"
    if origin is dict:
        return "mapping"
    if origin is tuple:
        return "list of names or mappings" if inside else f"list of {_TYPES.get(get_args(annotation)[0], 'text')}"
    if inside is not None:
        return "mapping"
    kinds = [one for one in get_args(annotation) if one is not type(None)] or [annotation]
    if all(isinstance(one, str) for one in kinds):
        return ", ".join(f"`{one}`" for one in kinds if one)
    return ", ".join(_word(one) for one in kinds)


def _bare(annotation: Any) -> Any:
    """The one type of an annotation that also takes null; else the annotation."""
    kinds = [one for one in get_args(annotation) if one is not type(None)]
    return kinds[0] if type(None) in get_args(annotation) and len(kinds) == 1 else annotation


def _word(kind: Any) -> str:
    if kind == Seconds:
        return "time"
    return _TYPES[kind] if kind in _TYPES else ", ".join(f"`{name}`" for name in get_args(kind))


def _default(found: FieldInfo) -> str:
    if found.is_required():
        return "required"
    if isinstance(found.default, BaseModel):
        return ""
    return f"`{_flow(_plain(found))}`"


def _plain(found: FieldInfo) -> Any:
    """The default as YAML would have it."""
    given = found.get_default(call_default_factory=True)
    if isinstance(given, tuple):
        return [_short(one) for one in given]
    return int(given) if isinstance(given, float) and given.is_integer() else given


def _short(one: Any) -> Any:
    if isinstance(one, BaseModel):
        said = one.model_dump(exclude_defaults=True)
        return said["name"] if list(said) == ["name"] else said
    return int(one) if isinstance(one, float) and one.is_integer() else one


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(one) for one in value) + "]"
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z./][\w./@:+-]*(?<!:)", value) and value not in ("true", "null"):
        return value
    return json.dumps(value)


def _sample(part: type[Part], values: Mapping[str, Any], indent: str, *, told: bool) -> Iterator[str]:
    for name, found in part.model_fields.items():
        inner, given = part_of(found.annotation), values.get(name)
        if isinstance(given, Mapping) and inner is not None:
            yield f"{indent}{name}:"
            if get_origin(found.annotation) is dict:
                for place, (key, body) in enumerate(given.items()):
                    yield f"{indent}  {key}:"
                    yield from _sample(inner, body, indent + " " * 4, told=told and place == 0)
            else:
                yield from _sample(inner, given, indent + "  ", told=told)
        elif name in values:
            yield f"{indent}{name}: {_flow(given)}"
        elif part is Endpoint and name in (*_SOURCES, *SPEAKING):
            continue  # one of them is given, and it is no language model
        elif told and inner is not None and isinstance(found.default, BaseModel):
            yield f"{indent}# {name}:"
            yield from (_comment(line, indent) for line in _sample(inner, {}, indent + "  ", told=True))
        elif told:
            example = (found.examples or [_plain(found)])[0]
            line = f"{name}: {_flow(example)}"
            yield f"{indent}# {line:<{_WIDTH}}  # {(found.description or '').replace('`', '')}"


def _comment(line: str, indent: str) -> str:
    """A line deeper in, as a comment at ``indent``."""
    bare = line.removeprefix(indent)
    space = len(bare) - len(bare.lstrip())
    return f"{indent}# {bare[:space]}{bare[space:].removeprefix('# ')}"
