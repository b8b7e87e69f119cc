"""Reads a spec file. What is wrong with it is one sentence that names file, line, path and remedy."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from fairlead.contracts.errors import UsageError
from fairlead.kit.config import nearest
from fairlead.kit.spec import document
from fairlead.kit.spec.document import Lines
from fairlead.kit.spec.part import Part, hidden
from fairlead.kit.spec.spec import NOT_HONOURED, Spec

_LARGEST = 2**20
_WORDS = {
    "Input should be": "expected",
    "an object": "a mapping",
    "a valid dictionary": "a mapping",
    "a valid array": "a list",
    "a valid string": "text",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid boolean": "true or false",
    "Value error, ": "",
    " or an instance of": "",
}


@dataclass(frozen=True, slots=True)
class SpecFile:
    """A spec with where it came from. ``lines``: of every path in it.  ``data``: as it was written."""

    spec: Spec
    name: str
    lines: Lines = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict, repr=False)

    def at(self, *path: str | int) -> str:
        """``fairlead.yaml:12: endpoints.churn.model``: the beginning of a sentence about that place."""
        return f"{_place(self.name, self.lines, path)}: {_shown(path)}"


def read(path: Path) -> SpecFile:
    """Raises UsageError that says what is wrong, and where."""
    try:
        with path.open("rb") as handle:
            raw = handle.read(_LARGEST + 1)
        text = raw.decode()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; `fairlead init > {path.name}` writes a spec") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8 text; a spec is a YAML file") from None
    if len(raw) > _LARGEST:
        raise UsageError(f"{path} has more than 1 MiB; a spec is a YAML file")
    return parse(text, str(path))


def parse(text: str, name: str) -> SpecFile:
    """The same from text. ``name``: what errors call it."""
    data, lines = document.parse(text, name)
    if not isinstance(data, dict):
        raise UsageError(f"{name}: a spec is a mapping with endpoints; `fairlead init` prints one")
    try:  # as JSON: there a list may stand for a tuple, and text is still no number
        return SpecFile(Spec.model_validate_json(json.dumps(data)), name, lines, data)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda one: one["type"] == "missing")  # a typo explains it
        problems = [_problem(one, name, lines) for one in found]
    line, sentence = problems[0]
    more = f" ({len(problems) - 1} more after that)" if len(problems) > 1 else ""
    raise UsageError(f"{name}:{line}: {sentence}{more}")


def _problem(error: ErrorDetails, name: str, lines: Lines) -> tuple[int, str]:
    """The line and the sentence of one error of pydantic."""
    path = tuple(key for key in error["loc"] if key != "[key]")
    line = int(_place(name, lines, path).rpartition(":")[2])
    if error["type"] == "extra_forbidden":
        return line, _unknown(path)
    if error["type"] == "missing":
        return line, f"{_shown(path)} is missing; give {_meaning(path)}"
    if error["type"] == "json_invalid":
        return line, "there is text in it that is not Unicode; write it without half of a surrogate pair"
    said = error["msg"]
    for theirs, ours in _WORDS.items():
        said = said.replace(theirs, ours)
    if "[key]" in error["loc"]:
        said = "expected letters, digits, '.', '_' and '-', at most 128, beginning with a letter or digit"
    elif error["type"] == "string_pattern_mismatch":
        said = f"expected {_meaning(path)}"
    elif error["type"] in ("too_short", "string_too_short"):
        said = f"give {_meaning(path)}"
    if "[key]" in error["loc"] or _secret(path, error["input"]):
        return line, f"{_shown(path)}: {said}"
    what = json.dumps(error["input"], default=str)
    what = what if len(what) <= 60 else f"{what[:57]}..."
    return line, f"{_shown(path)} is {what}; {said}"


def _secret(path: tuple[str | int, ...], found: Any) -> bool:
    """Whether what was found at a path is, or may hold, what nobody is to see."""
    if isinstance(found, dict | list) and found:
        return True
    for end in range(1, len(path) + 1):
        part = _part_at(path[: end - 1])
        field = part.model_fields.get(str(path[end - 1])) if part else None
        if field is not None and hidden(field):
            return True
    return False


def _unknown(path: tuple[str | int, ...]) -> str:
    """What is said of a key that the spec does not have."""
    part, key = _part_at(path[:-1]), str(path[-1])
    if part is None:
        return f"{_shown(path)} is not known; leave it out"
    if key in NOT_HONOURED.get(part, ()):
        return f"{_shown(path)} is not honoured by this release; leave it out"
    known = list(part.model_fields)
    return f"{_shown(path)} is not known{nearest(key, known) or '; expected ' + ', '.join(known)}"


def _meaning(path: tuple[str | int, ...]) -> str:
    part = _part_at(path[:-1])
    found = part.model_fields.get(str(path[-1])) if part else None
    text = (found.description or "").replace("`", "").rstrip(".") if found else ""
    return text[:1].lower() + text[1:]


def _part_at(path: tuple[str | int, ...]) -> type[Part] | None:
    """The part of the spec that a path leads to."""
    part: type[Part] | None = Spec
    names = False  # whether the next key is a name that the user chose
    for key in path:
        if names or isinstance(key, int):
            names = False
            continue
        found = part.model_fields.get(key) if part else None
        if found is None:
            return None
        names = getattr(found.annotation, "__origin__", None) is dict
        part = part_of(found.annotation)
    return part


def part_of(annotation: Any) -> type[Part] | None:
    """The part in an annotation: a field has one at most."""
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((found for one in get_args(annotation) if (found := part_of(one))), None)


def _place(name: str, lines: Lines, path: tuple[str | int, ...]) -> str:
    while path and path not in lines:
        path = path[:-1]
    return f"{name}:{lines.get(path, 1)}"


def _shown(path: tuple[str | int, ...]) -> str:
    """``endpoints.churn.rollout.steps[1]``."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".") or "the spec"
