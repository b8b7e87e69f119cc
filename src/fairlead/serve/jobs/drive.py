"""The job itself: cuts the input into shards, hands them to workers, writes down what is done, and joins the output."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairlead.contracts.errors import Busy, Cancelled, FairleadError, UsageError
from fairlead.contracts.tables import Piece, Tables
from fairlead.kit.clock import Clock
from fairlead.kit.files import held
from fairlead.kit.restarts import how_ended
from fairlead.serve.jobs import checkpoint
from fairlead.serve.jobs.checkpoint import Journal, Manifest, Places, Totals, rejected_name, shard_name, whole
from fairlead.serve.jobs.messages import Begin, Done, FromWorker, Ready, Score
from fairlead.serve.jobs.worker import Link
from fairlead.serve.messages import Failed, raised
from fairlead.serve.process import Command

GO_ON = "the same command with --resume goes on from the last shard"


@dataclass(slots=True)
class Progress:
    """``totals``: so far, with what a job before this one did.  ``share``: of the input, 0 to 1.  ``resumed``: shards
    that were there already.  ``seconds``: since this process began to score, and ``scored`` what it did itself."""

    totals: Totals = Totals()
    share: float = 0.0
    resumed: int = 0
    begun: float = 0.0
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """``shard_rows``: rows of a shard, about.  ``most``: rows that may be rejected before the job stops."""

    places: Places
    manifest: Manifest
    shard_rows: int
    workers: int
    command: Command
    env: Mapping[str, str]
    most: float = float("inf")


@dataclass(slots=True)
class Stop:
    """Set when the job must end early, with the error that says why."""

    error: Exception | None = None
    pids: list[subprocess.Popen[bytes]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self, error: Exception) -> None:
        """The first error counts. Workers end at once: what they had not finished leaves nothing."""
        with self.lock:
            if self.error is None:
                self.error = error
            for process in self.pids:
                with suppress(OSError):
                    process.kill()

    def add(self, process: subprocess.Popen[bytes]) -> None:
        with self.lock:
            self.pids.append(process)
            if self.error is not None:
                process.kill()


class Driver:
    """One run of a job. ``tell`` is called with the progress a few times a second, from the thread that runs it."""

    def __init__(
        self, plan: Plan, source: Tables, target: Tables, clock: Clock, tell: Callable[[Progress], None]
    ) -> None:
        self._plan = plan
        self._source = source
        self._target = target
        self._clock = clock
        self._tell = tell
        self._lock = threading.Lock()
        self._stop = Stop()
        self._shares: dict[int, float] = {}
        self.progress = Progress()

    def run(self, resume: bool) -> Totals:
        """To its end. Raises Busy, UsageError before anything is written; Cancelled when it was told to stop."""
        places, plan = self._plan.places, self._plan
        existing = _refuse(places, resume)
        with ExitStack() as stack:
            if not stack.enter_context(held(places.work / "lock")):
                raise Busy(f"another job writes to {places.out}; wait for its end, or name another output")
            begun = existing or checkpoint.read_manifest(places.work / "manifest.json")
            if begun is not None:
                why = checkpoint.differences(msgspec.structs.replace(begun, totals=None), plan.manifest)
                if why:
                    raise UsageError(f"--resume: {why}; give what the job began with, or name another output")
            if existing is not None and existing.totals is not None:  # complete: only its folder may be left
                _clear(places)
                self.progress.totals, self.progress.resumed = existing.totals, existing.totals.shards
                return existing.totals
            if begun is None:
                checkpoint.write_manifest(places.work / "manifest.json", plan.manifest)
            return self._score()

    def stop(self, number: int) -> None:
        """For a signal handler."""
        name = signal.Signals(number).name
        self._stop.now(Cancelled(f"stopped by {name} after {self.progress.totals.rows} rows; {GO_ON}"))

    def _score(self) -> Totals:
        places, form = self._plan.places, self._plan.places.form
        done = checkpoint.read_journal(
            places.work / "journal.jsonl", lambda index: (places.parts / shard_name(index, form)).exists()
        )
        _sweep(places)
        self.progress.resumed, self.progress.begun = len(done), self._clock.now()
        journal = Journal(places.work / "journal.jsonl")
        try:
            shards = self._shards(done)
            hands = [
                threading.Thread(target=self._hand, args=(at, shards, done, journal))
                for at in range(self._plan.workers)
            ]
            for hand in hands:
                hand.start()
            while any(hand.is_alive() for hand in hands):
                hands[0].join(0.1) if hands[0].is_alive() else next(h for h in hands if h.is_alive()).join(0.1)
                self._tell(self.progress)
        finally:
            journal.close()
        if self._stop.error is not None:
            raise self._stop.error
        return self._finish(done)

    def _shards(self, done: dict[int, Done]) -> Iterator[Score]:
        """What is left to do. Called by one thread at a time."""
        inputs = self._plan.manifest.inputs
        total, read, index, offset = sum(one.size for one in inputs) or 1, 0, 0, 0
        for file in inputs:
            rows = 0
            for piece in self._source.pieces(file, self._plan.shard_rows):
                self._shares[index] = (read + piece.share * file.size) / total
                if index in done:
                    self.progress.share = self._shares.pop(index)
                    self.progress.totals = self.progress.totals.plus(done[index])
                else:
                    yield Score(index, file, offset, piece)
                rows += piece.rows
                index += 1
            offset += rows
            read += file.size
        if not index and not done:
            yield Score(
                0, inputs[0], 0, Piece(0, 0, 1.0, header=tuple(field.name for field in self._source.fields(inputs[0])))
            )

    def _next(self, shards: Iterator[Score]) -> Score | None:
        with self._lock:
            return None if self._stop.error is not None else next(shards, None)

    def _hand(self, at: int, shards: Iterator[Score], done: dict[int, Done], journal: Journal) -> None:
        """One thread beside one worker process: it waits for the worker, and for nothing else."""
        try:
            with ExitStack() as stack:
                score: Score | None = None
                line: Link | None = None
                process: Any = None
                while (score := self._next(shards)) is not None:
                    if line is None:
                        process, line = self._started(at, stack)
                    line.send(score)
                    self._take(self._reply(line, process, score), done, journal)
        except Exception as error:  # noqa: BLE001 - whatever it is ends the job, with a sentence
            self._stop.now(error)

    def _take(self, reply: Done, done: dict[int, Done], journal: Journal) -> None:
        with self._lock:
            journal.add(reply)
            done[reply.index] = reply
            self.progress.totals = self.progress.totals.plus(reply)
            self.progress.share = max(self.progress.share, self._shares.pop(reply.index, 0.0))
            self.progress.rows += reply.scored + reply.rejected
            rejected, most = self.progress.totals.rejected, self._plan.most
        if rejected > most:
            raise FairleadError(
                f"{rejected} rows were rejected, and --max-rejected is {most:.0f} (first: {reply.reason}); "
                "mend the input, or allow more: with --resume the job goes on"
            )

    def _started(self, at: int, stack: ExitStack) -> tuple[Any, Link]:
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        with theirs:
            process = subprocess.Popen(  # noqa: S603 - our own command line
                self._plan.command(str(at), theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                env=self._plan.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                process_group=0,  # Ctrl-C is for the job
            )
        self._stop.add(process)
        stack.callback(_bury, process)
        stack.callback(ours.close)
        line = Link(ours, FromWorker)
        with suppress(OSError):
            line.send(Begin(self._plan.manifest.job))
        self._reply(line, process, None)
        return process, line

    def _reply(self, line: Link, process: Any, score: Score | None) -> Any:
        message = line.take()
        if isinstance(message, Failed):
            raise _with_remedy(raised(message)) if score is not None else raised(message)
        if isinstance(message, Done | Ready):
            return message
        ended = how_ended(process.wait())
        if score is None:
            raise FairleadError(f"a worker ended while it loaded the model ({ended})")
        first = score.offset + score.piece.first
        raise FairleadError(
            f"a worker ended ({ended}) in rows {first} to {first + score.piece.rows}: out of memory (take fewer "
            f"--workers or --shard-rows), or the model ends its process there; {GO_ON}"
        )

    def _finish(self, done: dict[int, Done]) -> Totals:
        """Join what is to be joined, then say that it is complete, then clear: each step can be done again."""
        places, form = self._plan.places, self._plan.places.form
        names = [done[index] for index in sorted(done)]
        totals = Totals()
        for one in names:
            totals = totals.plus(one)
        if places.single:
            with whole(places.out) as temporary:
                self._target.join([places.parts / shard_name(one.index, form) for one in names], temporary)
        rejected = [one.index for one in names if one.rejected]
        if not rejected:
            places.rejected.unlink(missing_ok=True)
        else:
            with whole(places.rejected) as temporary, temporary.open("wb") as joined:
                for index in rejected:
                    joined.write((places.work / rejected_name(index)).read_bytes())
        manifest = msgspec.structs.replace(self._plan.manifest, totals=totals)
        checkpoint.write_manifest(places.manifest, manifest)
        _clear(places)
        self.progress.totals, self.progress.share = totals, 1.0
        return totals


def _refuse(places: Places, resume: bool) -> Manifest | None:
    """The manifest of a complete job. Raises UsageError, Busy where this job may not begin."""
    there = places.out.exists()
    if there and not places.single:
        there = any(one != places.work for one in places.out.iterdir())
    begun = (places.work / "manifest.json").exists()
    complete = checkpoint.read_manifest(places.manifest) if there else None
    if resume:
        if there and not begun and complete is None:
            raise UsageError(f"--resume: {places.out} is there, and no job wrote it; name another output")
        return complete
    if begun and places.work.exists():
        with held(places.work / "lock") as alone:
            if not alone:
                raise Busy(f"another job writes to {places.out}; wait for its end, or name another output")
        raise UsageError(f"a job to {places.out} was begun and is not complete; --resume goes on with it")
    if there:
        raise UsageError(f"the output {places.out} exists; name another, or remove it")
    return None


def _clear(places: Places) -> None:
    if not places.work.is_dir():
        return
    for one in sorted(places.work.iterdir(), key=lambda path: path.name == "manifest.json"):
        one.unlink(missing_ok=True)
    with suppress(OSError):
        places.work.rmdir()
    _sweep(places)


def _sweep(places: Places) -> None:
    """Files that a worker was writing when it was killed."""
    for folder in {places.parts, places.work}:
        for left in folder.glob(".*.part") if folder.is_dir() else ():
            left.unlink(missing_ok=True)


def _with_remedy(error: FairleadError) -> FairleadError:
    return type(error)(f"{error}. {GO_ON[0].upper()}{GO_ON[1:]}")


def _bury(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
