"""A tokenizer that needs no files: a token for each byte, and some words, marks and special tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.contracts.errors import InvalidParameter
from fairlead.contracts.generation import Message, Tool

SPECIAL = ("<s>", "</s>", "[TOOL_CALLS]", "<|python_tag|>", "<|im_start|>", "<|im_end|>")
WORDS = (b" the", b"\xe2\x82", b"\xac", b" <", b"</", b"think>", b"<think>", b"stop")


class Letters:
    """``Tokenizer``. Ids 0 to 255 are bytes, then ``SPECIAL``, then ``WORDS``."""

    def __init__(self, template: str = "tools <tool_call>", pads: bool = False) -> None:
        self.ends: tuple[int, ...] = (257,)
        self.begin: tuple[int, ...] = (256,)
        self.final: tuple[int, ...] = ()
        self.marks: Mapping[int, str] = {256 + place: one for place, one in enumerate(SPECIAL)}
        self.pads = pads
        self.chats = True
        self.template = template
        self.calls = 0

    @property
    def size(self) -> int:
        return 256 + len(SPECIAL) + len(WORDS)

    def encode(self, text: str) -> list[int]:
        self.calls += 1
        return list(text.encode())

    def piece(self, token: int) -> bytes:
        if token < 256:
            return bytes([token])
        return b"" if token < 256 + len(SPECIAL) else WORDS[token - 256 - len(SPECIAL)]

    def decode(self, ids: Sequence[int]) -> str:
        data = b"".join(map(self.piece, ids))
        return (data[1:] if self.pads and data[:1] == b" " else data).decode("utf-8", "replace")

    def converse(self, messages: Sequence[Message], tools: Sequence[Tool]) -> list[int]:
        self.calls += 1
        if any(one.content == "bad" for one in messages):
            raise InvalidParameter("messages: the model's chat template refuses them: bad")
        found: list[int] = []
        for one in messages:
            found += [260, *f"{one.role}:{one.content}".encode(), 261]
        return [*found, *"".join(f"[{one.name}]" for one in tools).encode(), 260]


def ids(text: str) -> list[int]:
    """Of a text in which special tokens are written, one id for each."""
    found: list[int] = []
    while text:
        place = next((at for at, one in enumerate(SPECIAL) if text.startswith(one)), None)
        if place is None:
            found += text[0].encode()
            text = text[1:]
        else:
            found.append(256 + place)
            text = text[len(SPECIAL[place]) :]
    return found
