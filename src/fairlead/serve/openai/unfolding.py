"""A response while it comes: one state machine for answers that are told whole and for streams of typed events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Raw

from fairlead.contracts.errors import FairleadError, InputError, OverBudget, QueueFull, RateLimited
from fairlead.contracts.generation import CallDelta, Chosen, Ended, Message, Piece, ToolCall, Usage
from fairlead.serve.llm.ask import Notes
from fairlead.serve.openai.answers import chances, cost, encode
from fairlead.serve.openai.refusals import told

Document = dict[str, Any]
Done = Callable[[bytes, Message], None]
"""Hears of an answer that is whole: the document, and the turn that it is."""

_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


class _Open:
    """An item that is being written. ``part``: of a message, the kind of its last part; ``texts``: of each part."""

    def __init__(self, kind: str, place: int, identity: str) -> None:
        self.kind, self.place, self.id = kind, place, identity
        self.part = ""
        self.texts: list[list[str]] = []
        self.parts: list[str] = []
        self.chances: list[Document] = []
        self.call, self.name = "", ""


class Unfolding:
    """``base``: the document but for what is found out.  ``now``: Unix time in seconds."""

    def __init__(self, base: Document, streams: bool, identity: str, now: Callable[[], int], done: Done) -> None:
        self._base, self._streams, self._identity, self._now, self._done = base, streams, identity, now, done
        self._events: list[bytes] = []
        self._number = 0
        self._begun = False
        self._output: list[Document] = []
        self._open: _Open | None = None
        self._calls: dict[int, _Open] = {}
        self._delta = b""
        self._final: bytes = b""
        self._texts: list[str] = []

    # Events in.

    def piece(self, at: int, piece: Piece) -> bytes:  # noqa: ARG002 - there is one choice
        if self._streams and not self._begun:
            self._begin()
        if piece.reasoning:
            self._reason(piece.reasoning)
        if piece.text or piece.logprobs:
            self._text(piece.text, piece.logprobs)
        if piece.refusal:
            self._refused(piece.refusal)
        for one in piece.calls:
            self._call(one)
        return self._out()

    def ended(self, at: int, ended: Ended, notes: Notes) -> bytes:  # noqa: ARG002 - as above
        if self._streams and not self._begun:
            self._begin()
        why = _INCOMPLETE.get(ended.reason)
        status = "incomplete" if why else "completed"
        self._shut(status)
        for one in self._calls.values():
            self._called(one, status)
        document = {
            **self._base,
            "status": status,
            "incomplete_details": {"reason": why} if why else None,
            "completed_at": None if why else self._now(),
            "output": self._output,
            "usage": {**usage(ended.usage), **cost(notes)},
        }
        self._final = encode(document)
        calls = tuple(ToolCall(one.call, one.name, "".join(one.texts[0])) for one in self._calls.values())
        self._done(self._final, Message("assistant", "".join(self._texts), calls=calls))
        self._tell(f"response.{status}", {"response": Raw(self._final)})
        return self._out()

    def close(self) -> bytes:
        return b"" if self._streams else self._final

    def failed(self, error: FairleadError) -> bytes:
        said = told(error, "input")
        if not self._begun:
            self._begin()
        document = {
            **self._base,
            "status": "failed",
            "error": {"code": _failure(error), "message": said["message"]},
            "output": self._output,
        }
        self._tell("response.failed", {"response": document})
        return self._out()

    # Events out.

    def _begin(self) -> None:
        self._begun = True
        for name in ("response.created", "response.in_progress"):
            self._tell(name, {"response": {**self._base, "status": "in_progress"}})

    def _tell(self, name: str, fields: Document) -> None:
        if not self._streams:
            return
        document = {"type": name, **fields, "sequence_number": self._number}
        self._number += 1
        self._events.append(b"event: %b\ndata: %b\n\n" % (name.encode(), encode(document)))

    def _out(self) -> bytes:
        events, self._events = self._events, []
        return b"".join(events)

    # Items.

    def _item(self, kind: str, prefix: str, document: Document) -> _Open:
        made = _Open(kind, len(self._output), f"{prefix}_{self._identity}_{len(self._output)}")
        document = {"id": made.id, "type": kind, **document, "status": "in_progress"}
        self._output.append(document)
        self._tell("response.output_item.added", {"output_index": made.place, "item": document})
        return made

    def _whole(self, one: _Open, document: Document, status: str) -> None:
        found = self._output[one.place] = {**self._output[one.place], **document, "status": status}
        self._tell("response.output_item.done", {"output_index": one.place, "item": found})

    def _at(self, one: _Open, *, content: bool = True) -> Document:
        where: Document = {"item_id": one.id, "output_index": one.place}
        return {**where, "content_index": len(one.texts) - 1} if content else where

    def _shut(self, status: str) -> None:
        """Whatever comes next, it is no more of this item."""
        one, self._open, self._delta = self._open, None, b""
        if one is None:
            return
        self._shut_part(one)
        if one.kind == "reasoning":
            self._whole(one, {"content": [{"type": "reasoning_text", "text": "".join(one.texts[0])}]}, status)
        else:
            self._whole(one, {"content": [_part(one, at) for at in range(len(one.texts))]}, status)

    def _shut_part(self, one: _Open) -> None:
        if not one.texts:
            return
        where, text = self._at(one), "".join(one.texts[-1])
        if one.kind == "reasoning":
            self._tell("response.reasoning_text.done", {**where, "text": text})
            return
        if one.part == "output_text":
            self._texts.append(text)
            self._tell("response.output_text.done", {**where, "text": text, "logprobs": one.chances})
        else:
            self._tell("response.refusal.done", {**where, "refusal": text})
        self._tell("response.content_part.done", {**where, "part": _part(one, len(one.texts) - 1)})

    def _message(self, part: str) -> _Open:
        """The message that is being written, in a part of this kind."""
        one = self._open
        if one is not None and one.kind == "message" and one.part == part:
            return one
        if one is None or one.kind != "message":
            self._shut("completed")
            one = self._open = self._item("message", "msg", {"role": "assistant", "content": []})
        else:
            self._shut_part(one)
        one.part = part
        one.parts.append(part)
        one.texts.append([])
        self._delta = b""
        self._tell("response.content_part.added", {**self._at(one), "part": _part(one, len(one.texts) - 1)})
        return one

    def _text(self, text: str, chosen: tuple[Chosen, ...]) -> None:
        one = self._message("output_text")
        one.texts[-1].append(text)
        found = chances(chosen) if chosen else []
        if found:
            one.chances += found
        if not self._streams:
            return
        if not self._delta:
            name = b"response.output_text.delta"
            head = encode({"type": name.decode(), **self._at(one)})[:-1]
            self._delta = b'event: %b\ndata: %b,"delta":' % (name, head)
        said = encode(found) if found else b"[]"
        self._events.append(
            b'%b%b,"logprobs":%b,"sequence_number":%d}\n\n' % (self._delta, encode(text), said, self._number)
        )
        self._number += 1

    def _refused(self, text: str) -> None:
        one = self._message("refusal")
        one.texts[-1].append(text)
        self._tell("response.refusal.delta", {**self._at(one), "delta": text})

    def _reason(self, text: str) -> None:
        one = self._open
        if one is None or one.kind != "reasoning":
            self._shut("completed")
            one = self._open = self._item("reasoning", "rs", {"summary": [], "content": []})
            one.texts.append([])
        one.texts[0].append(text)
        self._tell("response.reasoning_text.delta", {**self._at(one), "delta": text})

    def _call(self, delta: CallDelta) -> None:
        one = self._calls.get(delta.place)
        if one is None:
            self._shut("completed")
            call = delta.id or f"call_{self._identity}_{delta.place}"
            document = {"call_id": call, "name": delta.name, "arguments": ""}
            one = self._calls[delta.place] = self._item("function_call", "fc", document)
            one.call, one.name = call, delta.name
            one.texts.append([])
        if delta.arguments:
            one.texts[0].append(delta.arguments)
            where = self._at(one, content=False)
            self._tell("response.function_call_arguments.delta", {**where, "delta": delta.arguments})

    def _called(self, one: _Open, status: str) -> None:
        arguments = "".join(one.texts[0])
        where = self._at(one, content=False)
        self._tell("response.function_call_arguments.done", {**where, "name": one.name, "arguments": arguments})
        self._whole(one, {"arguments": arguments}, status)


def _failure(error: FairleadError) -> str:
    """In the few words that a failed response has."""
    if isinstance(error, QueueFull | RateLimited | OverBudget):
        return "rate_limit_exceeded"
    return "invalid_prompt" if isinstance(error, InputError) else "server_error"


def _part(one: _Open, at: int) -> Document:
    text = "".join(one.texts[at])
    if one.parts[at] == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": one.chances}


def usage(found: Usage) -> Document:
    """As responses tell it."""
    return {
        "input_tokens": found.prompt,
        "input_tokens_details": {"cached_tokens": found.cached, "cache_write_tokens": 0},
        "output_tokens": found.completion,
        "output_tokens_details": {"reasoning_tokens": found.reasoning},
        "total_tokens": found.prompt + found.completion,
    }
