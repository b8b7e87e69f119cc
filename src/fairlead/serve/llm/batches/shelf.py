"""Batches on the disk, each caller's own apart: whole or not there, whatever happens meanwhile.

::

    ROOT/
      open/CALLER.BATCH      a mark for each batch that is not over: written before it, removed after its end
      CALLER/                of one caller, by the hash of the name
        lock                 held while something comes to it
        files/FILE.json      what is told of a file: written behind its bytes
        files/FILE.jsonl     the bytes
        batches/BATCH/       made under another name, renamed
          state.json         replaced at every change by who works on it
          input.jsonl        the same bytes as the file: to delete that changes no batch
          output.jsonl, errors.jsonl   a line for each request that is done: its journal, and what becomes of it
          lock               held by the process that works on it
          cancel             somebody wants it to end

All of it blocks, and is for a thread.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fairlead.contracts.access import Caller
from fairlead.contracts.errors import NotFound, StateError
from fairlead.kit.clock import Clock
from fairlead.kit.files import locked, write_whole
from fairlead.serve.llm.batches.disk import DAYS, old, over, owner_of, read, sync, writing
from fairlead.serve.llm.batches.files import Files
from fairlead.serve.llm.batches.records import WINDOW, Batch, fresh, is_id

BATCHES: Final = 1000
"""Of one caller."""


@dataclass(frozen=True, slots=True)
class Place:
    """One batch on the disk. ``owner``: the folder of its caller."""

    root: Path
    owner: str
    identity: str

    @property
    def folder(self) -> Path:
        return self.root / self.owner / "batches" / self.identity

    @property
    def mark(self) -> Path:
        return self.root / "open" / f"{self.owner}.{self.identity}"

    @property
    def cancel(self) -> Path:
        return self.folder / "cancel"

    @property
    def state(self) -> Path:
        return self.folder / "state.json"


class Shelf:
    """``files``: of the same callers.  ``most``: batches of one caller."""

    def __init__(self, root: Path, clock: Clock, files: Files | None = None, most: int = BATCHES) -> None:
        self.files = files or Files(root, clock)
        self._root, self._clock, self._most = root, clock, most

    def now(self) -> int:
        """Unix seconds."""
        return self._clock.wall_ms() // 1000

    # For callers.

    def begin(
        self, caller: Caller | None, endpoint: str, input_: str, metadata: dict[str, str] | None, keep: int = 0
    ) -> Batch:
        """A new batch of a file. ``keep``: seconds that its outputs are; 0: as long as all files.

        Raises NotFound, StorageFull, and RateLimited over a bound.
        """
        name, wall = name_of(caller), self._clock.wall_ms()
        owner, now = owner_of(name), wall // 1000
        file = self.files.get(name, input_)
        outputs = fresh("file-", wall), fresh("file-", wall)
        batch = Batch(
            fresh("batch_", wall),
            endpoint,
            file.id,
            caller,
            now,
            now + WINDOW,
            *outputs,
            keep or DAYS * 86400,
            metadata,
        )
        place = Place(self._root, owner, batch.id)
        with writing(), locked(self._root / owner / "lock"):
            self._sweep(owner)
            if sum(1 for _ in self._folders(owner)) >= self._most:
                raise over(f"you have {self._most} batches here, and they are kept for {DAYS} days: try again later")
            self._make(place, batch)
        return batch

    def _make(self, place: Place, batch: Batch) -> None:
        making = place.folder.with_name(f".{batch.id}")
        try:
            place.mark.parent.mkdir(parents=True, exist_ok=True)
            place.mark.touch()
            sync(place.mark.parent)
            making.mkdir(parents=True)
            os.link(self.files.bytes(place.owner, batch.input_file_id), making / "input.jsonl")
            write_whole(making / "state.json", msgspec.json.encode(batch))
            making.rename(place.folder)
            sync(place.folder.parent)
        except BaseException as error:
            shutil.rmtree(making, ignore_errors=True)
            place.mark.unlink(missing_ok=True)
            if isinstance(error, FileNotFoundError):  # the file was deleted meanwhile
                raise NotFound(batch.input_file_id) from None
            raise

    def get(self, caller: str, identity: str) -> Batch:
        """Raises NotFound."""
        place = Place(self._root, owner_of(caller), identity)
        found = read(place.state, Batch) if is_id(identity, "batch_") else None
        if found is None:
            raise NotFound(identity)
        if not found.over and not found.cancelling_at and place.cancel.exists():
            return found.at("cancelling", self.now())  # which whoever works on it has not heard yet
        return found

    def all(self, caller: str) -> list[Batch]:
        """The newest first."""
        found = []
        for folder in self._folders(owner_of(caller)):
            with suppress(NotFound):
                found.append(self.get(caller, folder.name))
        return sorted(found, key=lambda one: one.id, reverse=True)

    def cancel(self, caller: str, identity: str) -> Batch:
        """Tell who works on it to end it. Raises NotFound and StorageFull."""
        if not self.get(caller, identity).over:
            with writing():
                Place(self._root, owner_of(caller), identity).cancel.touch()
        return self.get(caller, identity)

    # For who works on them.

    def waiting(self) -> list[Place]:
        """Batches that are not over, the oldest first; those that others work on, too."""
        found, now = [], self._clock.wall_ms() / 1000
        with suppress(FileNotFoundError):
            for mark in list((self._root / "open").iterdir()):
                owner, _, identity = mark.name.partition(".")
                place = Place(self._root, owner, identity)
                if place.state.exists():
                    found.append(place)
                elif old(mark, now):
                    mark.unlink(missing_ok=True)
        return sorted(found, key=lambda one: one.identity)

    def read(self, place: Place) -> Batch:
        """Raises StateError for what cannot be read."""
        found = read(place.state, Batch)
        if found is None:
            raise StateError(f"{place.state} is not there")
        return found

    def write(self, place: Place, batch: Batch) -> None:
        """Raises StorageFull."""
        with writing():
            write_whole(place.state, msgspec.json.encode(batch))

    def finish(self, place: Place, batch: Batch, status: str) -> Batch:
        """Its outputs become files of the caller; once more, after a crash, changes nothing. Raises StorageFull."""
        publish = self.files.publish
        with writing():
            wrote = publish(
                place.owner, place.folder / "output.jsonl", batch.output, f"{batch.id}_output.jsonl", batch.keep
            )
            erred = publish(
                place.owner, place.folder / "errors.jsonl", batch.mistakes, f"{batch.id}_error.jsonl", batch.keep
            )
        batch = msgspec.structs.replace(batch.at(status, self.now()), wrote=wrote, erred=erred)
        self.write(place, batch)
        self.close(place)
        return batch

    def close(self, place: Place) -> None:
        """It is over."""
        for name in ("input.jsonl", "output.jsonl", "errors.jsonl", "cancel"):
            (place.folder / name).unlink(missing_ok=True)
        place.mark.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what is too old, and what crashes left."""
        with suppress(FileNotFoundError):
            for folder in list(self._root.iterdir()):
                if folder.name != "open" and folder.is_dir():
                    with locked(folder / "lock"):
                        self.files.sweep(folder.name)
                        self._sweep(folder.name)

    def _sweep(self, owner: str) -> None:
        now = self.now()
        for folder in self._folders(owner):
            batch = read(folder / "state.json", Batch)
            if batch is not None and batch.over and batch.created_at + DAYS * 86400 + WINDOW <= now:
                shutil.rmtree(folder, ignore_errors=True)

    def _folders(self, owner: str) -> Iterator[Path]:
        return (self._root / owner / "batches").glob("batch_*")


def name_of(caller: Caller | None) -> str:
    """Whose it is; where nobody is asked who they are, all is of the same one."""
    return "" if caller is None else caller.name
