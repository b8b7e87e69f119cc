"""What a job wrote down, so that it can go on after it was killed at any moment.

::

    OUT/                    a folder of shards, or for one file OUT.work/ and, when all is there, OUT
      part-00000.parquet    a shard: written under another name, fsynced, renamed
      _work/                while the job is not complete
        lock                held by the job that runs
        manifest.json       what the job was told: written first, and never changed
        journal.jsonl       a line for each shard that is on the disk
        00000.jsonl         the rows that shard 0 could not score
      _rejected.jsonl       all of them, when the job is complete (OUT.rejected.jsonl beside one file)
      _manifest.json        the manifest with its totals (OUT.manifest.json)

A shard without its line is written again, with the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from fairlead.contracts.errors import StateError, UsageError
from fairlead.contracts.tables import Found
from fairlead.kit.files import write_whole
from fairlead.serve.jobs.messages import Done, Job

FORMS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
"""File endings and what they hold; CSV and JSON Lines also behind ``.gz`` where they are read."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where a job writes. ``single``: its output is one file."""

    out: Path
    form: str
    single: bool

    @classmethod
    def of(cls, out: str, form: str = "") -> Places:
        """A file by its ending, else a folder of ``form``. Raises UsageError."""
        if "://" in out:
            raise UsageError(f"--output {out}: output goes to a file or a folder of this machine")
        path = Path(out).absolute()
        suffix = path.suffix.lower()
        if suffix in FORMS and not path.is_dir() and not out.endswith("/"):
            if form not in ("", FORMS[suffix]):
                raise UsageError(f"--output {out} is {FORMS[suffix]} by its ending, and --format says {form}")
            return cls(path, FORMS[suffix], single=True)
        if path.is_file() or suffix in (".gz", ".json", ".txt", ".tsv", ".zst"):
            raise UsageError(f"--output {out}: one file ends in .parquet, .csv or .jsonl; anything else is a folder")
        return cls(path, form or "parquet", single=False)

    @property
    def work(self) -> Path:
        return self.out.with_name(f"{self.out.name}.work") if self.single else self.out / "_work"

    @property
    def parts(self) -> Path:
        return self.work if self.single else self.out

    @property
    def manifest(self) -> Path:
        return self._beside("manifest.json")

    @property
    def rejected(self) -> Path:
        return self._beside("rejected.jsonl")

    def _beside(self, name: str) -> Path:
        return self.out.with_name(f"{self.out.name}.{name}") if self.single else self.out / f"_{name}"


class Totals(msgspec.Struct, frozen=True):
    """``rows``: of the input; each was scored or rejected."""

    rows: int = 0
    scored: int = 0
    rejected: int = 0
    shards: int = 0
    reason: str = ""

    def plus(self, done: Done) -> Totals:
        rows = done.scored + done.rejected
        return Totals(
            self.rows + rows,
            self.scored + done.scored,
            self.rejected + done.rejected,
            self.shards + 1,
            self.reason or done.reason,
        )


class Manifest(msgspec.Struct, frozen=True):
    """What a job was told. ``totals``: None until it is complete."""

    inputs: tuple[Found, ...]
    model: str
    version: str
    digest: str
    options: dict[str, Any]
    job: Job
    totals: Totals | None = None


def differences(then: Manifest, now: Manifest) -> str:
    """Why ``now`` cannot go on with what ``then`` began; empty where it can."""
    before, after = {one.path: one for one in then.inputs}, {one.path: one for one in now.inputs}
    for path in [*before, *after]:
        one, other = before.get(path), after.get(path)
        if one is None or other is None:
            return f"the input {path} was {'not there' if one is None else 'there'} when the job began"
        if one != other:
            return f"the input {path} changed since the job began ({_file(one)} then, {_file(other)} now)"
    if [one.path for one in then.inputs] != [one.path for one in now.inputs]:
        return "the input files come in another order"
    if (then.model, then.version, then.digest) != (now.model, now.version, now.digest):
        if then.model == now.model and then.version != now.version:
            return f"the job began with version {then.version} of {then.model}, and this is {now.version}"
        same = then.model == now.model
        return f"the job began with {then.model}, and {'its bytes changed' if same else f'this is {now.model}'}"
    for name in [*then.options, *now.options]:
        if then.options.get(name) != now.options.get(name):
            return f"--{name} was {_option(then.options.get(name))}, and now is {_option(now.options.get(name))}"
    if then.job != now.job:
        return "the job would be done in another way (another release of Fairlead, or a model that answers otherwise)"
    return ""


def shard_name(index: int, form: str) -> str:
    return f"part-{index:05d}.{form}"


def rejected_name(index: int) -> str:
    return f"{index:05d}.jsonl"


def read_manifest(path: Path) -> Manifest | None:
    """None where there is none. Raises StateError for one that another release wrote, or that is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise StateError(f"{path} cannot be read ({error}); remove the output and begin anew") from error


def write_manifest(path: Path, manifest: Manifest) -> None:
    write_whole(path, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
    sync(path.parent)


def read_journal(path: Path, there: Callable[[int], bool]) -> dict[int, Done]:
    """Shards that are on the disk. A last line that was cut short, and shards that somebody removed, do not count."""
    found: dict[int, Done] = {}
    with suppress(FileNotFoundError):
        for line in path.read_bytes().splitlines():
            with suppress(msgspec.MsgspecError):
                done = msgspec.json.decode(line, type=Done)
                found[done.index] = done
    return {index: done for index, done in found.items() if there(index)}


class Journal:
    """Appends lines; each is on the disk when ``add`` returns."""

    def __init__(self, path: Path) -> None:
        cut = path.exists() and not path.read_bytes().endswith(b"\n")
        self._file = path.open("ab")
        if cut:  # killed in the middle of a line
            self._file.write(b"\n")
        sync(path.parent)

    def add(self, done: Done) -> None:
        self._file.write(msgspec.json.encode(done) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write under; then that file is ``path``, durably. Where the block raises, nothing is left."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _file(found: Found) -> str:
    return f"{found.size} bytes of {found.modified_ns / 1e9:.3f}"


def _option(value: Any) -> str:
    return str(value) if value not in (None, "", [], ()) else "not given"
