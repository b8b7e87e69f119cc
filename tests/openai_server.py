"""A small server of OpenAI's API for tests: it echoes words, and misbehaves on demand.

As a program it stands in for `llama-server` and `vllm serve`: their words, their routes, and it dies when a prompt says
so.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Behaviour:
    """How it answers. ``fault``: (what, after how many tokens).  ``cut``: bytes are sent in pieces of 1 to so many."""

    delay: float = 0.0
    context: int = 4096
    token: str = ""
    header: str = "authorization"
    usage: str = "last"  # last, finish, each, never
    done: bool = True
    finish: bool = True
    cut: int = 0
    ends: bytes = b"\n"
    space: bool = True
    comments: bool = False
    stream: bool = True
    tokenize: str = "vllm"  # vllm, llama, none
    fault: tuple[str, int] | None = None
    status: tuple[int, Any] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    keep: bool = True
    crash: str = ""


class Server:
    """``asked``: (path, headers, body) of each request.  ``hung_up``: streams that the client left."""

    def __init__(self, **said: Any) -> None:
        self.how = Behaviour(**said)
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.hung_up = 0
        self.connections = 0
        self.port = 0
        self.tls: ssl.SSLContext | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        scheme = "https" if self.tls else "http"
        return f"{scheme}://127.0.0.1:{self.port}/v1"

    @property
    def chats(self) -> list[Any]:
        return [body for path, _, body in self.asked if path.endswith("completions")]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in [*self._open]:
            writer.transport.abort()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(Exception):
                await writer.wait_closed()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        _, path, _ = first.split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        data = await reader.readexactly(int(headers.get("content-length", "0")))
        body = json.loads(data) if data else None
        self.asked.append((path, headers, body))
        how = self.how
        if how.token and headers.get(how.header, "").removeprefix("Bearer ") != how.token and path != "/health":
            text = {"error": {"message": f"bad key {headers.get(how.header)}", "code": "invalid_api_key"}}
            return self._json(writer, text, 401)
        if path.endswith("/models"):
            return self._json(writer, {"data": [{"id": "m", "max_model_len": how.context}]})
        if path == "/health":
            return self._json(writer, {"status": "ok"})
        if path == "/tokenize" and how.tokenize != "none":
            return self._json(writer, self._tokens(body))
        if path == "/apply-template" and how.tokenize == "llama":
            return self._json(writer, {"prompt": " ".join(f"x {one['content']}" for one in body["messages"])})
        if not path.endswith("completions"):
            return self._json(writer, {"detail": "Not Found"}, 404)
        if how.status is not None:
            return self._json(writer, how.status[1], how.status[0])
        return await self._complete(reader, writer, body, chat=path.endswith("chat/completions"))

    def _tokens(self, body: Any) -> Any:
        if self.how.tokenize == "llama":
            return {"tokens": list(range(len(words(body.get("content", "")))))}
        found = prompt_tokens(body)
        return {"count": found, "max_model_len": self.how.context, "tokens": list(range(found))}

    def _json(self, writer: asyncio.StreamWriter, what: Any, status: int = 200) -> bool:
        data = what if isinstance(what, bytes) else json.dumps(what).encode()
        more = "".join(f"{name}: {value}\r\n" for name, value in self.how.headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n{more}\r\n"
        writer.write(head.encode() + data)
        return self.how.keep

    async def _complete(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: Any, *, chat: bool
    ) -> bool:
        how = self.how
        prompt = prompt_tokens(body)
        if prompt >= how.context:
            said = f"This model's maximum context length is {how.context} tokens, your prompt has {prompt}"
            return self._json(writer, {"error": {"message": said, "code": "context_length_exceeded"}}, 400)
        text = answer(body)
        if how.crash and how.crash in text:
            os._exit(9)
        stops = body.get("stop") or []
        cut = min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))
        most = body.get("max_tokens") or body.get("max_completion_tokens") or how.context - prompt
        said = words(text[:cut])
        reason = "length" if len(said) > most else "stop"
        said = said[:most]
        if not how.stream:
            message = {"role": "assistant", "content": "".join(said)}
            usage = {"prompt_tokens": prompt, "completion_tokens": len(said), "total_tokens": prompt + len(said)}
            choice = {"index": 0, "message": message, "finish_reason": reason}
            return self._json(writer, {"choices": [choice], "usage": usage})
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        leaving = asyncio.create_task(self._watch(reader))
        try:
            for place, event in enumerate(self._events(body, said, prompt, reason, chat=chat)):
                if how.fault is not None and place == how.fault[1] and await self._fail(writer, how.fault[0]):
                    return False
                if leaving.done():
                    self.hung_up += 1
                    return False
                await self._send(writer, event)
                if how.delay:
                    await asyncio.sleep(how.delay)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        except ConnectionError:
            self.hung_up += 1
            return False
        finally:
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await leaving
        return how.keep

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        """Until the client hangs up."""
        while not reader.at_eof():
            await asyncio.sleep(0.01)

    async def _fail(self, writer: asyncio.StreamWriter, what: str) -> bool:
        if what == "reset":
            writer.transport.abort()
        elif what == "close":
            await self._send(writer, b"")
            writer.write(b"0\r\n\r\n")
        elif what == "stall":
            await asyncio.sleep(3600)
        elif what == "garbage":
            await self._send(writer, b"data: {this is no JSON\n\n")
            return False
        elif what == "binary":
            writer.write(random.Random(7).randbytes(3000))
        elif what == "huge":
            await self._send(writer, b"data: " + b"x" * (5 << 20))
        elif what == "error":
            event = {"error": {"message": "the worker died", "type": "server_error", "code": 500}}
            await self._send(writer, b"data: " + json.dumps(event).encode() + b"\n\n")
            await self._send(writer, b"data: [DONE]\n\n")
        await writer.drain()
        return True

    async def _send(self, writer: asyncio.StreamWriter, event: bytes) -> None:
        if not event:
            return
        data = b"%x\r\n%s\r\n" % (len(event), event)
        if not self.how.cut:
            writer.write(data)
            return
        drawn = random.Random(len(data))
        while data:
            size = drawn.randint(1, self.how.cut)
            writer.write(data[:size])
            data = data[size:]
            await asyncio.sleep(0)

    def _events(self, body: Any, said: list[str], prompt: int, reason: str, *, chat: bool) -> Iterator[bytes]:
        how = self.how
        if chat:
            yield self._event({"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]})
        called = body.get("tools") and body.get("tool_choice") not in (None, "auto", "none")
        if called:
            name = body["tools"][0]["function"]["name"]
            for piece in ({"id": "c1", "function": {"name": name, "arguments": ""}}, {"function": {"arguments": "{}"}}):
                yield self._event({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, **piece}]}}]})
            said, reason = ["{}"], "tool_calls"
        used: dict[str, Any] = {}
        for place, word in enumerate([] if called else said):
            choice: dict[str, Any] = {"index": 0, "finish_reason": None}
            choice |= {"delta": {"content": word}} if chat else {"text": word}
            if chat and body.get("logprobs"):
                tops = [{"token": word, "logprob": -0.1}] * body.get("top_logprobs", 0)
                choice["logprobs"] = {"content": [{"token": word, "logprob": -0.1, "top_logprobs": tops}]}
            used = {"prompt_tokens": prompt, "completion_tokens": place + 1, "total_tokens": prompt + place + 1}
            yield self._event({"choices": [choice], **({"usage": used} if how.usage == "each" else {"usage": None})})
        used = {"prompt_tokens": prompt, "completion_tokens": len(said), "total_tokens": prompt + len(said)}
        used |= {"prompt_tokens_details": {"cached_tokens": min(2, prompt)}}
        if how.finish:
            last = {"index": 0, "delta": {}, "finish_reason": reason}
            yield self._event({"choices": [last], **({"usage": used} if how.usage == "finish" else {})})
        if how.usage in ("last", "each"):
            yield self._event({"choices": [], "usage": used})
        if how.done:
            yield (b"data: [DONE]" if how.space else b"data:[DONE]") + how.ends + how.ends

    def _event(self, what: dict[str, Any]) -> bytes:
        how = self.how
        data = json.dumps({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", **what}).encode()
        comment = b": keep-alive" + how.ends + how.ends if how.comments else b""
        return comment + (b"data: " if how.space else b"data:") + data + how.ends + how.ends


def words(text: str) -> list[str]:
    found = text.split(" ")
    return [found[0], *(f" {one}" for one in found[1:])] if text else []


def prompt_tokens(body: Any) -> int:
    if "messages" in body:
        return sum(len(words(one["content"] or "")) + 1 for one in body["messages"])
    prompt = body["prompt"]
    return len(words(prompt)) if isinstance(prompt, str) else len(prompt)


def answer(body: Any) -> str:
    if "messages" in body:
        return str(body["messages"][-1]["content"])
    prompt = body["prompt"]
    return prompt if isinstance(prompt, str) else " ".join(map(str, prompt))


async def main(words_: list[str]) -> None:
    """As `llama-server` or `vllm`: options by their names; the key comes by the environment."""

    def option(name: str, default: str = "") -> str:
        return words_[words_.index(name) + 1] if name in words_ else default

    if "BROKEN" in " ".join(words_):
        print("error: cannot load the model", file=sys.stderr)
        sys.exit(3)
    token = os.environ.get("LLAMA_API_KEY") or os.environ.get("VLLM_API_KEY", "")
    kind = "vllm" if "serve" in words_ else "llama"
    context = int(option("-c", "0")) // int(option("-np", "1")) or int(option("--max-model-len", "0")) or 4096
    server = Server(token=token, tokenize=kind, crash="CRASH", context=context, delay=0.002)
    server.port = int(option("--port"))
    await asyncio.sleep(0.1)
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
