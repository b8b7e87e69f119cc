"""What is written down of a job, and what may go on with it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fairlead.contracts.errors import StateError, UsageError
from fairlead.contracts.tables import Found, Layout
from fairlead.serve.jobs import checkpoint
from fairlead.serve.jobs.checkpoint import Journal, Manifest, Places, Totals, differences
from fairlead.serve.jobs.columns import Chosen
from fairlead.serve.jobs.messages import Done, Job

JOB = Job("models:/m/1", "1", "d", 64, "csv", "parquet", Chosen((), {}), Layout(()), "p", "w")
THEN = Manifest((Found("a", 10, 5), Found("b", 10, 5)), "models:/m", "1", "d", {"keep": ["id"]}, JOB)


def changed(**fields: object) -> Manifest:
    return msgspec.structs.replace(THEN, **fields)


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (THEN, ""),
        (changed(inputs=(Found("a", 11, 5), THEN.inputs[1])), "the input a changed since the job began"),
        (changed(inputs=(Found("a", 10, 6), THEN.inputs[1])), "the input a changed since the job began"),
        (changed(inputs=THEN.inputs[:1]), "the input b was there when the job began"),
        (changed(inputs=(*THEN.inputs, Found("c", 1, 1))), "the input c was not there when the job began"),
        (changed(inputs=THEN.inputs[::-1]), "another order"),
        (changed(version="2"), "began with version 1 of models:/m, and this is 2"),
        (changed(digest="e"), "its bytes changed"),
        (changed(model="models:/n"), "began with models:/m, and this is models:/n"),
        (changed(options={"keep": []}), "--keep was ['id'], and now is not given"),
        (changed(job=msgspec.structs.replace(JOB, rows=32)), "another way"),
    ],
)
def test_what_may_not_go_on_says_why(now: Manifest, words: str) -> None:
    assert (words in differences(THEN, now)) if words else differences(THEN, now) == ""


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    assert checkpoint.read_manifest(path) is None
    checkpoint.write_manifest(path, THEN)
    assert checkpoint.read_manifest(path) == THEN
    path.write_text("{}")
    with pytest.raises(StateError, match="begin anew"):
        checkpoint.read_manifest(path)


def test_a_journal_that_was_cut_in_a_line_counts_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    for index in range(3):
        journal.add(Done(index, 10, 1))
    journal.close()
    for cut in range(1, 20):
        torn = tmp_path / f"{cut}.jsonl"
        torn.write_bytes(path.read_bytes()[:-cut])
        assert set(checkpoint.read_journal(torn, lambda _: True)) in ({0, 1}, {0, 1, 2})
        again = Journal(torn)
        again.add(Done(7, 1, 0))
        again.close()
        assert 7 in checkpoint.read_journal(torn, lambda _: True)
    assert set(checkpoint.read_journal(path, lambda index: index != 1)) == {0, 2}
    assert checkpoint.read_journal(tmp_path / "none", lambda _: True) == {}


def test_totals_keep_the_first_reason() -> None:
    found = Totals().plus(Done(0, 5, 0)).plus(Done(1, 3, 2, "row 6: bad")).plus(Done(2, 0, 1, "later"))
    assert found == Totals(11, 8, 3, 3, "row 6: bad")


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "out"

    def write(text: str, fails: bool) -> None:
        with checkpoint.whole(path) as temporary:
            temporary.write_text(text)
            if fails:
                raise RuntimeError

    with pytest.raises(RuntimeError):
        write("half", fails=True)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
    write("all", fails=False)
    assert path.read_text() == "all"


@pytest.mark.parametrize(
    ("out", "form", "single", "expected"),
    [("o.parquet", "", True, "parquet"), ("o.ndjson", "", True, "jsonl"), ("o", "", False, "parquet"),
     ("o", "csv", False, "csv"), ("v1.2", "jsonl", False, "jsonl"), ("o.csv/", "csv", False, "csv")],
)  # fmt: skip
def test_where_the_output_goes(out: str, form: str, single: bool, expected: str) -> None:
    found = Places.of(out, form)
    assert (found.single, found.form) == (single, expected)
    assert found.work.parent == (found.out.parent if single else found.out)


@pytest.mark.parametrize(("out", "form"), [("s3://b/o", ""), ("o.csv", "parquet"), ("o.csv.gz", ""), ("o.json", "")])
def test_outputs_that_are_refused(out: str, form: str) -> None:
    with pytest.raises(UsageError, match="--output"):
        Places.of(out, form)
