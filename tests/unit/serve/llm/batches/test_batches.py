"""Batches without a socket: lines, the journal, the disk, and the work on one whatever happens to it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.contracts.access import Caller, Scope
from fairlead.contracts.errors import NotFound, RateLimited, StateError, StorageFull
from fairlead.contracts.limits import Limits, Quota, Rate
from fairlead.kit.clock import SystemClock
from fairlead.kit.files import held
from fairlead.serve.llm.batches import lines, work
from fairlead.serve.llm.batches.asking import Answered
from fairlead.serve.llm.batches.files import Files
from fairlead.serve.llm.batches.journal import Journal, Line
from fairlead.serve.llm.batches.records import Batch
from fairlead.serve.llm.batches.runner import Runner
from fairlead.serve.llm.batches.shelf import Place, Shelf
from fairlead.testing.clock import ManualClock

URL = "/v1/chat/completions"
ANN = Caller("ann", "key", (Scope("m", "generate"),), "team", Limits((Rate(1, 60),), (Quota(5, "day"),)))  # type: ignore[arg-type]


class Wall:
    """The machine's clock, whose wall can be moved."""

    def __init__(self) -> None:
        self.ahead = 0
        self.now = SystemClock().now

    def wall_ms(self) -> int:
        return SystemClock.wall_ms() + self.ahead * 1000


class Echo:
    """Answers each body with itself. ``first``: what it answers before that; None: never."""

    def __init__(self, *first: Answered | None, room: bool = True) -> None:
        self.first = list(first)
        self.asked: list[bytes] = []
        self.callers: list[Caller | None] = []
        self.running = self.most = 0
        self.free = room

    async def answer(self, url: str, model: str, body: bytes, caller: Caller | None) -> Answered:
        assert (url, model) == (URL, "m")
        self.asked.append(body)
        self.callers.append(caller)
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(0)
            if self.first:
                told = self.first.pop(0)
                if told is None:
                    await asyncio.Event().wait()
                assert told is not None
                return told
            return Answered(200, "r", body)
        finally:
            self.running -= 1

    def unknown(self, url: str, model: str, caller: Caller | None) -> str:
        return "" if model == "m" else "no"

    def room(self, url: str, model: str) -> bool:
        return self.free


def request(name: str, **more: Any) -> bytes:
    return json.dumps(
        {"custom_id": name, "method": "POST", "url": URL, "body": {"model": "m", "x": name, **more}}
    ).encode()


def data(count: int) -> bytes:
    return b"\n".join(request(f"r{at}") for at in range(count))


def made(shelf: Shelf, content: bytes, caller: Caller | None = ANN) -> Batch:
    file = shelf.files.put(caller.name if caller else "", "in.jsonl", content)
    return shelf.begin(caller, URL, file.id, None)


def outputs(shelf: Shelf, batch: Batch) -> tuple[list[str], list[dict[str, Any]]]:
    """Who was answered, and the lines of those who were not."""
    found = []
    for wrote, identity in ((batch.wrote, batch.output), (batch.erred, batch.mistakes)):
        text = shelf.files.data("ann", identity).read_text() if wrote else ""
        found.append([json.loads(one) for one in text.splitlines()])
    return sorted(one["custom_id"] for one in found[0]), found[1]


def serve(shelf: Shelf, answering: Echo, until: Callable[[], bool], most: int = 4, seconds: float = 10.0) -> Runner:
    """Run the companion until this holds."""

    async def main() -> Runner:
        runner = Runner(shelf, SystemClock(), most, look=0.01)
        runner.by(answering)
        runner.start()
        try:
            async with asyncio.timeout(seconds):
                while not until():
                    await asyncio.sleep(0.005)
        finally:
            runner.drain()
            await runner.stop()
        return runner

    return asyncio.run(main())


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "batches", Wall())


def over(shelf: Shelf, *batches: Batch) -> Callable[[], bool]:
    return lambda: all(shelf.get("ann", one.id).over for one in batches)


def test_each_request_is_answered_once(shelf: Shelf) -> None:
    answering, batch = Echo(), made(shelf, data(50))
    serve(shelf, answering, over(shelf, batch))
    batch = shelf.get("ann", batch.id)
    assert (batch.status, batch.counts.total, batch.counts.completed, batch.counts.failed) == ("completed", 50, 50, 0)
    assert outputs(shelf, batch) == (sorted(f"r{at}" for at in range(50)), [])
    assert len(answering.asked) == 50
    assert answering.most <= work.PARALLEL
    told = answering.callers[0]
    assert told is not None
    assert (told.name, told.tenant, told.limits, told.scopes) == (ANN.name, ANN.tenant, ANN.limits, ANN.scopes)


def test_some_are_tried_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "LONGEST", 0.01)
    lost = Answered(503, "r", b'{"error":"lost"}', 0.0, lost=True)
    answering, batch = Echo(*[Answered(429, "r", b"{}", 0.0)] * 6, lost, lost, lost), made(shelf, data(1))
    serve(shelf, answering, over(shelf, batch))
    answered, bad = outputs(shelf, shelf.get("ann", batch.id))
    assert len(answering.asked) == 7, "refusals are patience; what was lost was asked often enough by then"
    assert not answered
    assert bad[0]["response"] == {"status_code": 503, "request_id": "r", "body": {"error": "lost"}}


def test_what_breaks_here_is_a_line(shelf: Shelf) -> None:
    answering, batch = Echo(), made(shelf, data(3))
    asked = iter([RuntimeError("x")])
    sound = answering.answer

    async def answer(*given: Any) -> Answered:
        for error in asked:
            raise error
        return await sound(*given)

    answering.answer = answer  # type: ignore[method-assign]
    serve(shelf, answering, over(shelf, batch))
    answered, bad = outputs(shelf, shelf.get("ann", batch.id))
    assert (len(answered), bad[0]["response"]["status_code"]) == (2, 500)


def test_nobody_is_asked_while_others_wait(shelf: Shelf) -> None:
    answering, batch = Echo(room=False), made(shelf, data(3))
    with pytest.raises(TimeoutError):
        serve(shelf, answering, over(shelf, batch), seconds=0.6)
    assert not answering.asked
    answering.free = True
    serve(shelf, answering, over(shelf, batch))
    assert len(answering.asked) == 3


@pytest.mark.parametrize("times", [1, 3])
def test_killed_and_gone_on_with(shelf: Shelf, times: int) -> None:
    """As a process that is killed: nothing is told to the work, the lock is dropped."""
    batch = made(shelf, data(40))
    asked = 0
    for _ in range(times):
        answering = Echo(*[Answered(200, "r", b"1")] * 5, *[None] * 100)

        def enough() -> bool:
            return len(answering.asked) >= 5 + work.PARALLEL  # noqa: B023 - called in this turn

        serve(shelf, answering, enough)
        asked += 5
    answering = Echo()
    serve(shelf, answering, over(shelf, batch))
    assert outputs(shelf, shelf.get("ann", batch.id)) == (sorted(f"r{at}" for at in range(40)), [])
    assert len(answering.asked) == 40 - asked, "what was written down is not asked again"


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
def test_a_line_cut_short_is_asked_again(shelf: Shelf, keep: float) -> None:
    batch = made(shelf, data(5))
    place = shelf.waiting()[0]
    journal = Journal(place.folder)
    journal.add([Line(True, lines.answered("b", "r0", 200, "", b"{}")), Line(False, lines.never("b", "r1", "c", "m"))])
    journal.close()
    cut = lines.answered("b", "r2", 200, "", b"{}")
    with (place.folder / "output.jsonl").open("ab") as handle:
        handle.write(cut[: int(len(cut) * keep)])
    answering = Echo()
    serve(shelf, answering, over(shelf, batch))
    answered, bad = outputs(shelf, shelf.get("ann", batch.id))
    assert answered == ["r0", "r2", "r3", "r4"]
    assert [one["custom_id"] for one in bad] == ["r1"]
    assert len(answering.asked) == 3


@pytest.mark.parametrize("step", ["write", "publish", "close"])
@pytest.mark.parametrize("end", ["completed", "cancelled", "expired"])
def test_killed_at_every_step_of_the_end(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, step: str, end: str) -> None:
    """What was decided stays, and no line comes twice."""
    batch, clock = made(shelf, data(6)), shelf._clock
    answering = Echo(*([None] * 6 if end != "completed" else []))
    broken = Echo()

    class Killed(BaseException):
        """As a process that ends."""

    def at(name: str, holder: Any) -> None:
        sound = getattr(holder, name)

        def call(*given: Any) -> Any:
            state = given[1].status if name == "write" else ""
            if name != "write" or state in ("finalizing", "cancelling", end) or given[1].ending:
                monkeypatch.setattr(holder, name, sound)
                sound(*given)
                raise StateError("killed")
            return sound(*given)

        monkeypatch.setattr(holder, name, call)

    at(step, shelf.files if step == "publish" else shelf)

    def ends() -> bool:
        if answering.running == 6 or end == "completed":
            if end == "cancelled":
                with suppress(NotFound):
                    shelf.cancel("ann", batch.id)
            elif end == "expired":
                clock.ahead = 24 * 3600 + 1  # type: ignore[attr-defined]
        return getattr(shelf.files if step == "publish" else shelf, step).__name__ != "call"

    serve(shelf, answering, ends)
    clock.ahead = 0  # type: ignore[attr-defined] - what was decided does not change with the time
    serve(shelf, broken, lambda: not shelf.waiting())
    batch = shelf.get("ann", batch.id)
    assert batch.status == end
    answered, bad = outputs(shelf, batch)
    assert sorted([*answered, *(one["custom_id"] for one in bad)]) == [f"r{at}" for at in range(6)]
    assert batch.counts.completed + batch.counts.failed == 6
    assert not broken.asked


def test_a_full_disk_waits(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work, "FULL", 0.02)
    batch, answering = made(shelf, data(20)), Echo()
    sound, full = os.write, [30]

    def write(descriptor: int, found: Any) -> int:
        if b"batch_req_" in bytes(found) and full[0]:
            full[0] -= 1
            if len(found) > 50 and full[0] % 2:
                return sound(descriptor, found[:50])  # half of a line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return sound(descriptor, found)

    monkeypatch.setattr("fairlead.serve.llm.batches.journal.os.write", write)
    runner = serve(shelf, answering, over(shelf, batch))
    assert full == [0]
    assert outputs(shelf, shelf.get("ann", batch.id)) == (sorted(f"r{at}" for at in range(20)), [])
    assert len(answering.asked) == 20
    assert not runner.troubles()


def test_a_full_disk_takes_no_file(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made(shelf, data(1))
    before = sorted(path.name for path in tmp_path.rglob("*"))

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("fairlead.kit.files.os.fsync", full)
    with pytest.raises(StorageFull, match="No space left"):
        shelf.files.put("ann", "x", b"1")
    with pytest.raises(StorageFull, match="No space left"):
        shelf.begin(ANN, URL, shelf.files.all("ann")[0].id, None)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_one_process_works_on_a_batch(shelf: Shelf) -> None:
    batch, answering = made(shelf, data(3)), Echo()
    with held(shelf.waiting()[0].folder / "lock") as got:
        assert got
        with pytest.raises(TimeoutError):
            serve(shelf, answering, over(shelf, batch), seconds=0.3)
        assert not answering.asked
    serve(shelf, answering, over(shelf, batch))
    assert len(answering.asked) == 3


def test_a_caller_with_many_does_not_hold_up_another(shelf: Shelf) -> None:
    many = [made(shelf, data(2)) for _ in range(6)]
    bob = Caller("bob", "key", ())
    late = made(shelf, data(2), bob)
    answering = Echo(room=False)
    with suppress(TimeoutError):
        serve(shelf, answering, lambda: shelf.get("bob", late.id).status == "in_progress", seconds=3)
    assert shelf.get("bob", late.id).status == "in_progress"
    assert sum(shelf.get("ann", one.id).status == "in_progress" for one in many) <= 2


def test_what_cannot_be_read_holds_up_nothing(shelf: Shelf) -> None:
    broken, sound = made(shelf, data(1)), made(shelf, data(1))
    place = next(one for one in shelf.waiting() if one.identity == broken.id)
    place.state.write_bytes(b"{")
    seen: list[str] = []

    async def main() -> None:
        runner = Runner(shelf, SystemClock(), look=0.01)
        runner.by(Echo())
        runner.start()
        async with asyncio.timeout(5):
            while not (shelf.get("ann", sound.id).over and runner.troubles()):
                await asyncio.sleep(0.01)
        seen.extend(runner.troubles())
        await runner.stop()

    asyncio.run(main())
    assert broken.id in seen[0]


def test_bounds_and_age(tmp_path: Path) -> None:
    clock = ManualClock()
    shelf = Shelf(tmp_path, clock, Files(tmp_path, clock, size=10, most=2), most=1)
    shelf.files.put("ann", "a", b"12345")
    with pytest.raises(RateLimited, match="10 are kept"):
        shelf.files.put("ann", "b", b"123456")
    shelf.files.put("bob", "b", b"123456")
    kept = shelf.files.put("ann", "b", b"12", keep=40 * 86400)
    with pytest.raises(RateLimited, match="2 are kept"):
        shelf.files.put("ann", "c", b"1")
    first = shelf.begin(ANN, URL, kept.id, None)
    with pytest.raises(RateLimited, match="1 batches"):
        shelf.begin(ANN, URL, kept.id, None)
    with pytest.raises(NotFound):
        shelf.begin(ANN, URL, "file-" + "0" * 28, None)
    place = shelf.waiting()[0]
    shelf.finish(place, shelf.read(place), "completed")
    clock.advance(31 * 86400 + 1)
    shelf.sweep()
    assert [one.id for one in shelf.files.all("ann")] == [kept.id]
    assert not shelf.files.all("bob")
    with pytest.raises(NotFound):
        shelf.get("ann", first.id)
    names = sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.name != "lock")
    assert names == [f"{kept.id}.json", f"{kept.id}.jsonl"]


def test_what_a_crash_left_is_swept(shelf: Shelf, tmp_path: Path) -> None:
    file = shelf.files.put("ann", "a", b"1")
    folder = shelf.files.data("ann", file.id).parent
    (folder / ".tmp").touch()
    (folder / "file-1.jsonl").touch()
    mark = Place(tmp_path / "batches", "x", "batch_1").mark
    mark.parent.mkdir(exist_ok=True)
    mark.touch()
    shelf.sweep()
    assert not shelf.waiting()
    assert mark.exists(), "it may be that somebody makes it now"
    for path in (folder / ".tmp", folder / "file-1.jsonl", mark):
        os.utime(path, (1, 1))
    shelf.sweep()
    assert not shelf.waiting()
    assert not mark.exists()
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".jsonl"]


@pytest.mark.parametrize("identity", ["", "..", "file-", "file-../../../../x", "batch_" + "0" * 28, "file-" + "G" * 28])
def test_what_is_no_id_is_no_path(shelf: Shelf, identity: str) -> None:
    with pytest.raises(NotFound):
        shelf.files.get("ann", identity)
    with pytest.raises(NotFound):
        shelf.get("ann", identity)


def test_a_deleted_input_changes_no_batch(shelf: Shelf) -> None:
    batch = made(shelf, data(3))
    shelf.files.remove("ann", batch.input_file_id)
    serve(shelf, Echo(), over(shelf, batch))
    assert shelf.get("ann", batch.id).counts.completed == 3


def test_a_caller_is_remembered_whole() -> None:
    batch = Batch("b", URL, "f", ANN, 1, 2, "o", "e", 3)
    back = msgspec.json.decode(msgspec.json.encode(batch), type=Batch)
    assert back.caller is not None
    assert (back.caller.limits, back.caller.scopes) == (ANN.limits, ANN.scopes)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([request("a"), request("b"), b"{}", b"null", b""]))))
def test_any_input_is_judged(found: list[bytes]) -> None:
    content = b"\n".join(found)
    checked = lines.check(content, URL)
    assert checked.requests or checked.problems
    for one in checked.requests:
        assert json.loads(lines.body(content[one.at : one.at + one.size]))["model"] == "m"


def test_too_many_lines() -> None:
    checked = lines.check(data(4), URL, most=3)
    assert ([one.code for one in checked.problems], checked.requests) == (["too_many_requests"], [])
    assert len(lines.check(data(3), URL, most=3).requests) == 3
