"""A worker of a batch job: takes a shard, reads, scores and writes it, says so, takes the next."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import msgspec
import numpy as np

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.tables import Array, Block, Spoiled, Tables, Wanted, Writer
from fairlead.contracts.types import Signature, Tensors
from fairlead.serve.jobs.assemble import Refused, assemble
from fairlead.serve.jobs.checkpoint import rejected_name, shard_name, whole
from fairlead.serve.jobs.messages import Begin, Done, Job, Ready, Score, ToWorker
from fairlead.serve.messages import Failed, Reader, frame

BLOCK_ROWS = 8_192
"""Rows in memory at once, or those of one batch where that is more."""

Scored = Callable[[Tensors, int], Awaitable[tuple[Tensors | None, Refused]]]


class Link:
    """Whole messages over a blocking socket, in their order."""

    def __init__(self, link: socket.socket, kinds: Any) -> None:
        self._link = link
        self._reader = Reader(kinds)
        self._waiting: list[Any] = []

    def send(self, message: msgspec.Struct) -> None:
        self._link.sendall(frame(message))

    def take(self) -> Any:
        """The next message; None when the other side is gone."""
        while not self._waiting:
            try:
                data = self._link.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                return None
            self._waiting = self._reader.feed(data)
        return self._waiting.pop(0)


def orphaned(link: socket.socket) -> None:
    """End this process as soon as the job that started it is gone."""

    def wait() -> None:
        poll = select.poll()
        poll.register(link, select.POLLRDHUP if hasattr(select, "POLLRDHUP") else select.POLLHUP)
        poll.poll()
        os._exit(1)

    threading.Thread(target=wait, name="fairlead-orphaned", daemon=True).start()


async def work(
    link: socket.socket, loaded: Callable[[Job], tuple[Signature, Scored]], tables: Callable[[str], Tables]
) -> None:
    """Until the other side hangs up. ``loaded``: the model's signature, and what scores rows."""
    line = Link(link, ToWorker)
    begin = line.take()
    if not isinstance(begin, Begin):
        return
    orphaned(link)
    signature, scored = loaded(begin.job)
    line.send(Ready())
    shards = Shards(begin.job, signature, scored, tables(begin.job.reads), tables(begin.job.writes))
    while (message := line.take()) is not None:
        line.send(await shards.write(message))


def failed(error: FairleadError) -> Failed:
    return Failed(error.code, str(error))


class Shards:
    """Writes the shards of a job."""

    def __init__(self, job: Job, signature: Signature, scored: Scored, source: Tables, target: Tables) -> None:
        self._job = job
        self._signature = signature
        self._scored = scored
        self._source = source
        self._target = target
        self._wanted = Wanted(job.chosen.needs, job.layout.kept)
        self._rows = max(job.rows, BLOCK_ROWS // job.rows * job.rows)

    async def write(self, score: Score) -> Done:
        """The shard and the rows that it could not score, each there whole or not at all."""
        job, scored = self._job, 0
        spoiled = Rejects(Path(job.work) / rejected_name(score.index))
        with ExitStack() as stack:
            temporary = stack.enter_context(whole(Path(job.parts) / shard_name(score.index, job.writes)))
            stack.enter_context(spoiled)
            writer = self._target.write(temporary, job.layout)
            try:
                for block in self._blocks(score):
                    scored += await self._block(block, score.offset, writer, spoiled)
            finally:
                writer.close()
        return Done(score.index, scored, spoiled.count, spoiled.reason)

    def _blocks(self, score: Score) -> Iterator[Block]:
        yield from self._source.read(score.file, score.piece, self._wanted, self._rows)

    async def _block(self, block: Block, offset: int, writer: Writer, spoiled: Rejects) -> int:
        rows = block.rows + offset
        inputs, left, refused = assemble(block, self._job.chosen, self._signature)
        picked = np.arange(len(rows)) if left is None else left
        outputs: Tensors | None = None
        if len(picked):
            outputs, failing = await self._scored(inputs, len(picked))
            if failing:
                refused |= {int(picked[at]): reason for at, reason in failing.items()}
                picked = np.delete(picked, list(failing))
        found = [Spoiled(one.row + offset, one.shown, one.reason) for one in block.spoiled]
        found += [Spoiled(int(rows[at]), block.shown(at), reason) for at, reason in refused.items()]
        for one in sorted(found, key=lambda one: one.row):
            spoiled.add(one)
        if outputs is None:
            return 0
        every = len(picked) == len(rows)
        kept = block.kept if every or block.kept is None else block.kept.take(picked)
        writer.write(rows if every else _of(rows, picked), outputs, kept)
        return len(picked)


class Rejects:
    """A file of rejected rows; none where there are none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._file: Any = None
        self.count = 0
        self.reason = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: Any) -> bool | None:  # noqa: PYI036 - passed on as they are
        if self._file is not None:
            self._file.close()
        return self._stack.__exit__(*failure)

    def add(self, one: Spoiled) -> None:
        if self._file is None:
            self._file = self._stack.enter_context(whole(self._path)).open("wb")
        line = {"row": one.row, "reason": one.reason, "values": one.shown}
        self._file.write(msgspec.json.encode(line, enc_hook=str) + b"\n")
        self.count += 1
        self.reason = self.reason or f"row {one.row}: {one.reason}"


def _of(rows: Array, picked: Array) -> Array:
    found: Array = rows[picked]
    return found
