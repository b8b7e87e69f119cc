"""Small folders of models, written for a test: a token for each byte, and some that are added."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message.role + '\\n' }}
{%- if message.content %}{{- message.content | trim }}{%- endif %}
{%- for call in message.tool_calls %}
{{- '\\n<tool_call>\\n' ~ {"name": call.function.name, "arguments": call.function.arguments} | tojson ~ '\\n</tool_call>' }}
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
