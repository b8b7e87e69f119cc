"""What is recorded, in what pieces, and what becomes of it when a recorder fails."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest

from fairlead.contracts.errors import ModelFailed, StorageFull
from fairlead.contracts.events import Columns
from fairlead.contracts.types import Reply, Tensors
from fairlead.kit.clock import SystemClock
from fairlead.serve import handover
from fairlead.serve import recording as module
from fairlead.serve.call import Call
from fairlead.serve.columns import Keeping
from fairlead.serve.recording import Recording
from fairlead.testing.sinks import MemorySink


class Recorder:
    """Fails ``failures`` times, then takes everything."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[Columns] = []
        self.closed = threading.Event()
        self.trouble = ""

    def record(self, batch: Sequence[Columns]) -> None:
        if batch and self.failures:
            self.failures -= 1
            raise StorageFull("no room")
        self.taken.extend(batch)

    def close(self) -> None:
        self.closed.set()

    @property
    def ids(self) -> list[str]:
        return [identity for columns in self.taken for identity in columns.ids]


def call(value: float, *, fails: bool = False) -> Call:
    made = Call({"x": np.array([[value]])}, 1, lambda _: None, arrived=SystemClock.now())
    outputs: Tensors = {"y": np.array([[value * 2]])}
    made.finish(ModelFailed("no") if fails else Reply(outputs, "churn", "1"))
    return made


async def record(recorders: dict[str, Recorder], calls: Sequence[Call], keeping: Keeping | None = None) -> list[str]:
    sink = MemorySink()
    recording = Recording(lambda: recorders, sink, SystemClock(), lambda _: keeping or Keeping())
    tape = recording.tape("churn", "1", propensity=0.25)
    recording.start()
    ids = [tape.add(one, 0.5, unit="u" if at % 2 else "") for at, one in enumerate(calls)]
    await recording.stop()
    record.sink = sink  # type: ignore[attr-defined]
    return ids


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(handover, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(handover, "GRACE", 0.2)
    monkeypatch.setattr(module, "STOP_SECONDS", 0.5)
    monkeypatch.setattr(module, "CUT_CALLS", 100)


async def test_every_call_is_recorded_in_order_with_its_id() -> None:
    recorder = Recorder()
    calls = [call(at, fails=at == 3) for at in range(250)]
    ids = await record({"memory": recorder}, calls)
    assert recorder.ids == ids
    assert len(set(ids)) == 250
    assert [len(columns) for columns in recorder.taken] == [100, 100, 50]
    first = recorder.taken[0]
    assert first.code[2:5] == ["", "model_failed", ""]
    assert first.rows[2:5].tolist() == [1, 0, 1]
    assert first.features["x"][:4, 0].tolist() == [0, 1, 2, 4]
    assert first.outputs["y"][:4, 0].tolist() == [0, 2, 4, 8]
    assert (first.arm, first.propensity, first.weight) == ("champion", 0.25, 1.0)
    assert list(first.unit[:4]) == ["", "u", "", "u"]
    assert abs(int(first.at_ms[0]) - SystemClock.wall_ms()) < 5_000
    assert recorder.closed.is_set()
    assert record.sink.kept["memory"] == 250  # type: ignore[attr-defined]


async def test_a_sampled_call_does_not_hold_its_batch() -> None:
    tape = Recording(dict, MemorySink(), SystemClock(), lambda _: Keeping(sample=0.999999)).tape("churn", "1")
    one = call(1)
    one.ride, one.place = ({"x": np.zeros((64, 1))}, {"y": np.zeros((64, 1))}), 5
    tape.add(one, 0.5)
    cut = tape.cut()
    assert cut is not None
    assert not any(value is one.ride for value in cut.flat)


async def test_the_business_key_of_a_call_is_kept() -> None:
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    tape = recording.tape("churn", "1")
    recording.start()
    tape.add(call(0), 0.5)
    tape.add(call(1), 0.5, headers={b"fairlead-key": "Zoë".encode(), b"host": b"h"})
    tape.add(call(2), 0.5, headers={b"host": b"h"})
    await recording.stop()
    assert [key for columns in recorder.taken for key in columns.entity] == [None, "Zoë", None]


async def test_a_recorder_that_fails_gets_the_same_again_and_the_other_does_not() -> None:
    failing, well = Recorder(failures=3), Recorder()
    ids = await record({"failing": failing, "well": well}, [call(at) for at in range(150)])
    assert failing.ids == ids
    assert well.ids == ids


async def test_what_a_recorder_never_takes_is_counted_as_dropped() -> None:
    recorder = Recorder(failures=1_000_000)
    await record({"memory": recorder}, [call(at) for at in range(150)])
    assert recorder.ids == []
    assert record.sink.dropped["memory"] == 150  # type: ignore[attr-defined]


async def test_a_full_queue_drops_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "QUEUE_CALLS", 200)
    recorder = Recorder()
    queue = handover.Handover("memory", recorder, MemorySink(), SystemClock())
    recording = Recording(dict, MemorySink(), SystemClock())
    tape = recording.tape("churn", "1")
    cuts: list[list[module.Cut]] = []
    monkeypatch.setattr(recording, "_take", cuts.append)
    ids = [tape.add(call(at), 0.1) for at in range(500)]
    for (cut,) in cuts:
        queue.put([(module._columns(cut), cut.size)])
    assert queue.flush()
    assert recorder.ids == ids[300:]


async def test_a_full_tape_takes_the_others_with_it() -> None:
    """Whoever compares two versions must see both up to the same moment."""
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    busy, quiet = recording.tape("churn", "1"), recording.tape("churn", "2", "candidate")
    quiet.add(call(0), 0.1)
    for at in range(module.CUT_CALLS):
        busy.add(call(at), 0.1)
    (moment,) = recording._cuts
    assert {cut.tape: cut.calls for cut in moment} == {busy: module.CUT_CALLS, quiet: 1}


async def test_versions_are_handed_over_together_however_slow_the_writer_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A recorder that asks while columns are made gets both arms of a moment or none: else a split looks uneven."""
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    arms = [recording.tape("churn", str(at), arm) for at, arm in enumerate(("champion", "candidate"))]
    queue = handover.Handover("memory", recorder, MemorySink(), SystemClock())
    recording._handovers = [queue]
    made = module._columns

    def slow(cut: module.Cut) -> Columns:
        assert queue.flush()  # the recorder's thread has its turn just now
        return made(cut)

    monkeypatch.setattr(module, "_columns", slow)
    for _ in range(5):
        for arm in arms:
            arm.add(call(1), 0.1)
        recording.cut()
        recording._fold()
        assert len(recorder.taken) % 2 == 0
    assert queue.flush()
    assert sorted(columns.arm for columns in recorder.taken) == ["candidate"] * 5 + ["champion"] * 5


async def test_a_full_queue_drops_both_arms_of_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "QUEUE_CALLS", 3)
    recorder = Recorder()
    recording = Recording(dict, MemorySink(), SystemClock())
    arms = [recording.tape("churn", str(at), arm) for at, arm in enumerate(("champion", "candidate"))]
    recording._handovers = [queue := handover.Handover("memory", recorder, MemorySink(), SystemClock())]
    for _ in range(3):
        for arm in arms:
            arm.add(call(1), 0.1)
        recording.cut()
    recording._fold()
    assert queue.flush()
    assert sorted(columns.arm for columns in recorder.taken) == ["candidate", "champion"]


async def test_a_sampled_endpoint_says_what_each_call_stands_for() -> None:
    recorder = Recorder()
    ids = await record({"memory": recorder}, [call(at) for at in range(400)], Keeping(sample=0.25))
    assert 50 < len(recorder.ids) < 160  # 100 expected; 5 standard deviations
    assert set(recorder.ids) < set(ids)
    assert recorder.taken[0].weight == 4.0


async def test_large_calls_are_cut_by_their_bytes() -> None:
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    tape = recording.tape("churn", "1")
    recording.start()
    for at in range(4):
        tape.add(call(at), 0.1, size=module.CUT_BYTES // 2)
    await recording.stop()
    assert [len(columns) for columns in recorder.taken] == [2, 2]


async def test_a_shadow_keeps_what_the_champion_said() -> None:
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    tape = recording.tape("churn", "2", "shadow")
    recording.start()
    tape.add(call(1), 0.1, pair=({"y": np.array([[7.0]])}, 0.2))
    tape.add(call(2, fails=True), 0.1, pair=({"y": np.array([[8.0]])}, 0.3))
    await recording.stop()
    (columns,) = recorder.taken
    assert columns.paired["y"].tolist() == [[7.0]]
    assert columns.paired_seconds is not None
    assert columns.paired_seconds.tolist() == [0.2]


async def test_a_recorder_that_cannot_be_opened_is_told_and_serving_goes_on() -> None:
    def broken() -> dict[str, Recorder]:
        raise StorageFull("no room")

    sink = MemorySink()
    recording = Recording(broken, sink, SystemClock())
    tape = recording.tape("churn", "1")
    recording.start()
    for at in range(5):
        tape.add(call(at), 0.1)
    await recording.stop()
    assert recording.troubles() == ["events are not kept by the writer: no room"]
    assert sink.dropped["writer"] == 5


async def test_what_was_answered_before_the_writer_began_is_kept() -> None:
    recorder = Recorder()
    recording = Recording(lambda: {"memory": recorder}, MemorySink(), SystemClock())
    identity = recording.tape("churn", "1").add(call(1), 0.1)
    await recording.stop()
    assert recorder.ids == [identity]


async def test_cuts_that_the_writer_does_not_take_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUE_CALLS", 200)
    sink = MemorySink()
    recording = Recording(dict, sink, SystemClock())  # not started
    tape = recording.tape("churn", "1")
    for at in range(500):
        tape.add(call(at), 0.1)
    assert sink.dropped["writer"] == 300


class Stuck(Recorder):
    """Does not answer until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def record(self, batch: Sequence[Columns]) -> None:
        if batch:
            self.go.wait(20)
        super().record(batch)


async def test_a_recorder_that_does_not_answer_holds_up_no_other_and_catches_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handover, "SILENT", 0.1)
    stuck, well, sink = Stuck(), Recorder(), MemorySink()
    recording = Recording(lambda: {"stuck": stuck, "well": well}, sink, SystemClock())
    tape = recording.tape("churn", "1")
    recording.start()
    first = [tape.add(call(at), 0.1) for at in range(100)]
    ends = time.monotonic() + 5
    while well.ids != first or not recording.troubles() or not sink.down.get("stuck"):
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    assert "events are not kept by stuck: no answer for" in recording.troubles()[0]
    later = [tape.add(call(at), 0.1) for at in range(100)]
    stuck.go.set()
    ends = time.monotonic() + 5
    while stuck.ids != first + later or recording.troubles() or sink.down["stuck"]:
        assert time.monotonic() < ends
        await asyncio.sleep(0.01)
    await recording.stop()
    assert well.ids == first + later
    assert sink.kept == {"stuck": 200, "well": 200}


async def test_a_recorder_that_never_answers_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, well, sink = Stuck(), Recorder(), MemorySink()
    recording = Recording(lambda: {"stuck": stuck, "well": well}, sink, SystemClock())
    tape = recording.tape("churn", "1")
    recording.start()
    ids = [tape.add(call(at), 0.1) for at in range(100)]
    began = time.monotonic()
    await recording.stop()
    assert time.monotonic() - began < 3
    assert well.ids == ids
    assert well.closed.is_set()
    assert sink.dropped["stuck"] == 100
    stuck.go.set()
