"""Files of callers: each caller finds their own, and nobody else's. All of it blocks, and is for a thread."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from fairlead.contracts.errors import NotFound
from fairlead.kit.clock import Clock
from fairlead.kit.files import locked, write_whole
from fairlead.serve.llm.batches.disk import DAYS, old, over, owner_of, read, sync, writing
from fairlead.serve.llm.batches.records import File, fresh, is_id

FILES: Final = 1000
"""Of one caller."""
BYTES: Final = 2 * 1024**3
"""Of one caller, all together."""


class Files:
    """``size``: bytes of all files of one caller.  ``most``: of them."""

    def __init__(self, root: Path, clock: Clock, size: int = BYTES, most: int = FILES) -> None:
        self._root, self._clock = root, clock
        self._size, self._most = size, most

    def now(self) -> int:
        """Unix seconds."""
        return self._clock.wall_ms() // 1000

    def put(self, caller: str, filename: str, data: bytes, keep: int = 0) -> File:
        """A new file. ``keep``: seconds; 0: as long as all are. Raises StorageFull, and RateLimited over a bound."""
        owner, now = owner_of(caller), self.now()
        with writing(), locked(self._root / owner / "lock"):
            self.sweep(owner)
            held = self.all(caller)
            if len(held) >= self._most:
                raise over(f"you have {len(held)} files here, and {self._most} are kept of a caller: delete some")
            used = sum(one.bytes for one in held)
            if used + len(data) > self._size:
                raise over(
                    f"this file has {len(data)} bytes and your others {used}; {self._size} are kept of a "
                    "caller: delete some"
                )
            ends = now + (keep or DAYS * 86400)
            file = File(fresh("file-", self._clock.wall_ms()), len(data), now, ends, filename, "batch")
            write_whole(self.bytes(owner, file.id), data)
            self._tell(owner, file)
        return file

    def get(self, caller: str, identity: str) -> File:
        """Raises NotFound."""
        found = self._file(owner_of(caller), identity)
        if found is None:
            raise NotFound(identity)
        return found

    def all(self, caller: str) -> list[File]:
        """The newest first."""
        owner = owner_of(caller)
        found = (self._file(owner, path.stem) for path in (self._root / owner / "files").glob("file-*.json"))
        return sorted((one for one in found if one is not None), key=lambda one: one.id, reverse=True)

    def data(self, caller: str, identity: str) -> Path:
        """Where the bytes are. Raises NotFound."""
        self.get(caller, identity)
        return self.bytes(owner_of(caller), identity)

    def remove(self, caller: str, identity: str) -> None:
        """Raises NotFound."""
        self.get(caller, identity)
        self._drop(owner_of(caller), identity)

    def publish(self, owner: str, source: Path, identity: str, filename: str, keep: int) -> bool:
        """What a batch wrote becomes a file; once more changes nothing. False where it wrote nothing."""
        target = self.bytes(owner, identity)
        size = source.stat().st_size if source.exists() else 0
        if not size:
            return target.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            os.link(source, target)
        now = self.now()
        self._tell(owner, File(identity, size, now, now + keep, filename, "batch_output"))
        return True

    def sweep(self, owner: str) -> None:
        """Remove what is too old, and what crashes left."""
        now = self.now()
        with suppress(FileNotFoundError):
            for path in list((self._root / owner / "files").iterdir()):
                lone = path.name.startswith(".")
                told = read(path, File) if path.suffix == ".json" and not lone else None
                if told is not None and told.expires_at <= now:
                    self._drop(owner, told.id)
                elif (lone or not path.with_suffix(".json").exists()) and old(path, now):
                    path.unlink(missing_ok=True)

    def bytes(self, owner: str, identity: str) -> Path:
        return self._root / owner / "files" / f"{identity}.jsonl"

    def _tell(self, owner: str, file: File) -> None:
        path = self.bytes(owner, file.id).with_suffix(".json")
        try:
            write_whole(path, msgspec.json.encode(file))
            sync(path.parent)
        except BaseException:
            self.bytes(owner, file.id).unlink(missing_ok=True)
            raise

    def _file(self, owner: str, identity: str) -> File | None:
        if not is_id(identity, "file-"):
            return None
        found = read(self.bytes(owner, identity).with_suffix(".json"), File)
        return found if found is not None and found.expires_at > self.now() else None

    def _drop(self, owner: str, identity: str) -> None:
        path = self.bytes(owner, identity)
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
