"""The event store on Parquet: what the suite cannot see from outside."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest

from fairlead.adapters.events.parquet import store as parquet
from fairlead.adapters.events.parquet.places import Folder, place
from fairlead.adapters.events.parquet.store import ParquetEvents
from fairlead.contracts.errors import InvalidParameter, StorageFull, Unavailable, UsageError
from fairlead.kit.clock import SystemClock
from fairlead.testing.event_suite import NOON_MS, calls, same
from fairlead.testing.events import MemoryEvents

DAY_MS = 86_400_000


class LaterClock:
    """The machine's clock, some time ahead."""

    def __init__(self, ahead_ms: int = 0) -> None:
        self.ahead_ms = ahead_ms

    now = staticmethod(SystemClock.now)

    def wall_ms(self) -> int:
        return SystemClock.wall_ms() + self.ahead_ms


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file() and path.name != ".lock")


class TestFiles:
    def test_others_read_them(self, tmp_path: Path) -> None:
        ParquetEvents(str(tmp_path)).append([calls(3), calls(2, endpoint="other")])
        glob = f"{tmp_path}/*/*/*.parquet"
        found = duckdb.sql(
            f"SELECT endpoint, CAST(date AS VARCHAR), count(*) FROM read_parquet('{glob}', hive_partitioning=true) "
            "GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        assert found == [("churn", "2023-11-15", 3), ("other", "2023-11-15", 2)]

    def test_one_file_for_a_schema_however_many_columns_objects(self, tmp_path: Path) -> None:
        ParquetEvents(str(tmp_path)).append([calls(3, NOON_MS + n, version=str(n)) for n in range(50)])
        assert len(files(tmp_path)) == 1

    def test_two_stores_never_share_a_name(self, tmp_path: Path) -> None:
        for _ in range(3):
            ParquetEvents(str(tmp_path)).append([calls(1)])
        assert len(files(tmp_path)) == 3

    def test_a_fork_writes_under_another_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(1)])
        monkeypatch.setattr(os, "getpid", lambda: -1)
        store.append([calls(1)])
        writers = {path.name.partition("-")[0] for path in files(tmp_path)}
        assert len(writers) == 2

    def test_leftovers_are_not_read_and_go_after_an_hour(self, tmp_path: Path) -> None:
        clock = LaterClock()
        store = ParquetEvents(str(tmp_path), clock)
        store.append([calls(2)])
        (whole,) = files(tmp_path)
        left = whole.with_name(f".{whole.name}.part")
        left.write_bytes(whole.read_bytes()[:100])
        (whole.parent / "notes.txt").write_text("mine")
        assert len(store.frame("churn")["row"]) == 2
        store.prune("churn", 0)
        assert left.exists(), "its writer may still be at it"
        clock.ahead_ms = 2 * 3_600_000
        store.prune("churn", 0)
        assert {path.name for path in files(tmp_path)} == {whole.name, "notes.txt"}

    def test_empty_folders_go(self, tmp_path: Path) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(1)])
        store.prune("churn", NOON_MS + 10)
        assert not list(tmp_path.glob("*/date=*"))
        store.append([calls(1)])
        assert len(store.frame("churn")["row"]) == 1


class TestMerging:
    @pytest.mark.slow
    def test_small_files_become_few_and_nothing_changes(self, tmp_path: Path) -> None:
        clock = LaterClock()
        store, memory = ParquetEvents(str(tmp_path), clock), MemoryEvents()
        for turn in range(2 * parquet.MERGE_EVERY):
            batch = [calls(3, NOON_MS + turn * 10), calls(1, NOON_MS + turn * 10 + 5, features={}, version="2")]
            store.append(batch)
            memory.append(batch)
            if turn % 40 == 0:
                assert same(store.frame("churn"), memory.frame("churn"))
        assert same(store.frame("churn"), memory.frame("churn"))
        assert same(store.frame("churn", limit=40), memory.frame("churn", limit=40))
        before = len(files(tmp_path))
        clock.ahead_ms = parquet.GRACE_MS * 10
        for turn in range(parquet.MERGE_EVERY):
            store.append([calls(1, NOON_MS + 10_000 + turn)])
        assert before > 4 * parquet.MERGE_EVERY, "the parts stay for readers that listed them"
        assert len(files(tmp_path)) < before / 2
        assert store.query("SELECT count(*) AS n FROM events")["n"][0] == 2 * 64 * 4 + 64

    def test_prune_merges_what_other_writers_left_of_days_that_are_over(self, tmp_path: Path) -> None:
        clock = LaterClock()
        for _ in range(2):
            writer = ParquetEvents(str(tmp_path))
            for turn in range(5):
                writer.append([calls(2, NOON_MS + turn)])
        store = ParquetEvents(str(tmp_path), clock)
        before = store.frame("churn")
        assert store.prune("churn", 0) == 0
        clock.ahead_ms = 2 * parquet.GRACE_MS
        store.prune("churn", 0)
        assert len(files(tmp_path)) == 2
        assert sorted(before["in.x"]) == sorted(store.frame("churn")["in.x"])

    def test_today_is_left_to_its_writers(self, tmp_path: Path) -> None:
        store = ParquetEvents(str(tmp_path))
        for turn in range(5):
            store.append([calls(2, SystemClock.wall_ms() + turn)])
        store.prune("churn", 0)
        assert len(files(tmp_path)) == 5

    def test_pruning_a_merged_file_brings_no_part_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ParquetEvents(str(tmp_path))
        for turn in range(parquet.MERGE_EVERY):
            store.append([calls(1, NOON_MS + turn)])
        removed: list[str] = []
        remove = Folder.remove

        def note(self: Folder, path: str) -> bool:
            removed.append(path)
            gone = remove(self, path)
            left = len(store.frame("churn")["row"])
            assert left == (0 if len(removed) == parquet.MERGE_EVERY + 1 else parquet.MERGE_EVERY)
            return gone

        monkeypatch.setattr(Folder, "remove", note)
        assert store.prune("churn", NOON_MS + DAY_MS) == parquet.MERGE_EVERY + 1

    def test_a_file_that_goes_between_listing_and_reading(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = ParquetEvents(str(tmp_path))
        for turn in range(4):
            store.append([calls(1, NOON_MS + turn * DAY_MS)])
        list_files = Folder.files

        def slow(self: Folder, *given: object) -> object:
            found = list_files(self, *given)  # type: ignore[arg-type]
            for path in files(tmp_path)[:1] if len(files(tmp_path)) > 2 else []:
                path.unlink()
            return found

        monkeypatch.setattr(Folder, "files", slow)
        assert len(store.frame("churn")["row"]) == 2
        for turn in range(2):
            store.append([calls(1, NOON_MS + turn * DAY_MS)])
        assert store.query("SELECT count(*) AS n FROM events")["n"][0] == 2


class TestFailures:
    @contextmanager
    def no_room(self) -> Iterator[None]:
        """A limit on the size of a file is what a full disk is: a write that stops half way. Of any file of this
        process, so that it ends before pytest writes a line."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_no_room_leaves_nothing_of_the_batch(self, tmp_path: Path) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(1)])
        generator = np.random.default_rng(0)
        big = calls(20_000, features={"x": generator.normal(size=20_000)}, endpoint="big")
        with pytest.raises(StorageFull, match=r"events: .*too large.*free some space"), self.no_room():
            store.append([calls(5), big])
        assert len(files(tmp_path)) == 1
        assert len(store.frame("churn")["row"]) == 1
        store.append([calls(5)])
        assert len(store.frame("churn")["row"]) == 6

    def test_a_rename_that_fails_takes_the_others_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ParquetEvents(str(tmp_path))
        rename, done = Path.rename, []

        def fail(self: Path, target: Path) -> Path:
            done.append(target)
            if len(done) == 3:
                raise OSError(28, "No space left on device")
            return rename(self, target)

        monkeypatch.setattr(Path, "rename", fail)
        with pytest.raises(StorageFull, match="No space left"):
            store.append([calls(1, endpoint=name) for name in "abc"])
        assert files(tmp_path) == []

    def test_a_folder_that_vanished(self, tmp_path: Path) -> None:
        root = tmp_path / "events"
        store = ParquetEvents(str(root))
        store.append([calls(1)])
        shutil.rmtree(root)
        for act in (
            lambda: store.append([calls(1)]),
            lambda: store.frame("churn"),
            lambda: store.query("SELECT 1"),
            lambda: store.prune("churn", 1),
        ):
            with pytest.raises(Unavailable, match="events"):
                act()
        assert not root.exists(), "it is not made again behind a mount's back"
        root.mkdir()
        store.append([calls(1)])
        assert len(store.frame("churn")["row"]) == 1

    def test_a_file_that_somebody_broke(self, tmp_path: Path) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(1)])
        store.frame("churn")
        files(tmp_path)[0].write_bytes(b"nothing")
        with pytest.raises(Unavailable, match="cannot be read"):
            ParquetEvents(str(tmp_path)).frame("churn")
        for late in (ParquetEvents(str(tmp_path)), store):  # the one knows nothing of the file, the other its columns
            with pytest.raises(Unavailable, match="cannot be read"):
                late.query("SELECT * FROM events")

    def test_merging_that_fails_loses_nothing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ParquetEvents(str(tmp_path))

        def broken(*_: object) -> None:
            raise StorageFull("full")

        monkeypatch.setattr(ParquetEvents, "_merge_run", broken)
        for turn in range(parquet.MERGE_EVERY):
            store.append([calls(1, NOON_MS + turn)])
        assert len(store.frame("churn")["row"]) == parquet.MERGE_EVERY

    @pytest.mark.parametrize("location", ["gs://bucket/x", "s3://", "http://x"])
    def test_other_places_are_refused(self, location: str) -> None:
        with pytest.raises(UsageError, match="s3://BUCKET/PREFIX"):
            place(location)

    def test_a_location_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_text("")
        with pytest.raises(Unavailable, match="exists"):
            ParquetEvents(str(tmp_path / "x"))


class TestSql:
    @pytest.mark.parametrize(
        "sql",
        [
            "SELECT * FROM read_text('/etc/hostname')",
            "SELECT * FROM glob('/*')",
            "SELECT * FROM read_csv('/etc/passwd')",
            "SELECT * FROM '/etc/passwd'",
            "SELECT * FROM sources",
            "COPY events TO '/tmp/fairlead-not-there.csv'",
            "SET enable_external_access = true",
            "INSTALL httpfs",
            "EXPORT DATABASE '/tmp/fairlead-not-there'",
            "CALL pragma_version()",
            "EXPLAIN ANALYZE SELECT 1",
        ],
    )
    def test_nothing_else_can_be_reached(self, tmp_path: Path, sql: str) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(1)])
        with pytest.raises(InvalidParameter, match="sql: "):
            store.query(sql)

    def test_types_of_answers(self, tmp_path: Path) -> None:
        store = ParquetEvents(str(tmp_path))
        store.append([calls(2, features={"n": np.array([2**62, 2**62]), "s": np.array([b"\xff", "é"], object)})])
        found = store.query(
            'SELECT sum("row") AS a, sum("in.n") AS b, 1.5 AS c, NULL AS d, [1, 2] AS e, 1 AS f, 2 AS f, '
            "string_agg(\"in.s\", ',' ORDER BY \"in.s\") AS g, DATE '2024-01-02' AS h FROM events"
        )
        assert {name: values.tolist() for name, values in found.items() if name != "h"} == {
            "a": [0],
            "b": [2.0**63],
            "c": [1.5],
            "d": [None],
            "e": [[1, 2]],
            "f": [1],
            "f_2": [2],
            "g": ["\\xFF,é"],
        }
        assert str(found["h"][0]).startswith("2024-01-02")


def test_rows_of_files_are_in_the_footers(tmp_path: Path) -> None:
    ParquetEvents(str(tmp_path)).append([calls(7)])
    (path,) = files(tmp_path)
    statistics = pq.read_metadata(path).row_group(0).column(2).statistics
    assert (statistics.min, statistics.max) == (NOON_MS, NOON_MS + 6)
