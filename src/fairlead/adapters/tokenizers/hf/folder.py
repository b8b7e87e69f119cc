"""The files of a Hugging Face folder that tell of text: read, bounded, and put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from fairlead.adapters.tokenizers.vocabulary import Added
from fairlead.contracts.errors import BrokenModel

_LARGEST: Final = 1 << 28
"""Bytes of one file."""
_TEMPLATES: Final = 32
_NAMED: Final = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


class Folder:
    """Raises BrokenModel for a file that is too large, or is no JSON."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = self.document("tokenizer_config.json")
        self._map = self.document("special_tokens_map.json")
        self.generation = self.document("generation_config.json")
        self.model = self.document("config.json")

    def text(self, name: str) -> str | None:
        path = self.path / name
        if not path.is_file():
            return None
        size = path.stat().st_size
        if size > _LARGEST:
            raise BrokenModel(f"{path} has {size} bytes; at most {_LARGEST} are read")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BrokenModel(f"{path} is no UTF-8: {error.reason} at byte {error.start}") from None

    def document(self, name: str) -> dict[str, Any]:
        """A JSON object; empty where there is no such file."""
        text = self.text(name)
        if text is None:
            return {}
        try:
            found = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BrokenModel(f"{self.path / name} is no JSON: {error}") from None
        if not isinstance(found, dict):
            raise BrokenModel(f"{self.path / name} is no JSON object")
        return found

    def words(self) -> dict[str, str]:
        """Special tokens by name, as they are written."""
        found: dict[str, str] = {}
        for name in _NAMED:
            for source in (self.config, self._map):
                value = source.get(name)
                text = value.get("content") if isinstance(value, dict) else value
                if isinstance(text, str):
                    found.setdefault(name, text)
        return found

    def templates(self) -> dict[str, str]:
        """For conversations, by name: ``default`` first of all, and what else there is."""
        found: dict[str, str] = {}
        inside = self.config.get("chat_template") or self.document("chat_template.json").get("chat_template")
        if isinstance(inside, str):
            found["default"] = inside
        elif isinstance(inside, list):
            for one in inside[:_TEMPLATES]:
                if isinstance(one, dict) and isinstance(one.get("template"), str):
                    found[str(one.get("name", "default"))] = one["template"]
        alone = self.text("chat_template.jinja")
        if alone is not None:
            found["default"] = alone
        for path in sorted((self.path / "additional_chat_templates").glob("*.jinja"))[:_TEMPLATES]:
            found[path.stem] = self.text(f"additional_chat_templates/{path.name}") or ""
        return found

    def ends(self, ids: Mapping[str, int]) -> tuple[int, ...]:
        """Ids that end an answer. ``ids``: of special tokens."""
        found: list[int] = []
        for source in (self.generation, {} if self.generation.get("eos_token_id") is not None else self.model):
            value = source.get("eos_token_id")
            found += [one for one in (value if isinstance(value, list) else [value]) if type(one) is int]
        word = self.words().get("eos_token")
        if word is not None and word in ids:
            found.append(ids[word])
        return tuple(dict.fromkeys(found))

    def added(self, tokens: Any) -> list[Added]:
        """Added tokens: those of ``tokenizer.json``, and those that only ``tokenizer_config.json`` tells of."""
        listed = [one for one in tokens if isinstance(one, dict)] if isinstance(tokens, list) else []
        more = self.config.get("added_tokens_decoder")
        if isinstance(more, dict):
            known = {one.get("id") for one in listed}
            listed += [
                {**one, "id": int(token)}
                for token, one in more.items()
                if isinstance(one, dict) and token.isdigit() and int(token) not in known
            ]
        try:
            return [
                Added(
                    int(one["id"]), str(one["content"]), bool(one.get("special")), bool(one.get("lstrip")),
                    bool(one.get("rstrip")), bool(one.get("single_word")), bool(one.get("normalized")),
                )
                for one in listed
            ]  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenModel(f"{self.path}: an added token is broken: {error}") from None

    def around(self, processor: Any, ids: Mapping[str, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What a text begins with, and what it ends with."""
        begin, final = _around(processor)
        for name, key in (("add_bos_token", "bos_token"), ("add_eos_token", "eos_token")):
            asked, word = self.config.get(name), self.words().get(key, "")
            token = (ids[word],) if asked and word in ids else ()
            if not isinstance(asked, bool):
                continue
            if name == "add_bos_token":
                begin = token
            else:
                final = token or (() if final == (ids.get(word),) else final)
        return begin, final


def _around(processor: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of a post-processor of ``tokenizer.json``."""
    if not isinstance(processor, dict):
        return (), ()
    kind = processor.get("type")
    if kind == "Sequence":
        for one in processor.get("processors", ()):
            found = _around(one)
            if found != ((), ()):
                return found
    if kind in ("BertProcessing", "RobertaProcessing"):
        return (int(processor["cls"][1]),), (int(processor["sep"][1]),)
    if kind != "TemplateProcessing":
        return (), ()
    before: list[int] = []
    after: list[int] = []
    target = before
    special = processor.get("special_tokens", {})
    for one in processor.get("single", ()):
        if "Sequence" in one:
            target = after
        elif "SpecialToken" in one:
            target.extend(map(int, special[one["SpecialToken"]["id"]]["ids"]))
    return tuple(before), tuple(after)


def kinds(part: Any) -> Sequence[dict[str, Any]]:
    """A normalizer, pre-tokenizer or decoder of ``tokenizer.json`` as the list of its steps."""
    if not isinstance(part, dict):
        return []
    if part.get("type") != "Sequence":
        return [part]
    steps: list[Any] = next((part[name] for name in ("decoders", "pretokenizers", "normalizers") if name in part), [])
    return [one for one in steps if isinstance(one, dict)]
