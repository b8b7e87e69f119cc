from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fairlead.contracts.errors import StorageFull
from fairlead.contracts.limits import Measure, Period, Quota, Rate
from fairlead.serve.limits import table as module
from fairlead.serve.limits.book import Alone, Together
from fairlead.serve.limits.buckets import Counted, Flying, Rated
from fairlead.serve.limits.table import PROBES, SLOTS, Table

SECOND, ONE = 10**9, (1, 1, 1, 0)
WALL = 1_700_000_000_000


def rated(key: str = "r", amount: float = 10, seconds: float = 1) -> Rated:
    return Rated(key, "key", Rate(amount, seconds))


def test_several_see_one_count(tmp_path: Path) -> None:
    one, other = Together(Table(tmp_path / "t", 0)), Together(Table(tmp_path / "t", 1))
    mine = (rated(), Counted("q", "key", Quota(100, Period.DAY)), Flying("f", "key", 8))
    theirs = (rated(), Counted("q", "key", Quota(100, Period.DAY)), Flying("f", "key", 8))
    taken = [(one if turn % 2 else other).take(mine if turn % 2 else theirs, ONE, 5, WALL) for turn in range(12)]
    assert taken == [True] * 8 + [False] * 4
    one.land(mine[2:], 5, WALL)
    assert other.take(theirs, ONE, 5, WALL)
    assert (theirs[1].value, theirs[2].value, theirs[2].others) == (9, 5, 3)


def test_it_outlives_its_processes_but_for_what_was_in_flight(tmp_path: Path) -> None:
    before, after = (
        (rated("r", 1, 60), Counted("q", "key", Quota(100, Period.DAY)), Flying("f", "key", 1)) for _ in range(2)
    )
    table = Table(tmp_path / "t", 3)
    assert Together(table).take(before, ONE, 5, WALL)
    table.close()
    book = Together(Table(tmp_path / "t", 3))
    assert not book.take(after, ONE, 5, WALL)
    assert (after[0].value, after[1].value, after[2].value) == (5 + 60 * SECOND, 1, 0)


def test_after_another_boot_quotas_hold_and_rates_begin_afresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Together(Table(tmp_path / "t"))
    book.take((rated("r", 1, 60), Counted("q", "key", Quota(100, Period.DAY))), ONE, 10**15, WALL)
    monkeypatch.setattr(module, "_booted", lambda: b"another boot ...")
    again = rated("r", 1, 60), Counted("q", "key", Quota(100, Period.DAY))
    assert Together(Table(tmp_path / "t")).take(again, ONE, 5, WALL)
    assert again[1].value == 2


def test_a_monotonic_clock_that_began_again_locks_nobody_out(tmp_path: Path) -> None:
    book = Together(Table(tmp_path / "t"))
    assert book.take((rated("r", 1, 60),), ONE, 10**15, WALL)
    assert book.take((rated("r", 1, 60),), ONE, 5, WALL)


def test_large_numbers_are_kept_whole(tmp_path: Path) -> None:
    book, now = Together(Table(tmp_path / "t")), 3 * 10**17
    for _ in range(2):
        fine = Rated("r", "key", Rate(0.1234567890123, 3600, Measure.BYTES, burst=50))
        assert fine.scale > 2**38
        book.take((fine,), (0, 0, 7, 0), now, WALL)
    assert fine.value == now * fine.scale + 14 * fine.step


def test_a_full_table_forgets_what_would_be_empty_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Together(Table(tmp_path / "t"))
    monkeypatch.setattr(module, "SLOTS", PROBES)
    flying = Flying("f", "key", 3)
    assert book.take((flying,), ONE, 0, WALL)
    for number in range(PROBES + 20):
        assert book.take((rated(f"r{number}", 1, 60 - number),), ONE, 0, WALL)
    assert not book.take((rated("r0", 1, 60),), ONE, 0, WALL), "it is the last to be empty"
    assert book.take((Flying("f", "key", 3),), ONE, 0, WALL)
    assert book.take((flying,), ONE, 0, WALL)
    assert flying.value == 3


def test_who_was_stopped_with_the_lock_holds_nobody_up_for_long(tmp_path: Path) -> None:
    book = Together(Table(tmp_path / "t"))
    other = os.open(tmp_path / "t", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    bucket = rated("r", 2)
    assert [book.take((bucket,), ONE, 0, WALL) for _ in range(3)] == [True, True, False]
    assert "counted by each worker alone" in book.troubles()[0]
    Table(tmp_path / "t")  # a worker starts all the same
    os.close(other)
    assert not book.take((rated("r", 2),), ONE, 0, WALL), "the table was told what was let in meanwhile"
    assert book.troubles() == []


def test_a_process_that_is_killed_with_the_lock_lets_go_of_it(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from fairlead.serve.limits.table import Table\n"
        "Table(Path(sys.argv[1])).lock(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t")], check=False)
    assert ended.returncode == -9
    book = Together(Table(tmp_path / "t"))
    assert book.take((rated(),), ONE, 0, WALL)
    assert book.troubles() == []


def test_several_processes_take_exactly_what_there_is(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from fairlead.contracts.limits import *; from fairlead.serve.limits.buckets import *\n"
        "from fairlead.serve.limits.book import Together; from fairlead.serve.limits.table import Table\n"
        "book = Together(Table(Path(sys.argv[1]), int(sys.argv[2])))\n"
        "q = (Counted('q', 'key', Quota(3000, Period.DAY)),)\n"
        "print(sum(book.take(q, (1, 0, 0, 0), 0, 1_700_000_000_000) for _ in range(2000)), book.troubles())\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "t"), str(place)], stdout=subprocess.PIPE, text=True
        )
        for place in range(4)
    ]
    said = [process.communicate(timeout=60)[0].split(" ", 1) for process in running]
    assert sum(int(count) for count, _ in said) == 3000


def test_one_process_keeps_its_quotas_when_it_settles(tmp_path: Path) -> None:
    def quota() -> Counted:
        return Counted("q", "key", Quota(10, Period.DAY))

    book, mine = Alone(Table(tmp_path / "t")), quota()
    book.begin(mine, 0, WALL)
    other, theirs = Alone(Table(tmp_path / "t")), quota()
    other.begin(theirs, 0, WALL)
    for _ in range(3):
        book.take((mine,), ONE, 0, WALL)
        other.take((theirs,), ONE, 0, WALL)
    assert (mine.value, theirs.value) == (3, 3)
    book.settle([mine], 0, WALL)
    other.settle([theirs], 0, WALL)
    book.settle([mine], 0, WALL)
    assert (mine.value, theirs.value) == (6, 6)
    again = quota()
    Alone(Table(tmp_path / "t")).begin(again, 0, WALL)
    assert again.value == 6
    tomorrow = WALL + 86_400_000
    assert book.take((mine,), ONE, 0, tomorrow)
    book.settle([mine], 0, tomorrow)
    other.settle([theirs], 0, tomorrow)
    assert (mine.value, theirs.value) == (1, 1)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageFull, match="limits cannot be kept in .*file.*; choose another --home"):
        Table(tmp_path / "file" / "t")
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageFull):
        Table(tmp_path / "link")


def test_it_takes_its_room_at_once_so_that_a_full_disk_ends_no_process_later(tmp_path: Path) -> None:
    (tmp_path / "t").touch(0o600)
    os.truncate(tmp_path / "t", (SLOTS + 1) * module.SIZE)
    Table(tmp_path / "t")
    there = (tmp_path / "t").stat()
    assert there.st_size == (SLOTS + 1) * module.SIZE
    assert there.st_blocks * 512 >= there.st_size
    assert there.st_mode & 0o777 == 0o600


def test_what_landed_while_another_held_the_lock_has_landed(tmp_path: Path) -> None:
    book = Together(Table(tmp_path / "t"))
    flying = Flying("f", "key", 2)
    assert book.take((flying,), ONE, 0, WALL)
    other = os.open(tmp_path / "t", os.O_RDWR)
    fcntl.flock(other, fcntl.LOCK_EX)
    assert book.take((flying,), ONE, 0, WALL)
    assert not book.take((flying,), ONE, 0, WALL)
    book.land([flying], 0, WALL)
    assert book.take((flying,), ONE, 0, WALL)
    book.land([flying], 0, WALL)
    book.land([flying], 0, WALL)
    os.close(other)
    assert [book.take((flying,), ONE, 0, WALL) for _ in range(3)] == [True, True, False]
    assert flying.value == 2


def test_of_workers_that_a_server_has_no_more_nothing_is_in_flight(tmp_path: Path) -> None:
    for place in range(3):
        assert Together(Table(tmp_path / "t", place, 3)).take((Flying("f", "key", 3),), ONE, 0, WALL)
    book, flying = Together(Table(tmp_path / "t", 0, 2)), Flying("f", "key", 3)  # all were killed; worker 1 is to come
    assert [book.take((flying,), ONE, 0, WALL) for _ in range(3)] == [True, True, False]
    assert (flying.value, flying.others) == (2, 1)
