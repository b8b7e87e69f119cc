"""What the names of event files say."""

from __future__ import annotations

import numpy as np
import pytest

from fairlead.adapters.events.parquet.names import (
    DAY_MS,
    File,
    Listed,
    date_of,
    endpoint_folder,
    parsed,
    path_of,
    runs,
    split,
)

KB = 1024


def file(low: int, high: int = 0, *, size: int = KB, writer: str = "aa", schema: str = "0f") -> File:
    path = path_of("churn", "date=2023-11-14", writer, low, schema, low, max(low, high), high)
    return parsed([Listed(path, size, 0)])[0]


class TestPath:
    @pytest.mark.parametrize("endpoint", ["churn", "a/b", "..", "é %2F", "endpoint=x"])
    @pytest.mark.parametrize("at_ms", [0, -1, 1_700_000_000_000, 10**15])
    @pytest.mark.parametrize("high", [7, 9])
    def test_is_read_back(self, endpoint: str, at_ms: int, high: int) -> None:
        path = path_of(endpoint, date_of(at_ms), "0a1b", 7, "c0ffee", at_ms, at_ms + 5, high)
        (found,) = parsed([Listed(path, 9, 11)])
        assert (found.endpoint, found.low, found.high) == (endpoint, 7, high)
        assert (found.first_ms, found.last_ms, found.size, found.modified_ms) == (at_ms, at_ms + 5, 9, 11)
        assert found.stream == (f"{endpoint_folder(endpoint)}/{date_of(at_ms)}", "0a1b", "c0ffee")

    def test_an_endpoint_is_one_folder(self) -> None:
        assert "/" not in endpoint_folder("a/../b")

    def test_date_is_that_of_the_day_in_utc(self) -> None:
        assert date_of(1_700_000_000_000) == "date=2023-11-14"
        assert (date_of(DAY_MS - 1), date_of(DAY_MS), date_of(-1)) == (
            "date=1970-01-01",
            "date=1970-01-02",
            "date=1969-12-31",
        )

    @pytest.mark.parametrize("name", [".aa-00000001.0f.1.1.parquet.part", "aa.parquet", "aa-1.0f.1.1.parquet.tmp", "x"])
    def test_other_names_are_left_alone(self, name: str) -> None:
        assert parsed([Listed(f"endpoint=churn/date=2023-11-14/{name}", 1, 1)]) == []


class TestSplit:
    def test_a_merged_file_hides_its_parts(self) -> None:
        merged, part, next_one = file(1, 4), file(3), file(5)
        assert split([next_one, part, merged]) == ([merged, next_one], [(part, merged)])

    def test_a_merged_file_of_merged_files(self) -> None:
        whole, inner, part, other = file(1, 9), file(2, 5), file(3), file(6)
        seen, hidden = split([part, other, inner, whole])
        assert seen == [whole]
        assert {one.low for one, over in hidden if over == whole} == {2, 3, 6}

    def test_streams_do_not_hide_each_other(self) -> None:
        files = [file(1, 9), file(3, writer="bb"), file(3, schema="1f")]
        assert split(files)[1] == []

    def test_rows_are_there_once_after_any_merges(self) -> None:
        generator = np.random.default_rng(3)
        for _ in range(50):
            files = [file(serial) for serial in range(1, 41)]
            for _ in range(int(generator.integers(1, 6))):
                seen = sorted(split(files)[0], key=lambda one: one.low)
                start = int(generator.integers(0, len(seen)))
                run = seen[start : start + int(generator.integers(2, 12))]
                if len(run) > 1:
                    files.append(file(run[0].low, run[-1].high))
                    gone = [one for one in run if generator.random() < 0.5]  # some parts are removed already
                    files = [one for one in files if one not in gone]
            covered = [serial for one in split(files)[0] for serial in range(one.low, one.high + 1)]
            assert sorted(covered) == list(range(1, 41))


class TestRuns:
    def test_too_few_wait(self) -> None:
        assert runs([file(n) for n in range(1, 16)], 16, 64 * KB, 16 * KB) == []

    def test_enough_are_merged(self) -> None:
        assert [len(run) for run in runs([file(n) for n in range(1, 18)], 16, 64 * KB, 16 * KB)] == [17]

    def test_a_big_file_between_parts_them(self) -> None:
        files = [*(file(n) for n in range(1, 21)), file(21, size=80 * KB), *(file(n) for n in range(22, 30))]
        assert [[run[0].low, run[-1].low] for run in runs(files, 16, 64 * KB, 16 * KB)] == [[1, 20]]

    def test_like_is_merged_with_like_first(self) -> None:
        files = [*(file(n, size=30 * KB) for n in range(1, 6)), *(file(n) for n in range(6, 26))]
        assert [[run[0].low, run[-1].low] for run in runs(files, 16, 64 * KB, 16 * KB)] == [[6, 25]]
        assert [len(run) for run in runs(files[:16], 16, 64 * KB, 16 * KB)] == [16]

    def test_streams_apart(self) -> None:
        files = [file(n, writer="ab"[n % 2] * 2) for n in range(1, 41)]
        assert sorted(len(run) for run in runs(files, 16, 64 * KB, 16 * KB)) == [20, 20]

    def test_a_merged_file_has_a_largest_size(self) -> None:
        found = runs([file(n, size=60 * KB) for n in range(1, 61)], 2, 64 * KB, 16 * KB)
        assert sum(len(run) for run in found) == 60
        assert all(sum(one.size for one in run) <= 16 * 64 * KB + 60 * KB for run in found)
