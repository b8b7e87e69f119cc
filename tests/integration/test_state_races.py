"""Several real processes, and a network that fails, at one state store."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psycopg.conninfo
import pytest
import sqlalchemy as sa
from racing import race

from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.errors import FairleadError, Unavailable
from fairlead.contracts.events import Label
from fairlead.testing.wire import Wire
from services import POSTGRES, fresh_schema

START = """
import json, sys, time
from fairlead.adapters.state.sql import SqlState
from fairlead.contracts.errors import Conflict, LeaseLost
from fairlead.contracts.events import Label
store, mine = SqlState(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
"""

OPEN = (
    START
    + """
print(json.dumps(len(store.all("split")) + store.append("timeline", mine, {}).number))
store.close()
"""
)

COUNT = (
    START
    + """
lost = 0
for _ in range(25):
    while True:
        found = store.get("count", "one")
        try:
            store.put("count", "one", {"n": found.body["n"] + 1 if found else 1}, found.revision if found else 0)
            break
        except Conflict:
            lost += 1
print(json.dumps(lost))
store.close()
"""
)

# Every third time the holder stalls until its lease has expired, and then tries to write.
LEAD = (
    START
    + """
held, refused, end = 0, 0, time.monotonic() + 4
while time.monotonic() < end:
    lease = store.acquire("leader", mine, 0.15)
    if lease is None:
        time.sleep(0.01)
        continue
    held += 1
    try:
        for _ in range(3):
            store.append("act", mine, {"token": lease.token}, fence=lease)
        if held % 3 == 0:
            time.sleep(0.3)
            store.put("acts", mine, {}, -1, fence=lease)
    except LeaseLost:
        refused += 1
    store.release(lease)
print(json.dumps([held, refused]))
store.close()
"""
)

LABEL = (
    START
    + """
for i in range(1_000_000):
    store.label([Label("churn", f"p{i}", 1.0, i)])
    print(i, flush=True)
"""
)


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/home/state.db"
        return
    with fresh_schema() as url:
        yield url


@pytest.mark.slow
def test_eight_processes_open_a_fresh_database(fresh_url: str) -> None:
    numbers = race(OPEN, [[fresh_url, str(i)] for i in range(8)])
    assert sorted(numbers) == list(range(1, 9))  # type: ignore[type-var]


@pytest.mark.slow
def test_counting_from_many_processes_loses_nothing(fresh_url: str) -> None:
    lost = race(COUNT, [[fresh_url, str(i)] for i in range(4)])
    store = SqlState(fresh_url)
    found = store.get("count", "one")
    store.close()
    assert found is not None
    assert (found.body, found.revision) == ({"n": 100}, 100)
    assert sum(map(int, map(str, lost))) > 0, "nobody met anybody: this was no race"


@pytest.mark.slow
def test_two_owners_never_act_under_one_lease(fresh_url: str) -> None:
    told = race(LEAD, [[fresh_url, str(i)] for i in range(4)])
    store = SqlState(fresh_url)
    acts = store.entries("act")
    store.close()
    owners: dict[int, set[str]] = {}
    for act in acts:
        owners.setdefault(act.body["token"], set()).add(act.subject)
    assert all(len(who) == 1 for who in owners.values()), "a token belongs to one owner"
    tokens = [act.body["token"] for act in acts]
    assert all(earlier <= later for earlier, later in pairwise(tokens)), "an older token never acts after a newer one"
    assert len({who for one in owners.values() for who in one}) > 1, "the lease went round"
    assert sum(refused for _, refused in told) > 0, "stalled holders were refused"  # type: ignore[misc]


@pytest.mark.slow
def test_a_killed_process_leaves_what_it_was_told_is_kept(fresh_url: str) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", LABEL, fresh_url, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdin is not None
    assert writer.stdout is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    told = [writer.stdout.readline() for _ in range(51)][1:]
    writer.kill()
    rest = writer.communicate()[0].split("\n")[:-1]
    store = SqlState(fresh_url)
    kept = [known.label.key for known in store.labels("churn")]
    assert store.acquire("leader", "me", 1.0) is not None, "no lock is left behind"
    store.close()
    acknowledged = [f"p{int(line)}" for line in [*told, *rest]]
    assert kept[: len(acknowledged)] == acknowledged
    assert len(kept) - len(acknowledged) in (0, 1)


@pytest.fixture
def wire() -> Iterator[tuple[Wire, str]]:
    """A cut that can be made between a store and its PostgreSQL, and the URL that leads through it."""
    with fresh_schema() as url:
        parts = psycopg.conninfo.conninfo_to_dict(POSTGRES)
        made = Wire(str(parts.get("host", "127.0.0.1")), int(str(parts.get("port", 5432))))
        through = sa.make_url(url).set(host="127.0.0.1", port=made.port, drivername="postgresql+psycopg")
        yield made, through.render_as_string(hide_password=False)
        made.cut()


@pytest.mark.slow
def test_a_database_that_stops_and_comes_back_loses_nothing(wire: tuple[Wire, str]) -> None:
    cable, url = wire
    store = SqlState(url)
    acknowledged: list[str] = []
    refused: list[FairleadError] = []
    slowest = 0.0
    stop = threading.Event()

    def write() -> None:
        nonlocal slowest
        i = 0
        while not stop.is_set():
            i += 1
            began = time.monotonic()
            try:
                store.label([Label("churn", f"p{i}", 1.0, i)])
                acknowledged.append(f"p{i}")
            except Unavailable as error:
                refused.append(error)
                time.sleep(0.02)
            slowest = max(slowest, time.monotonic() - began)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.5)
    cable.cut()
    time.sleep(1.5)
    before = len(acknowledged)
    cable.mend()
    time.sleep(1.0)
    stop.set()
    writer.join()
    kept = {known.label.key for known in store.labels("churn")}
    store.close()
    assert before > 0
    assert len(refused) > 5
    assert all(error.retry_after for error in refused)
    assert len(acknowledged) > before, "the same store writes again"
    assert set(acknowledged) <= kept
    assert slowest < 5.5


def test_a_database_that_refuses_is_unavailable_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    began = time.monotonic()
    with pytest.raises(Unavailable) as error:
        SqlState(f"postgresql://ada:secret@127.0.0.1:{port}/state").all("split")
    assert time.monotonic() - began < 1
    assert error.value.retry_after
    assert "secret" not in str(error.value)


@pytest.mark.slow
def test_a_database_that_never_answers_is_unavailable_soon() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        store = SqlState(f"postgresql://ada:secret@127.0.0.1:{mute.getsockname()[1]}/state")
        began = time.monotonic()
        with pytest.raises(Unavailable, match="does not answer"):
            store.all("split")
        assert time.monotonic() - began < 6
