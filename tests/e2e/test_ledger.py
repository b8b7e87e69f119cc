"""Budgets as callers meet them: real servers, their workers, their ends."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from fairlead.kit import config
from fairlead.wiring import ledgering

CHAT = "/v1/chat/completions"
PRICES = "prices: [{model: chat, input: 1, output: 2}]\n"


@pytest.fixture
def up(start, tmp_path: Path, environment):
    def begin(text: str, *, workers: int = 1, options: str = "{}"):
        spec = tmp_path / "fairlead.yaml"
        spec.write_text(
            f"server: {{port: 0, workers: {workers}}}\nrecord: false\n{text}\n"
            f"endpoints:\n  chat: {{llm: {{engine: echo, options: {options}, max_tokens: 100}}}}\n"
        )
        process = start("up", str(spec))
        return process, process.url()

    return begin


def key(run, *words: str) -> dict[str, str]:
    made = run("keys", "create", "--scope", "chat:generate", *words, "--json")
    assert made.returncode == 0, made.stderr
    return {"authorization": f"Bearer {json.loads(made.stdout)['key']}"}


def ask(url: str, headers: dict[str, str] | None = None, text: str = "one two three", most: int = 10) -> httpx.Response:
    body = {"model": "chat", "messages": [{"role": "user", "content": text}], "max_completion_tokens": most}
    return httpx.post(url + CHAT, json=body, headers=headers, timeout=30)


def ledger(run, *words: str) -> Any:
    ran = run("ledger", *words, "--json")
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_keys_budget_holds_over_all_workers_and_a_restart(up, run, workers: int) -> None:
    shop = key(run, "--name", "shop", "--token-budget", "40/month", "--tenant", "acme")
    other = key(run, "--name", "other", "--budget", "1 USD/day")
    spec = "access: {required: true}\nbudgets: [{tenant: acme, amount: 5 USD, per: day, name: acme}]\n" + PRICES
    process, url = up(spec, workers=workers)
    assert ask(url, other).status_code == 200
    statuses = Counter(ask(url, shop).status_code for _ in range(8))
    assert statuses == {200: 4, 429: 4}  # 7 tokens an answer, and 14 for the worst of the next one
    assert process.stop() == 0
    process, url = up(spec, workers=workers)
    refused = ask(url, shop)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] in ("over_budget", "insufficient_quota")
    assert "budget 'key' of 40 tokens in a month is spent" in refused.text
    found = ledger(run, "show")
    stands = {one["balance"]: (one["settled"], one["reserved"]) for one in found["balances"]}
    assert stands == {
        "acme/USD/day": ("0.00004", "0.00"),
        "key@shop/tokens/month": ("28", "0"),
        "key@other/USD/day": ("0.00001", "0.00"),
    }
    assert {one["key"]: one["answers"] for one in found["spent"]} == {"shop": 4, "other": 1}
    assert process.stop() == 0


def test_what_a_killed_worker_was_writing_is_settled(up, tmp_path: Path) -> None:
    process, url = up(
        "budgets: [{amount: 500, per: day, name: all}]\n" + PRICES, workers=2, options="{delay: 0.2, parallel: 8}"
    )
    text = " ".join("word" for _ in range(90))
    callers = [threading.Thread(target=_quietly, args=(url, text), daemon=True) for _ in range(2)]
    for one in callers:
        one.start()
    store = ledgering.store(config.home(tmp_path / "home"))
    try:
        _until(lambda: any(one.reserved == 2 * 186 for one in store.balances()))
        time.sleep(3)
        for pid in _children(process.popen.pid):
            os.kill(pid, signal.SIGKILL)
        for one in callers:
            one.join(30)
        _until(lambda: all(one.reserved == 0 for one in store.balances()))
        (balance,) = store.balances()
        spends = list(store.spends())
    finally:
        store.close()
    assert [one.how for one in spends] == ["lost", "lost"]
    assert all(one.usage.input == 91 and 0 < one.usage.output < 90 for one in spends), spends
    assert balance.settled == sum(sum(one.usage) for one in spends)
    process.stop()


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.05)


def _quietly(url: str, text: str) -> None:
    try:
        ask(url, text=text, most=95)
    except httpx.HTTPError:
        return


def _children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(status.parent.name))
    return found
