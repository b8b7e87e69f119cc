"""Everything beside the model is taken away under load, alone and together: serving goes on with what is loaded.

What is away is said by ``/readyz`` and the metrics; once it is back, nothing needs a restart, no event that was
answered for is missing, and what was decided meanwhile is followed.
"""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))
from crowd import until
from outages import Proxy

import services
from fairlead.contracts.plans import Share, TrafficSplit
from fairlead.contracts.state import StateStore
from fairlead.kit import plugins
from fairlead.kit.codec.records import to_body

BODY = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]}
PREDICT = "/v2/models/pair/infer"


@dataclass
class Load:
    """Callers on kept connections, until the block ends. ``answered``: by version.  ``failed``: what happened else."""

    url: str
    callers: int = 4
    answered: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._enough, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(self.callers)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join(30)

    def _call(self) -> None:
        with httpx.Client(base_url=self.url, timeout=10) as client:
            while not self._enough.is_set():
                try:
                    reply = client.post(PREDICT, json=BODY)
                    good = reply.status_code == 200 and reply.json()["outputs"][0]["data"] == [2.0, 4.0]
                except httpx.HTTPError as error:
                    self.failed.append(repr(error))
                    return
                with self._lock:
                    if good:
                        self.answered[reply.headers["fairlead-version"]] += 1
                    else:
                        self.failed.append(reply.text)
                time.sleep(0.002)

    def more(self, count: int = 200) -> None:
        """Until so many more were answered."""
        wanted = self.answered.total() + count
        until(lambda: self.failed or self.answered.total() >= wanted, "answers", 30)
        assert self.failed == []


@dataclass
class House:
    """A server with everything beside it, and the ways to take that away."""

    url: str
    server: Any
    proxy: Proxy
    state: StateStore
    home: Path

    def troubles(self) -> list[str]:
        found = httpx.get(f"{self.url}/readyz", timeout=10)
        assert found.status_code == 200
        return list(found.json().get("troubles", ()))

    def degraded(self) -> set[str]:
        text = httpx.get(f"{self.url}/metrics", timeout=10).text
        lines = [line for line in text.splitlines() if line.startswith("fairlead_degraded{")]
        return {line.partition('part="')[2].partition('"')[0] for line in lines if float(line.rsplit(" ", 1)[1]) > 0}

    def in_trouble(self, *parts: str) -> Callable[[], bool]:
        """Whether exactly these are degraded, and ``/readyz`` says something of it."""
        return lambda: self.degraded() == set(parts) and bool(self.troubles()) == bool(parts)

    def split(self, *shares: Share) -> int:
        before = self.state.get("split", "pair")
        plan = to_body(TrafficSplit("pair", "pair", shares, salt="s"))
        return self.state.put("split", "pair", plan, before.revision if before else 0).revision

    def applied(self, revision: int) -> Callable[[], bool]:
        return lambda: any(
            one.key.startswith("pair/") and one.body["revision"] == revision and not one.body["error"]
            for one in self.state.all("applied")
        )

    def feedback(self, key: str) -> httpx.Response:
        label = {"endpoint": "pair", "labels": [{"key": key, "label": 1}]}
        return httpx.post(f"{self.url}/v1/feedback", json=label, timeout=30)

    def recorded(self) -> tuple[int, int]:
        """Calls that the event store has, and those that the windows count."""
        events = plugins.load("fairlead.events", "parquet")(str(self.home / "events"))
        rows = events.frame("pair")["arm"].tolist() if (self.home / "events").is_dir() else []
        return len(rows), sum(window.calls for window in self.state.windows("pair"))

    # What is taken away; each gives what brings it back.

    def without_events(self) -> Callable[[], None]:
        folder = self.home / "events"
        folder.rename(self.home / "kept")
        folder.write_text("a file where the folder was")

        def back() -> None:
            folder.unlink()
            (self.home / "kept").rename(folder)

        return back

    def without_registry(self) -> Callable[[], None]:
        database = self.home / "mlflow.db"
        database.rename(self.home / "kept.db")
        database.mkdir()

        def back() -> None:
            database.rmdir()
            (self.home / "kept.db").rename(database)

        return back

    def with_state_cut(self) -> Callable[[], None]:
        self.proxy.cut()
        return self.proxy.restore

    def with_state_hung(self) -> Callable[[], None]:
        self.proxy.hang()
        return self.proxy.restore


@pytest.fixture(scope="module")
def _registered() -> dict[str, Path]:
    """A home with two versions of a model, once it is made."""
    return {}


@pytest.fixture
def home(
    _registered: dict[str, Path], run: Any, doubler: Path, environment: dict[str, str], tmp_path_factory: Any
) -> Path:
    """One of its own, with the two versions."""
    where = Path(environment["FAIRLEAD_HOME"])
    if not _registered:
        kept = tmp_path_factory.mktemp("registered") / "home"
        for alias in (["--alias", "champion"], []):
            told = run("models", "log", str(doubler), "--name", "pair", *alias, FAIRLEAD_HOME=str(kept))
            assert told.returncode == 0, told.stderr
        _registered["home"] = kept
    shutil.copytree(_registered["home"], where)
    return where


@pytest.fixture(params=[1, 2], ids=["one process", "two workers"])
def house(request: pytest.FixtureRequest, start: Any, home: Path) -> Iterator[House]:
    with services.fresh_schema() as url:
        parts = urlsplit(url)
        with Proxy(parts.hostname or "127.0.0.1", parts.port or 5432) as proxy:
            there = url.replace(f"@{parts.hostname}:{parts.port}", f"@127.0.0.1:{proxy.port}")
            words = ("serve", "models:/pair@champion", "--port", "0", "--record", "--workers", str(request.param))
            server = start(*words, FAIRLEAD_STATE=there)
            store: StateStore = plugins.load("fairlead.state", "sql")(url)
            yield House(server.url(120), server, proxy, store, home)
            store.close()
            if server.popen.poll() is None:
                server.stop()


OUTAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "events": (("without_events",), ("events",)),
    "state cut": (("with_state_cut",), ("windows", "splits")),
    "state hung": (("with_state_hung",), ("windows", "splits")),
    "registry": (("without_registry",), ()),
    "all": (("without_events", "without_registry", "with_state_hung"), ("events", "windows", "splits")),
}
"""What is taken away, and what is degraded then."""


def test_each_alone_and_all_together(house: House) -> None:
    with Load(house.url) as load:
        load.more()
        until(lambda: house.degraded() == set(), "a healthy beginning", 20)
        for name, (takes, degraded) in OUTAGES.items():
            back = [getattr(house, take)() for take in takes]
            until(house.in_trouble(*degraded), f"troubles without {name}", 30)
            load.more(400)
            if "state" in name:
                told = house.feedback(name)
                assert told.status_code == 503, told.text
                assert "retry-after" in told.headers
            for one in reversed(back):
                one()
            until(house.in_trouble(), f"well again after {name}", 60)
            assert house.feedback(f"after {name}").json() == {"new": 1, "same": 0, "corrected": 0}
            load.more()
    assert load.failed == []
    answered = load.answered.total()
    until(lambda: house.recorded() == (answered, answered), "every event, and every window", 30)
    assert house.server.stop() == 0


def test_what_was_decided_meanwhile_is_followed(house: House) -> None:
    with Load(house.url) as load:
        load.more()
        back = house.with_state_cut()
        until(lambda: "splits" in house.degraded(), "nothing to follow")
        revision = house.split(Share("1", "champion", 50), Share("2", "candidate", 50))
        load.more(400)
        assert set(load.answered) == {"1"}
        back()
        until(house.applied(revision), "the split is applied", 30)
        load.more(400)
        assert set(load.answered) == {"1", "2"}
        registry = house.without_registry()
        revision = house.split(Share("1", "champion", 50), Share("9", "candidate", 50))
        until(lambda: any("stays as it is" in one for one in house.troubles()), "a version that cannot be loaded", 30)
        load.more(200)
        registry()
        revision = house.split(Share("1", "champion", 100))
        until(house.applied(revision), "the next split is applied", 30)
        until(house.in_trouble(), "well again", 30)
        load.more(100)
    assert load.failed == []


def test_labels_that_hang_hold_up_nobody(house: House) -> None:
    back = house.with_state_hung()
    seen: list[int] = []
    asking = [threading.Thread(target=lambda: seen.append(house.feedback("k").status_code)) for _ in range(8)]
    for thread in asking:
        thread.start()
    with Load(house.url) as load:
        load.more(400)
    for thread in asking:
        thread.join(40)
    assert set(seen) <= {503, 429}
    assert len(seen) == 8
    back()
    until(lambda: house.feedback("k").status_code == 200, "labels are kept again", 30)
    assert json.loads(httpx.get(f"{house.url}/readyz").text)["ready"]
