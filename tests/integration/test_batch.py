"""`fairlead batch` as a user runs it: formats, bad rows, kill and resume, two at once, inputs that are broken."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from s3_server import running

MODEL = """
import time
import numpy as np

class Sum:
    inputs = [("a", "FP32", [-1, 1]), ("b", "INT64", [-1, 1]), ("c", "BYTES", [-1, 1])]
    outputs = [("sum", "FP32", [-1]), ("both", "FP32", [-1, 2]), ("text", "BYTES", [-1])]

    def predict(self, inputs):
        a, b, c = (inputs[name][:, 0] for name in "abc")
        if (b == 13).any():
            raise ValueError("thirteen")
        return {"sum": a + b, "both": np.stack([a, b], axis=1).astype(np.float32), "text": np.array([x.upper() for x in c], object)}

class Slow(Sum):
    def predict(self, inputs):
        time.sleep(0.02)
        return super().predict(inputs)

class Wide:
    inputs = [("X", "FP32", [-1, 3])]
    outputs = [("y", "FP32", [-1])]

    def predict(self, inputs):
        return {"y": inputs["X"] @ np.array([1, 10, 100], np.float32)}
"""  # noqa: E501


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "fairlead", "batch", *words]


def batch(here: Path, *words: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run(command(*words), cwd=here, capture_output=True, text=True, check=False, **options)
    assert ran.returncode == code, (ran.stdout, ran.stderr)
    assert "Traceback" not in ran.stderr
    return ran


def rows_of(count: int, first: int = 100) -> list[dict[str, Any]]:
    return [{"id": f"k{at:04d}", "a": at / 4, "b": at, "c": f"t{at}"} for at in range(first, first + count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=100)
        return path
    text = io.StringIO(newline="")
    if ".csv" in path.name:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return [
            {"row": int(row["row"]), "sum": float(row["sum"]), "text": row["text"],
             "both": [float(row["both_0"]), float(row["both_1"])], **({"id": row["id"]} if "id" in row else {})}
            for row in csv.DictReader(file)
        ]  # fmt: skip


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != "_manifest.json"}


@pytest.mark.parametrize("reads", ["in.parquet", "in.csv", "in.csv.gz", "in.jsonl"])
def test_every_form_in_and_out_gives_the_same(here: Path, reads: str) -> None:
    write(here / reads, rows_of(250))
    expected = [
        {"row": at - 100, "sum": at / 4 + at, "both": [at / 4, at], "text": f"T{at}", "id": f"k{at:04d}"}
        for at in range(100, 350)
    ]
    for writes in ("out.parquet", "out.csv", "out.jsonl"):
        said = batch(here, "models:Sum", "--input", reads, "--output", writes, "--keep", "id", "--shard-rows", "100",
                     "--json")  # fmt: skip
        assert read(here / writes) == expected
        told = json.loads(said.stdout)
        assert (told["rows"], told["rejected"], told["shards"]) == (250, 0, 3)
        assert not (here / f"{writes}.work").exists()


def test_a_folder_is_read_in_order_of_its_paths(here: Path) -> None:
    (here / "in" / "b").mkdir(parents=True)
    write(here / "in" / "c.csv", rows_of(3, 300))
    write(here / "in" / "b" / "x.csv", rows_of(3, 200))
    write(here / "in" / "a.csv", rows_of(3, 100))
    (here / "in" / "_SUCCESS").touch()
    batch(here, "models:Sum", "--input", "in", "--output", "out", "--format", "csv", "--shard-rows", "2")
    parts = sorted((here / "out").glob("part-*.csv"))
    found = [row for part in parts for row in read(part)]
    assert [row["row"] for row in found] == list(range(9))
    assert [row["both"][1] for row in found] == [100, 101, 102, 200, 201, 202, 300, 301, 302]
    assert len(parts) == 6  # a shard never has rows of two files


def test_bad_rows_go_aside_and_cost_no_other(here: Path) -> None:
    rows: list[Any] = rows_of(300)
    rows[5] = {**rows[5], "a": "many"}
    rows[7] = {**rows[7], "b": None}
    rows[11] = {**rows[11], "b": 13}  # the model raises
    rows[12] = {**rows[12], "b": 2.5}
    for name in ("in.csv", "in.jsonl"):
        write(here / name, rows)
        out = here / f"out-{name}.jsonl"
        batch(here, "models:Sum", "--input", name, "--output", out.name, "--shard-rows", "100")
        good = [at for at in range(300) if at not in (5, 7, 11, 12)]
        assert [row["row"] for row in read(out)] == good
        assert [row["sum"] for row in read(out)] == [1.25 * (100 + at) for at in good]
        said = read(here / f"{out.name}.rejected.jsonl")
        assert [one["row"] for one in said] == [5, 7, 11, 12]
        reasons = [one["reason"] for one in said]
        assert "'a': expected FP32, found" in reasons[0]
        assert "many" in reasons[0]
        assert "missing" in reasons[1]
        assert reasons[2] == "the model raised ValueError: thirteen"
        assert "expected INT64" in reasons[3]
        assert said[0]["values"]["id"] == "k0105"


def test_lines_that_are_no_rows_are_rejected(here: Path) -> None:
    (here / "in.csv").write_text('a,b,c\n1,2,x\n1,2\n\n3,4,"y\ny"\n5,6,z,extra\n7,8,w"w\n9,10,"open\n')
    batch(here, "models:Sum", "--input", "in.csv", "--output", "out.jsonl")
    assert [(row["row"], row["text"]) for row in read(here / "out.jsonl")] == [(0, "X"), (2, "Y\nY"), (4, 'W"W')]
    assert [row["row"] for row in read(here / "out.jsonl.rejected.jsonl")] == [1, 3, 5]
    (here / "in.jsonl").write_text('{"a":1,"b":2,"c":"x"}\nnot json\n[1]\n{"a":1,"b":2}\n{"a":NaN,"b":2,"c":"x"}\n')
    batch(here, "models:Sum", "--input", "in.jsonl", "--output", "out2.jsonl")
    assert [row["row"] for row in read(here / "out2.jsonl")] == [0]
    assert [row["row"] for row in read(here / "out2.jsonl.rejected.jsonl")] == [1, 2, 3, 4]


def test_how_many_may_be_rejected(here: Path) -> None:
    rows = [{**row, "a": "x"} if at % 10 == 0 else row for at, row in enumerate(rows_of(100))]
    write(here / "in.csv", rows)
    words = ("models:Sum", "--input", "in.csv")
    batch(here, *words, "--output", "a.csv", "--max-rejected", "10")
    assert "9.00%" in batch(here, *words, "--output", "b.csv", "--max-rejected", "9%", code=1).stderr
    assert "--max-rejected is 5" in batch(here, *words, "--output", "c.csv", "--max-rejected", "5", code=1).stderr
    batch(here, *words, "--output", "c.csv", "--max-rejected", "10%", "--resume")
    assert (here / "c.csv").read_bytes() == (here / "a.csv").read_bytes()
    batch(here, *words, "--output", "d.csv", "--max-rejected", "many", code=2)
    write(here / "all.csv", [{**row, "a": "x"} for row in rows])
    assert "every row was rejected" in batch(here, "models:Sum", "--input", "all.csv", "--output", "e", code=1).stderr


@pytest.mark.slow
@pytest.mark.parametrize("writes", ["folder", "one.parquet", "one.csv"])
def test_killed_and_resumed_is_as_never_killed(here: Path, writes: str) -> None:
    rows = [{**row, "b": 13} if at % 97 == 0 else row for at, row in enumerate(rows_of(2000))]
    write(here / "in.csv", rows)
    words = ("models:Slow", "--input", "in.csv", "--shard-rows", "50", "--workers", "2", "--keep", "id")
    batch(here, *words, "--output", f"calm-{writes}")
    out = f"wild-{writes}"
    work = here / out / "_work" if writes == "folder" else here / f"{out}.work"
    kills = 0
    for after in (0, 4, 15, 39):
        process = subprocess.Popen(
            command(*words, "--output", out, "--resume"), cwd=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        journal = work / "journal.jsonl"
        while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") >= after):
            time.sleep(0.002)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
    assert kills >= 2
    said = json.loads(batch(here, *words, "--output", out, "--resume", "--json").stdout)
    assert said["rows"] == 2000
    assert said["rejected"] == 21
    if writes == "folder":
        assert tree(here / out) == tree(here / f"calm-{writes}")
    else:
        for name in ("", ".rejected.jsonl"):
            assert (here / f"{out}{name}").read_bytes() == (here / f"calm-{writes}{name}").read_bytes()
    assert not work.exists()
    again = json.loads(batch(here, *words, "--output", out, "--resume", "--json").stdout)
    assert (again["rows"], again["resumed_shards"]) == (2000, again["shards"])


def test_more_workers_give_the_same_bytes(here: Path) -> None:
    write(here / "in.parquet", rows_of(1000))
    for workers in ("1", "2"):
        batch(here, "models:Sum", "--input", "in.parquet", "--output", f"o{workers}", "--workers", workers,
              "--shard-rows", "200")  # fmt: skip
    assert tree(here / "o1") == tree(here / "o2")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_a_sentence(here: Path, number: signal.Signals) -> None:
    write(here / "in.csv", rows_of(5000))
    words = ("models:Slow", "--input", "in.csv", "--output", "out", "--shard-rows", "50", "--rows", "50")
    process = subprocess.Popen(command(*words), cwd=here, stderr=subprocess.PIPE, text=True)
    while not (here / "out" / "part-00003.parquet").exists():
        time.sleep(0.01)
    process.send_signal(number)
    assert "--resume goes on" in process.communicate(timeout=20)[1]
    assert process.returncode == 130
    assert "--resume goes on with it" in batch(here, *words, code=2).stderr


def test_a_second_job_on_one_output_is_refused(here: Path) -> None:
    write(here / "in.csv", rows_of(50_000))  # more than is done before the others begin, on a slow machine too
    words = ("models:Slow", "--input", "in.csv", "--output", "out.csv", "--shard-rows", "50", "--rows", "50")
    process = subprocess.Popen(command(*words), cwd=here, stderr=subprocess.DEVNULL)
    while not (here / "out.csv.work" / "journal.jsonl").exists():
        time.sleep(0.01)
    for more in ((), ("--resume",)):
        assert "another job writes to" in batch(here, *words, *more, code=1).stderr
    process.kill()
    process.wait()


def test_another_input_model_or_option_does_not_go_on(here: Path) -> None:
    write(here / "in.csv", rows_of(100))
    words = ("--input", "in.csv", "--output", "out", "--resume")
    batch(here, "models:Sum", *words)
    assert "--keep was not given, and now is ['id']" in batch(here, "models:Sum", *words, "--keep", "id", code=2).stderr
    assert "began with models:Sum" in batch(here, "models:Slow", *words, code=2).stderr
    write(here / "in.csv", rows_of(101))
    assert "in.csv changed since the job began" in batch(here, "models:Sum", *words, code=2).stderr
    assert "exists" in batch(here, "models:Sum", *words[:-1], code=2).stderr


def test_one_tensor_is_made_of_columns(here: Path) -> None:
    write(here / "flat.parquet", [{"id": 7, "p": 1.0, "q": 2.0, "r": 3.0}])
    write(here / "list.parquet", [{"X": [1.0, 2.0, 3.0]}, {"X": [1.0]}, {"X": None}])
    write(here / "numbered.csv", [{"X_2": 3, "X_1": 2, "X_0": 1}])
    batch(here, "models:Wide", "--input", "flat.parquet", "--output", "a.jsonl", "--keep", "id")
    batch(here, "models:Wide", "--input", "flat.parquet", "--output", "b.jsonl", "--columns", "r,q,p")
    batch(here, "models:Wide", "--input", "list.parquet", "--output", "c.jsonl")
    batch(here, "models:Wide", "--input", "numbered.csv", "--output", "d.jsonl")
    assert read(here / "a.jsonl") == [{"row": 0, "y": 321.0, "id": 7}]
    assert read(here / "b.jsonl") == [{"row": 0, "y": 123.0}]
    assert read(here / "c.jsonl") == [{"row": 0, "y": 321.0}]
    assert [one["row"] for one in read(here / "c.jsonl.rejected.jsonl")] == [1, 2]
    assert read(here / "d.jsonl") == [{"row": 0, "y": 321.0}]
    assert "--columns" in batch(here, "models:Wide", "--input", "flat.parquet", "--output", "e", code=1).stderr


def test_broken_inputs_are_one_sentence(here: Path) -> None:
    write(here / "good.csv.gz", rows_of(5000))
    whole = (here / "good.csv.gz").read_bytes()
    (here / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    write(here / "good.parquet", rows_of(500))
    (here / "cut.parquet").write_bytes((here / "good.parquet").read_bytes()[:4000])
    for name in ("empty.csv", "empty.jsonl", "empty.parquet"):
        (here / name).touch()
    write(here / "lacks.csv", [{"a": 1, "c": "x"}])
    write(here / "typed.parquet", [{"a": "x", "b": 1, "c": "x"}])
    expected = {
        "cut.csv.gz": "cut short", "cut.parquet": "cut short", "empty.csv": "empty", "empty.jsonl": "empty",
        "empty.parquet": "empty", "lacks.csv": "no column 'b'", "typed.parquet": "column 'a' is string",
        "absent.csv": "no file", "models.py": "ending",
    }  # fmt: skip
    for at, (name, words) in enumerate(expected.items()):
        ran = batch(here, "models:Sum", "--input", name, "--output", f"o{at}", code=2 if name == "models.py" else 1)
        assert words in ran.stderr, name


def test_no_rows_are_an_output_with_columns(here: Path) -> None:
    (here / "in.csv").write_text("a,b,c\n")
    for out in ("o.parquet", "o.csv"):
        batch(here, "models:Sum", "--input", "in.csv", "--output", out)
    assert pq.read_table(here / "o.parquet").column_names == ["row", "sum", "both", "text"]
    assert (here / "o.csv").read_text() == '"row","sum","both_0","both_1","text"\n'


def test_a_full_disk_is_a_sentence_and_the_job_goes_on(here: Path) -> None:
    write(here / "in.csv", rows_of(3000))
    words = ("models:Sum", "--input", "in.csv", "--output", "out.csv", "--shard-rows", "100")
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))  # noqa: E731 - the smallest disk there is
    said = batch(here, *words, code=1, preexec_fn=limit).stderr
    assert "File too large" in said
    batch(here, *words, "--resume")
    assert len(read(here / "out.csv")) == 3000


def test_without_pyarrow_the_extra_is_named(here: Path) -> None:
    write(here / "in.csv", rows_of(3))
    code = "import sys; sys.modules['pyarrow'] = None; import fairlead.cli.main as m; m.main()"
    run = [sys.executable, "-c", code, "batch", "models:Sum", "--input", "in.csv", "--output", "out.csv"]
    ran = subprocess.run(run, cwd=here, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "pip install 'fairlead[events]'" in ran.stderr


def test_an_endpoint_of_the_spec_that_lies_here(here: Path) -> None:
    write(here / "in.csv", rows_of(3))
    (here / "fairlead.yaml").write_text("endpoints:\n  total: {model: 'models:Sum'}\n")
    batch(here, "total", "--input", "in.csv", "--output", "out.csv")
    assert len(read(here / "out.csv")) == 3
    assert "did you mean total?" in batch(here, "totl", "--input", "in.csv", "--output", "o.csv", code=2).stderr


def bucket(url: str) -> dict[str, str]:
    return {**os.environ, "AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
            "AWS_DEFAULT_REGION": "us-east-1"}  # fmt: skip


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.jsonl"])
def test_lines_in_a_bucket_to_a_file_in_it(here: Path, name: str) -> None:
    write(here / name.removesuffix(".gz"), rows_of(250))
    data = (here / name.removesuffix(".gz")).read_bytes()
    with running() as (url, handler):
        handler.objects[f"lake/day/{name}"] = gzip.compress(data) if name.endswith(".gz") else data
        handler.objects["lake/day/_SUCCESS"] = b""
        batch(here, "models:Sum", "--input", "s3://lake/day", "--output", "here.parquet", env=bucket(url))
        ran = batch(here, "models:Sum", "--input", "s3://lake/day", "--output", "s3://lake/out/scores.parquet",
                    env=bucket(url))  # fmt: skip
        assert "-> s3://lake/out/scores.parquet" in ran.stdout
        assert handler.objects["lake/out/scores.parquet"] == (here / "here.parquet").read_bytes()
        assert b'"scored":' in handler.objects["lake/out/scores.parquet.manifest.json"].replace(b" ", b"")
    assert list((here / ".fairlead" / "batch").iterdir()) == []


def test_a_folder_in_a_bucket_with_what_was_rejected(here: Path) -> None:
    write(here / "in.csv", [*rows_of(5), {"a": "1", "b": "soon", "c": "x"}])
    with running() as (url, handler):
        batch(
            here, "models:Sum", "--input", "in.csv", "--output", "s3://lake/out", "--shard-rows", "2", env=bucket(url)
        )
        shards = [f"lake/out/part-{at:05d}.parquet" for at in range(3)]
        assert sorted(handler.objects) == ["lake/out/_manifest.json", "lake/out/_rejected.jsonl", *shards]
        again = ["models:Sum", "--input", "in.csv", "--output", "s3://lake/out", "--shard-rows", "2"]
        assert "s3://lake/out exists" in batch(here, *again, env=bucket(url), code=2).stderr
        told = json.loads(batch(here, *again, "--resume", "--json", env=bucket(url)).stdout)
        assert (told["scored"], told["rejected_file"]) == (5, "s3://lake/out/_rejected.jsonl")
        write(here / "in.csv", rows_of(9))  # nobody scored these: what is there is no answer to them
        said = batch(here, *again, "--resume", env=bucket(url), code=2).stderr
        assert "in.csv changed since the job began" in said


def test_a_bucket_that_is_away_when_all_is_scored_gets_it_later(here: Path) -> None:
    write(here / "in.csv", rows_of(20))
    asked = ["models:Slow", "--input", "in.csv", "--output", "s3://lake/out", "--rows", "1", "--workers", "1"]
    with running() as (url, handler):
        process = subprocess.Popen(command(*asked), cwd=here, env=bucket(url), stderr=subprocess.PIPE, text=True)
        folder = here / ".fairlead" / "batch"
        ends = time.monotonic() + 30
        while not list(folder.glob("*/out/_work/manifest.json")) and time.monotonic() < ends:
            time.sleep(0.01)
        handler.down = True
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "s3://lake/out" in said
        assert handler.objects == {}
        handler.down = False
        batch(here, *asked, "--resume", env=bucket(url))
        assert sorted(handler.objects) == ["lake/out/_manifest.json", "lake/out/part-00000.parquet"]
    assert list(folder.iterdir()) == []


def test_places_that_nobody_knows_are_refused_before_anything_is_done(here: Path) -> None:
    write(here / "in.csv", rows_of(2))
    for out, told in (
        ("gopher://x/y", "no plugin named 'gopher' in fairlead.object_stores"),
        ("s3://lake", "more than a bucket"),
        ("s3://lake//out", "an empty part, . and .. name nothing there"),
        ("s3://lake/day/..", "an empty part, . and .. name nothing there"),
    ):
        assert told in batch(here, "models:Sum", "--input", "in.csv", "--output", out, code=2).stderr


def test_parquet_in_a_bucket(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(here / "in.parquet", rows_of(250))
    with running() as (url, handler):
        handler.objects["lake/day/b.parquet"] = (here / "in.parquet").read_bytes()
        handler.objects["lake/day/_SUCCESS"] = b""
        batch(here, "models:Sum", "--input", "s3://lake/day", "--output", "out.parquet", env=bucket(url))
    assert np.array_equal(pq.read_table(here / "out.parquet")["row"].to_numpy(), np.arange(250))
