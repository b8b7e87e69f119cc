"""The ledger of a machine, where a process ends in the middle, the disk is full, or the machine is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairlead.adapters.ledgers.mapped import memory as memories
from fairlead.adapters.ledgers.mapped import rows
from fairlead.adapters.ledgers.mapped.log import Log
from fairlead.adapters.ledgers.mapped.memory import BLOCK, BLOCKS, INTENT, SLOTS, Memory
from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.contracts.errors import StorageFull, Unavailable, UsageError
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import Account, Hold, LedgerOptions, Refusal, Reservation
from fairlead.testing.ledger_suite import HOUR, asked, held, line, stands


def opened(path: Path, segment: int = 2**20, days: int = 0) -> MappedLedger:
    return MappedLedger(LedgerOptions(str(path), days), segment)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[MappedLedger]:
    found = opened(tmp_path)
    yield found
    found.close()


class Killed(BaseException):
    """Stands for SIGKILL between two instructions."""


class Words:
    """The words of a file, of a process that is killed once it has set so many."""

    def __init__(self, words: memoryview, left: int) -> None:
        self._words, self._left = words, left
        self.obj = words.obj

    def __getitem__(self, at: int) -> int:
        found: int = self._words[at]
        return found

    def __setitem__(self, at: int, value: int) -> None:
        if self._left == 0:
            raise Killed
        self._left -= 1
        self._words[at] = value


@pytest.mark.parametrize("left", range(70))
def test_killed_at_any_word(tmp_path: Path, left: int) -> None:
    """Whoever comes next finds all of a change or nothing of it."""
    dying = opened(tmp_path)
    two = (line(most=1000), line("other", most=1000))
    dying.settle(held(dying.reserve(asked(*two))), Usage(5), 0, "settled", 2)
    hold = held(dying.reserve(asked(*two, name="kept")))
    memory, words = dying._memory, dying._memory.words
    memory.words = dying._slots.words = dying._rows._words = Words(words, left)  # type: ignore[assignment]
    with contextlib.suppress(Killed):
        dying.settle(hold, Usage(7), 0, "settled", 3)
        dying.reserve(asked(*two, name="lost"))
    memory.words = dying._slots.words = dying._rows._words = words
    dying._owner.close()  # as its end does
    dying._log.close()
    after = opened(tmp_path)
    assert after._memory.words[INTENT] == 0
    after.tick(10)
    assert stands(after) == stands(after, "other")
    settled, reserved = stands(after)
    assert reserved == 0
    assert settled in (5, 12)  # 5: it was not yet written that anything was used
    assert sum(sum(one.usage) for one in after.spends()) == settled
    assert after.rebuild() == after.balances()
    after.close()


def test_what_a_dead_process_had_is_settled_at_what_was_known(tmp_path: Path, ledger: MappedLedger) -> None:
    code = f"""
import os, signal
from fairlead.adapters.ledgers.mapped.store import MappedLedger
from fairlead.contracts.generation import Usage
from fairlead.contracts.ledger import LedgerOptions
from fairlead.testing.ledger_suite import asked, line
ledger = MappedLedger(LedgerOptions({str(tmp_path)!r}))
ledger.reserve(asked(line(most=100, worst=40), name="nothing"))
hold = ledger.reserve(asked(line(most=100, worst=40), name="some"))
ledger.progress(hold, Usage(6, 0, 3, 0), 0)
print("ready", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert isinstance(ledger.reserve(asked(line(worst=30), at_ms=1000)), Refusal)
    assert ledger.tick(1000) == 0  # it lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert isinstance(ledger.reserve(asked(line(worst=92), at_ms=2000)), Refusal)  # found here, without a tick
    held(ledger.reserve(asked(line(worst=30), at_ms=3000)))
    assert stands(ledger) == (9, 30)
    assert [(one.id, one.how, one.usage) for one in ledger.spends()] == [("some", "lost", Usage(6, 0, 3, 0))]
    assert len(list((tmp_path / "owners").iterdir())) == 1


def test_two_processes_share_it(tmp_path: Path, ledger: MappedLedger) -> None:
    other = opened(tmp_path)
    holds = [held(one.reserve(asked(line(most=200, worst=40)))) for one in (ledger, other, ledger, other)]
    assert isinstance(other.reserve(asked(line(most=200, worst=41))), Refusal)
    for hold, one in zip(holds, (ledger, other, ledger, other), strict=True):
        one.settle(hold, Usage(10), 0, "settled", 2)
    assert ledger.balances() == other.balances()
    assert stands(other) == (40, 0)
    assert ledger.reset("b", "ann", 3).settled == 40
    assert stands(other) == (0, 0)
    other.close()


def test_one_that_was_taken_for_dead_settles_nothing_twice(tmp_path: Path, ledger: MappedLedger) -> None:
    other = opened(tmp_path)
    hold = held(other.reserve(asked(line())))
    for path in (tmp_path / "owners").iterdir():  # what nobody should do
        if path.name == f"{other._owner.number:016x}":
            path.unlink()
    assert ledger.tick(5) == 1
    again = held(ledger.reserve(asked(line(), name="another")))
    assert again.place != hold.place or again.serial != hold.serial
    other.settle(hold, Usage(9), 0, "settled", 6)
    assert stands(ledger) == (0, 40)
    other.close()


def test_the_log_goes_on_in_another_file(tmp_path: Path) -> None:
    ledger = opened(tmp_path, 2000)
    for number in range(100):
        lines = [line("turning", most=10**6, hour=number // 20), line(most=10**6)]
        found = held(ledger.reserve(asked(*lines, name=f"r{number}", at_ms=number // 20 * HOUR + 1)))
        ledger.settle(found, Usage(1), 0, "settled", 2)
    assert len(list(tmp_path.glob("spend-*.jsonl"))) > 5
    assert [one.id for one in ledger.spends()] == [f"r{number}" for number in range(100)]
    before = ledger.balances()
    assert stands(ledger) == (100, 0)
    assert stands(ledger, "turning") == (20, 0)
    assert ledger.rebuild() == before
    ledger.close()


@pytest.mark.parametrize("damage", ["none", "torn", "zeros", "table gone", "last file torn"])
def test_a_machine_that_was_started_again(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = opened(tmp_path, 3000)
    for number in range(30):
        ledger.settle(held(ledger.reserve(asked(line(most=10**6), name=f"r{number}"))), Usage(1), 0, "settled", 2)
    before = ledger.balances()
    held(ledger.reserve(asked(line(most=10**6), name="in flight")))
    ledger.flush()
    ledger._owner.close()
    last = max(tmp_path.glob("spend-*.jsonl"))
    if damage == "torn":
        with last.open("ab") as file:
            file.write(b'{"id":"half')
    elif damage == "zeros":
        with last.open("ab") as file:
            file.write(bytes(4096))
    elif damage == "table gone":
        (tmp_path / "balances-1").unlink()
    elif damage == "last file torn":
        number = int(last.stem.removeprefix("spend-")) + 1
        last.with_name(f"spend-{number:08d}.jsonl").write_bytes(b'{"carried":[["b",0')
    monkeypatch.setattr(memories, "_booted", lambda: (7, 7))
    again = opened(tmp_path, 3000)
    assert again.balances() == before  # nothing is reserved any more
    assert len(list(again.spends())) == 30
    again.settle(held(again.reserve(asked(line(most=10**6), name="more"))), Usage(5), 0, "settled", 2)
    assert stands(again) == (35, 0)
    assert again.rebuild() == again.balances()
    again.close()


def test_a_full_disk_spends_nothing(ledger: MappedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = held(ledger.reserve(asked(line())))

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with pytest.raises(StorageFull, match="No space left"):
            ledger.settle(hold, Usage(9), 0, "settled", 2)
        with pytest.raises(StorageFull):
            ledger.tick(3)
        patched.setattr(os, "pwrite", lambda *_: 1)
        with pytest.raises(StorageFull, match="no space left"):
            ledger.tick(3)
    assert stands(ledger) == (0, 40)
    ledger.tick(4)
    assert stands(ledger) == (9, 0)


def test_a_lock_that_is_not_let_go(tmp_path: Path, ledger: MappedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memories, "_TRIES", 3)
    hold = held(ledger.reserve(asked(line())))
    other = Memory(tmp_path / "balances-1")
    with other.locked():
        for _ in range(2):
            with pytest.raises(Unavailable, match="does not let go"):
                ledger.reserve(asked(line()))
        with pytest.raises(Unavailable):
            ledger.settle(hold, Usage(9), 0, "settled", 2)
    ledger.tick(3)
    assert stands(ledger) == (9, 0)
    other.close()


def test_no_more_answers_than_there_is_room_for(tmp_path: Path, ledger: MappedLedger) -> None:
    holds = [held(ledger.reserve(asked(line(most=10**9)))) for _ in range(SLOTS - BLOCK)]
    other = opened(tmp_path)
    held(other.reserve(asked(line(most=10**9))))
    with pytest.raises(Unavailable, match="no room for more answers"):
        ledger.reserve(asked(line(most=10**9)))
    ledger.release(holds[0])
    held(ledger.reserve(asked(line(most=10**9))))
    other._owner.close()
    for _ in range(BLOCK):
        held(ledger.reserve(asked(line(most=10**9), at_ms=1000)))  # what the other had
    assert stands(ledger) == (0, 40 * BLOCKS * BLOCK)


def test_no_more_balances_than_there_is_room_for(ledger: MappedLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "_PROBES", 1)
    monkeypatch.setattr(rows, "BALANCES", 4)
    monkeypatch.setattr(rows, "_KNOWN", 3)
    found: list[Hold] = []

    def fill() -> None:
        for number in range(50):
            found.append(held(ledger.reserve(asked(line(f"b{number}")))))  # noqa: PERF401 - what was had before it ends

    with pytest.raises(Unavailable, match="no room for more budgets"):
        fill()
    for one in found:
        ledger.release(one)
    for number in range(30):  # those whose window has passed make room
        ledger.release(held(ledger.reserve(asked(line(f"n{number}", hour=number + 2), at_ms=(number + 2) * HOUR))))


def test_names_of_any_length_and_kind(ledger: MappedLedger) -> None:
    with pytest.raises(UsageError, match="more than 448 bytes"):
        ledger.reserve(asked(line("b" * 449)))
    with pytest.raises(UsageError, match="13 budgets hold"):
        ledger.reserve(asked(*(line(f"b{number}") for number in range(13))))
    long = Account(*("\n" * 300 for _ in range(5)))
    ledger.reserve(Reservation("\x00" * 128, long, 1, "USD", [line("ü" * 200)]))
    ledger._owner.close()
    other = opened(Path(ledger._log.folder))
    assert other.tick(1) == 1
    other.close()


def test_what_no_word_holds(ledger: MappedLedger) -> None:
    holds = [held(ledger.reserve(asked(line(worst=2**60, hard=False)))) for _ in range(9)]
    assert stands(ledger) == (0, 2**62)
    for hold in holds:
        ledger.settle(hold, Usage(2**60), 0, "settled", 2)
    assert stands(ledger) == (2**62, 0)


def test_one_that_begins_waits_for_one_that_reads_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened(tmp_path).close()
    monkeypatch.setattr(memories, "_TRIES", 3)
    other = Memory(tmp_path / "balances-1")
    other.lock()
    threading.Timer(0.2, other.unlock).start()
    opened(tmp_path).close()
    other.lock()
    monkeypatch.setattr(memories, "PATIENCE", 0.05)
    with pytest.raises(Unavailable):
        opened(tmp_path)
    other.unlock()
    other.close()


def test_a_window_in_which_nothing_was_settled_yet_is_made_of_the_log_as_empty(ledger: MappedLedger) -> None:
    ledger.settle(held(ledger.reserve(asked(line()))), Usage(9), 0, "settled", 2)
    held(ledger.reserve(asked(line(hour=1), at_ms=HOUR)))
    before = ledger.balances()
    assert ledger.rebuild() == before
    assert stands(ledger) == (0, 40)


def test_old_files_go(tmp_path: Path) -> None:
    ledger = opened(tmp_path, 100, days=1)
    for _ in range(3):
        ledger.settle(held(ledger.reserve(asked(line()))), Usage(1), 0, "settled", 2)
    first, *rest = sorted(tmp_path.glob("spend-*.jsonl"))
    os.utime(first, (1, 1))
    ledger.flush()
    assert sorted(tmp_path.glob("spend-*.jsonl")) == rest
    assert stands(ledger) == (3, 0)
    ledger.close()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match="choose another --home"):
        opened(tmp_path / "file")


def test_lines_are_read_up_to_an_end(tmp_path: Path) -> None:
    log = Log(tmp_path)
    assert list(log.read(1)) == []
    log.begin(1, ())
    assert [entry.carried for entry, _ in log.read(1)] == [[]]


def test_a_log_in_the_place_of_another_is_read_from_its_beginning(tmp_path: Path) -> None:
    """What adds up as it comes must not go on in a file that it has never seen."""

    def settled(folder: Path, *names: str) -> MappedLedger:
        found = opened(folder)
        for name in names:
            found.settle(held(found.reserve(asked(line(most=1000), name=name))), Usage(1), 0, "settled", HOUR)
        return found

    first = settled(tmp_path / "one", "a")
    told = first.spends_after("")
    assert told is not None
    first.close()
    (tmp_path / "one").rename(tmp_path / "old")
    second = settled(tmp_path / "one", "b", "c", "d")
    assert second.spends_after(told[1]) is None
    second.close()
