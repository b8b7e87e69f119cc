"""Small files of tokenizers, written for a test: a token for each byte, and some that are added."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content | trim }}{%- endif %}
{%- for call in message.tool_calls %}
{{- '\\n<tool_call>\\n' }}
{{- {"name": call.function.name, "arguments": call.function.arguments} | tojson ~ '\\n</tool_call>' }}
{%- endfor %}
{{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if tools %}{{- '<tools>' + tools | tojson + '</tools>' }}{% endif %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{% endif %}"""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")
PLAIN = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<table>")


def letters() -> list[str]:
    """GPT-2's letters for the bytes, in order of the bytes."""
    kept = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    found, more = [], 0
    for byte in range(256):
        found.append(chr(byte) if byte in kept else chr(256 + more))
        more += byte not in kept
    return found


def folder(path: Path, template: Any = CHATML, **config: Any) -> Path:
    """A Hugging Face folder: ids 0 to 255 are bytes, then ``SPECIAL``, then ``PLAIN``."""
    vocabulary = {one: place for place, one in enumerate(letters())}
    added = [
        {"id": 256 + place, "content": one, "special": one in SPECIAL, "lstrip": False, "rstrip": False,
         "single_word": False, "normalized": False}
        for place, one in enumerate((*SPECIAL, *PLAIN))
    ]  # fmt: skip
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    document = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }  # fmt: skip
    path.mkdir(parents=True, exist_ok=True)
    (path / "tokenizer.json").write_text(json.dumps(document))
    settings = {"eos_token": "<|im_end|>", "bos_token": "<s>"} | config
    if template is not None:
        settings["chat_template"] = template
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    return path


def id_of(text: str) -> int:
    """Of an added token."""
    return 256 + (*SPECIAL, *PLAIN).index(text)


def shown(ids: list[int]) -> str:
    """Ids as text, added tokens in brackets that no text has."""
    names = (*SPECIAL, *PLAIN)
    found, waiting = [], b""
    for one in ids:
        if one < 256:
            waiting += bytes([one])
        else:
            found.append(waiting.decode() + f"⟦{names[one - 256]}⟧")
            waiting = b""
    return "".join(found) + waiting.decode()


def gguf(path: Path, template: str | None = CHATML, **more: Any) -> Path:
    """A GGUF file without tensors, of the same tokenizer."""
    tokens = [*letters(), *SPECIAL, *PLAIN]
    kinds = [1] * 256 + [3] * len(SPECIAL) + [4] * len(PLAIN)
    values: dict[str, Any] = {
        "general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds, "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": id_of("<|im_end|>"), "tokenizer.ggml.bos_token_id": id_of("<s>"),
    }  # fmt: skip
    if template is not None:
        values["tokenizer.chat_template"] = template
    values |= {name.replace("__", "."): value for name, value in more.items()}
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(values)) + b"".join(map(_entry, values.items())))
    return path


def _entry(entry: tuple[str, Any]) -> bytes:
    name, value = entry
    return _text(name) + _value(value)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    inside = 8 if not value or isinstance(value[0], str) else 6 if isinstance(value[0], float) else 5
    form = {5: "<i", 6: "<f"}.get(inside, "")
    data = b"".join(_text(one) if inside == 8 else struct.pack(form, one) for one in value)
    return struct.pack("<IIQ", 9, inside, len(value)) + data
