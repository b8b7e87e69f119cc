"""Sends requests to a server of OpenAI's API when they are due, and writes down when what came."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from time import perf_counter
from typing import Any

import httpx

from fairlead.plan.arrivals import Arrival
from fairlead.plan.latency import Sent

_BLOCK = 512
"""Words of a block that several prompts share."""
_SAID = 500
"""Characters of a sentence that are kept."""
_WORDS = ("river", "stone", "light", "green", "house", "water", "small", "round", "north", "quiet", "table", "paper")


@dataclass(frozen=True, slots=True)
class Load:
    """``url``: up to ``/v1``.  ``most``: requests at once; 0: as many as are due.  ``timeout``: seconds for each."""

    url: str
    model: str
    token: str = ""
    most: int = 0
    timeout: float = 600.0
    ignore_end: bool = False


async def drive(load: Load, arrivals: Sequence[Arrival], seed: int) -> list[Sent]:
    """All of them, in the order in which they were due."""
    limits = httpx.Limits(max_connections=load.most or None, max_keepalive_connections=None)
    headers = {"authorization": f"Bearer {load.token}"} if load.token else {}
    places = asyncio.Semaphore(load.most or len(arrivals))
    async with httpx.AsyncClient(limits=limits, headers=headers, timeout=load.timeout) as client:
        began = perf_counter()
        tasks = []
        for number, one in enumerate(arrivals):
            body = _body(load, one, Random(f"{seed}/{number}"))  # noqa: S311 - no secret
            await asyncio.sleep(max(0.0, began + one.at - perf_counter()))
            tasks.append(asyncio.create_task(_placed(places, client, load, body, began + one.at)))
        return await asyncio.gather(*tasks)


async def _placed(
    places: asyncio.Semaphore, client: httpx.AsyncClient, load: Load, body: dict[str, Any], due: float
) -> Sent:
    async with places:
        return await _send(client, load, body, due)


def _body(load: Load, one: Arrival, dice: Random) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": load.model,
        "messages": [{"role": "user", "content": prompt(one, dice)}],
        "max_tokens": max(1, one.output),
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
    }
    return {**body, "ignore_eos": True, "min_tokens": one.output} if load.ignore_end else body


def prompt(one: Arrival, dice: Random) -> str:
    """About as many words as it has tokens: a common word is one token to most tokenizers."""
    words: list[str] = []
    for block in one.blocks:
        same = Random(block)  # noqa: S311 - the same block, the same words
        words += same.choices(_WORDS, k=_BLOCK)
    left = one.prompt - len(words)
    words = words[: one.prompt] if left < 0 else [*words, *dice.choices(_WORDS, k=left)]
    return " ".join(words)


async def _send(client: httpx.AsyncClient, load: Load, body: dict[str, Any], due: float) -> Sent:
    began = perf_counter()
    first = last = 0.0
    gaps: list[float] = []
    usage: dict[str, int] = {}
    error = said = ""
    try:
        async with client.stream("POST", f"{load.url}/chat/completions", json=body) as answer:
            if answer.status_code != httpx.codes.OK:
                await answer.aread()
                code, said = _told(answer)
                error = f"{answer.status_code} {code}".strip()
            async for line in answer.aiter_lines():
                if error or not line.startswith("data:") or (data := line[5:].strip()) == "[DONE]":
                    continue
                told = json.loads(data)
                if "error" in told:
                    error, said = f"in the stream: {told['error'].get('code')}", str(told["error"].get("message", ""))
                usage = told.get("usage") or usage
                if any(one.get("delta", {}).get("content") for one in told.get("choices", ())):
                    now = perf_counter()
                    if first:
                        gaps.append(now - last)
                    first, last = first or now, now
    except (httpx.HTTPError, json.JSONDecodeError) as problem:
        error, said = type(problem).__name__, str(problem)
    ended, output = perf_counter(), usage.get("completion_tokens", len(gaps) + bool(first))
    if not error and not first:
        first = ended
    return Sent(due, began, first, ended, usage.get("prompt_tokens", 0), output, tuple(gaps), error, said[:_SAID])


def _told(answer: httpx.Response) -> tuple[str, str]:
    """Code and sentence of an error."""
    try:
        error = answer.json()["error"]
        return str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        return "", ""
