"""Batches over the life of processes: killed at any moment, they go on with the next; of workers, one works on each."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

SPEC = """
project: shop
server: {{port: 0, workers: {workers}, grace: 5s}}
endpoints:
  writer: {{llm: {{engine: echo, options: {{delay: 0.02, parallel: 16}}}}}}
"""
URL = "/v1/chat/completions"


def request(name: str) -> str:
    body = {"model": "writer", "messages": [{"role": "user", "content": f"say {name}"}]}
    return json.dumps({"custom_id": name, "method": "POST", "url": URL, "body": body})


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(one for child in path.read_text().split() for one in family(int(child)))]


def until(ask: openai.OpenAI, identity: str, least: int = -1, seconds: float = 60.0) -> Any:
    """Once it is over, or so many were answered."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        found = ask.batches.retrieve(identity)
        if (
            found.status in ("completed", "failed", "expired", "cancelled")
            or 0 <= least <= found.request_counts.completed
        ):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_servers_lose_and_double_nothing(start: Any, tmp_path: Path, workers: int) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC.format(workers=workers))
    names = sorted(f"r{at:03d}" for at in range(400))
    batches: list[str] = []
    for turn in range(3):
        up = start("up")
        ask = openai.OpenAI(base_url=f"{up.url(60)}/v1", api_key="none", max_retries=2)
        if not turn:
            for part in (names[:200], names[200:]):
                file = ask.files.create(file=("in.jsonl", "\n".join(map(request, part)).encode()), purpose="batch")
                made = ask.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")  # type: ignore[arg-type]
                batches.append(made.id)
        if turn < 2:
            until(ask, batches[0], least=30 * (turn + 1))
            ask.close()
            for pid in reversed(family(up.popen.pid)):
                os.kill(pid, signal.SIGKILL)
            up.popen.wait(20)
    found: list[str] = []
    for identity in batches:
        done = until(ask, identity)
        assert (done.status, done.request_counts.model_dump()) == (
            "completed",
            {"total": 200, "completed": 200, "failed": 0},
        )
        assert done.error_file_id is None
        for line in ask.files.content(done.output_file_id).text.splitlines():
            one = json.loads(line)
            found.append(one["custom_id"])
            assert one["response"]["body"]["choices"][0]["message"]["content"] == f"say {one['custom_id']}"
    assert sorted(found) == names
    ask.close()
    with httpx.Client(base_url=str(ask.base_url).removesuffix("/v1/")) as raw:
        assert raw.get("/readyz").status_code == 200
    assert up.stop() == 0


@pytest.mark.slow
def test_a_worker_that_is_killed_leaves_its_batch_to_another(start: Any, tmp_path: Path) -> None:
    (tmp_path / "fairlead.yaml").write_text(SPEC.format(workers=2))
    names = sorted(f"r{at:03d}" for at in range(300))
    up = start("up")
    with openai.OpenAI(base_url=f"{up.url(60)}/v1", api_key="none", max_retries=5) as ask:
        file = ask.files.create(file=("in.jsonl", "\n".join(map(request, names)).encode()), purpose="batch")
        made = ask.batches.create(input_file_id=file.id, endpoint=URL, completion_window="24h")  # type: ignore[arg-type]
        until(ask, made.id, least=30)
        held = next((tmp_path / "home" / "batches").glob(f"*/batches/{made.id}/output.jsonl")).resolve()
        holders = [pid for pid in family(up.popen.pid) if str(held) in opened(pid)]
        assert len(holders) == 1, "one worker works on it"
        os.kill(holders[0], signal.SIGKILL)
        done = until(ask, made.id)
        assert done.status == "completed"
        lines = [json.loads(one)["custom_id"] for one in ask.files.content(done.output_file_id).text.splitlines()]
    assert sorted(lines) == names
    assert up.stop() == 0


def opened(pid: int) -> list[str]:
    """Files that a process has open."""
    found = []
    for one in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(str(one.readlink()))
        except FileNotFoundError:
            continue
    return found
