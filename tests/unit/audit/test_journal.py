"""The auditor of a server writes what it is told, off the event loop, whatever the disk and the store do."""

import asyncio
import errno
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from fairlead.audit import anchoring
from fairlead.audit import chain as chains_module
from fairlead.audit import journal as journals
from fairlead.audit.entry import GAP, Line, Seal
from fairlead.audit.heads import Head, StoredHeads
from fairlead.audit.journal import Journal, Settings
from fairlead.audit.reading import between
from fairlead.audit.verify import verify
from fairlead.contracts.audit import Audited
from fairlead.kit.clock import SystemClock
from fairlead.testing.state import MemoryState

ACT = Audited("ann", "admin", "churn")


class Room:
    """A log, its heads, and what was counted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = MemoryState()
        self.heads = StoredHeads(self.store)
        self.written = self.lost = 0

    def count(self, written: int, lost: int) -> None:
        self.written += written
        self.lost += lost

    def journal(self, **more: Any) -> Journal:
        return Journal(Settings(self.folder), lambda: self.heads, SystemClock(), self.count, **more)

    def lines(self) -> list[Line]:
        return [line for _, line in between(self.folder)]

    async def until(self, what: Any) -> None:
        for _ in range(400):
            if what():
                return
            await asyncio.sleep(0.02)
        raise AssertionError("it did not come to that")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path / "audit")


def test_what_is_noted_is_on_disk_within_a_second(room: Room) -> None:
    async def go() -> None:
        journal = room.journal(begin=Audited("local:ann", "serve.start"), end=Audited("local:ann", "serve.stop"))
        journal.start()
        journal.note(ACT)
        journal.note(Audited("anonymous", "predict", "churn", outcome="unauthenticated"))
        loop = asyncio.get_running_loop()
        began = loop.time()
        await room.until(lambda: any(line.action == "admin" for line in room.lines()))
        assert loop.time() - began < journals.SYNC_SECONDS
        for _ in range(7):
            journal.allowed("web", "predict", "churn")
        await journal.stop()
        assert journal.troubles() == []

    asyncio.run(go())
    told = [(line.actor, line.action, line.outcome, line.count) for line in room.lines()]
    assert sorted(told) == [
        ("ann", "admin", "allowed", 1),
        ("anonymous", "predict", "unauthenticated", 1),
        ("local:ann", "serve.start", "allowed", 1),
        ("local:ann", "serve.stop", "allowed", 1),
        ("web", "predict", "allowed", 7),
    ]
    found = verify(room.folder, Seal(), room.heads)
    assert (found.findings, found.notes, room.written, room.lost) == ([], [], 5, 0)


def test_a_full_disk_is_told_and_its_gap_is_in_the_log(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "WAITING", 50)
    monkeypatch.setattr(journals, "AGAIN_SECONDS", 0.05)
    real = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def go() -> None:
        journal = room.journal()
        journal.start()
        journal.note(ACT)
        await room.until(lambda: room.written == 1)
        monkeypatch.setattr(chains_module.os, "write", full)
        for _ in range(120):
            journal.note(ACT)
        await room.until(lambda: journal.troubles() and room.lost)
        assert journal.troubles() == ["audit entries are not kept: No space left on device"]
        monkeypatch.setattr(chains_module.os, "write", real)
        await room.until(lambda: not journal.troubles())
        await journal.stop()

    asyncio.run(go())
    lines = room.lines()
    (gap,) = [line for line in lines if line.action == GAP]
    assert (gap.detail["lost"], gap.count, room.lost) == (70, 70, 70)
    assert len(lines) == 1 + 50 + 1
    assert not verify(room.folder, Seal(), room.heads).findings


def test_a_store_that_is_down_holds_nothing_up(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "SECONDS", 0.05)

    async def go() -> None:
        room.store.down = True
        journal = room.journal()
        journal.start()
        journal.note(ACT)
        await room.until(journal.troubles)
        assert journal.troubles()[0].startswith("heads of the audit log are not kept")
        assert len(room.lines()) == 1
        room.store.down = False
        await room.until(lambda: not journal.troubles())
        assert [head.seq for head in room.heads.all()] == [1]
        await journal.stop()

    asyncio.run(go())


def test_a_folder_that_cannot_be_made_is_a_trouble_and_no_more(room: Room) -> None:
    room.folder.parent.joinpath("audit").write_text("a file")

    async def go() -> None:
        journal = room.journal()
        journal.start()
        journal.note(ACT)
        await room.until(journal.troubles)
        assert "audit entries are not kept" in journal.troubles()[0]
        await journal.stop()

    asyncio.run(go())
    assert room.lost == 1


def test_two_servers_at_once_have_a_chain_each(room: Room) -> None:
    async def go() -> None:
        both = [room.journal(), room.journal()]
        for one in both:
            one.start()
            one.note(ACT)
        await room.until(lambda: room.written == 2)
        for one in both:
            await one.stop()

    asyncio.run(go())
    found = verify(room.folder, Seal(), room.heads)
    assert (found.chains, found.entries, found.findings) == (2, 2, [])


def test_a_store_that_hangs_holds_up_no_entry(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchoring, "SECONDS", 0.0)
    monkeypatch.setattr(anchoring, "LATE", 0.05)
    hangs, asked = threading.Event(), threading.Event()
    put = room.heads.put

    def slow(head: Head) -> None:
        asked.set()
        hangs.wait(20)
        put(head)

    monkeypatch.setattr(room.heads, "put", slow)

    async def go() -> None:
        journal = room.journal(end=Audited("local:ann", "serve.stop"))
        journal.start()
        journal.note(ACT)
        await room.until(asked.is_set)
        journal.note(Audited("ann", "admin", "fraud"))
        await room.until(lambda: any(line.endpoint == "fraud" for line in room.lines()))
        await room.until(lambda: any("has not answered for" in one for one in journal.troubles()))
        hangs.set()
        await room.until(lambda: journal.troubles() == [])
        await journal.stop()

    asyncio.run(go())
    found = verify(room.folder, Seal(), room.heads)
    assert (found.findings, found.notes) == ([], [])
    (head,) = room.heads.all()
    assert head.seq == len(room.lines())
