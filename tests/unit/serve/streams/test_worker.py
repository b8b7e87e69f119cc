"""The worker on a broker in memory: every message has one outcome, whatever the model and the broker do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from fairlead.contracts.broker import Outgoing, Place, Since
from fairlead.contracts.errors import BodyTooLarge, UsageError
from fairlead.contracts.runtime import LoadedModel
from fairlead.kit.clock import SystemClock
from fairlead.serve.batcher import Policy
from fairlead.serve.catalog import Catalog
from fairlead.serve.endpoint import Live, Placement
from fairlead.serve.pipeline import Pipeline
from fairlead.serve.streams.deciding import Patience, Wait
from fairlead.serve.streams.settings import Ends, StreamSettings
from fairlead.serve.streams.worker import StreamWorker
from fairlead.testing.brokers import MemoryHub, MemorySource
from fairlead.testing.models import EchoModel, FailingModel, RecordingModel, SlowModel
from fairlead.testing.sinks import MemoryMeter

QUICK = Wait(first=0.005, most=0.02)
SECONDS = 10.0


def place(name: str) -> Place:
    return Place("memory", "here", name)


class Stage:
    """A worker between ``in`` and ``out``, with ``dead`` where asked for."""

    def __init__(self, model: LoadedModel, *, dead: bool = True, since: Since | None = None, **more: Any) -> None:
        self.hub = MemoryHub()
        for name in ("in", "out", "dead"):
            self.hub.create(name)
        self._model, self._dead, self._since = model, dead, since
        self.policy = more.pop("policy", Policy())
        self._settings = StreamSettings(patience=more.pop("patience", Patience(3, 3, QUICK)), wait=QUICK, **more)

    def send(self, *bodies: Any, key: str = "", **headers: str) -> None:
        for body in bodies:
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.hub.put("in", Outgoing(raw, headers, key))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[StreamWorker]:
        """The worker is stopped at the end of the block, and must then end."""
        clock, catalog = SystemClock(), Catalog()
        self.live = Live(
            "m",
            "7",
            self._model,
            policy=self.policy,
            placement=Placement(inline=False),
            meter=MemoryMeter(),
            clock=clock,
            loop=asyncio.get_running_loop(),
            deadline=30.0,
        )
        catalog.put(self.live)
        self.source: MemorySource = await self.hub.broker(place("in")).source("g", "one", self._since)
        answers = await self.hub.broker(place("out")).target()
        dead = await self.hub.broker(place("dead")).target() if self._dead else None
        ends = Ends(place("in"), "g", self.source, place("out"), answers, dead, place("dead") if dead else None)
        worker = StreamWorker(Pipeline(catalog, clock), "m", ends, self._settings, clock)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            self.hub.changed.set()
            self.counts = await asyncio.wait_for(task, SECONDS)
            await self.source.close()
            self.live.close()

    async def until(self, name: str, count: int) -> list[Any]:
        """The messages of a stream, once there are so many."""
        async with asyncio.timeout(SECONDS):
            while len(self.hub.logs[name]) < count:
                await asyncio.sleep(0.005)
        return self.hub.logs[name]

    @property
    def unsettled(self) -> int:
        group = self.hub.group("in", "g")
        return len(group.given) + len(group.back)


async def test_answers_carry_what_they_answer() -> None:
    stage = Stage(EchoModel())
    stage.send({"x": [1, 2]}, key="k", traceparent="00-a-b-01")
    async with stage.running():
        (answer,) = await stage.until("out", 1)
    assert json.loads(answer.body) == {"y": [1.0, 2.0]}
    assert answer.key == "k"
    assert answer.headers["traceparent"] == "00-a-b-01"
    assert answer.headers["fairlead-version"] == "7"
    assert answer.headers["fairlead-source-id"] == "1"
    assert answer.headers["idempotency-key"].startswith("g:in:1@")
    assert answer.headers["x-request-id"]
    assert stage.unsettled == 0
    assert stage.counts["answered"] == stage.counts["messages"] == 1
    assert stage.counts["lag"] == 0


async def test_messages_ride_together() -> None:
    model = RecordingModel()
    stage = Stage(model)
    stage.send(*({"x": [number, 0]} for number in range(200)))
    async with stage.running():
        await stage.until("out", 200)
    assert len(model.rows) < 50, "many messages a batch"


async def test_answers_of_a_key_keep_the_order_of_its_messages() -> None:
    """Messages of two shapes ride in different batches and are done in another order."""
    stage = Stage(FailingModel(mark=13.0))
    stage.hub.failing = 3
    for number in range(60):
        stage.send({"x": [float(number % 20), number]}, key=f"k{number % 3}")
    async with stage.running():
        await stage.until("out", 57)
        await stage.until("dead", 3)
    for key in ("k0", "k1", "k2"):
        order = [json.loads(one.body)["y"][1] for one in stage.hub.logs["out"] if one.key == key]
        assert order == sorted(order)
        assert len(order) == 19


async def test_what_is_wrong_with_a_message_makes_it_a_dead_letter_at_once() -> None:
    stage = Stage(EchoModel())
    stage.send(b"{", {"z": 1}, {"x": [1, 2]}, key="k")
    async with stage.running():
        dead = await stage.until("dead", 2)
        await stage.until("out", 1)
    assert [one.body for one in dead] == [b"{", b'{"z": 1}']
    assert [one.headers["fairlead-attempts"] for one in dead] == ["1", "1"]
    assert dead[0].headers["fairlead-error-code"] == "malformed_body"
    assert "'z'" in dead[1].headers["fairlead-error"]
    assert stage.counts["dead_lettered"] == 2
    assert stage.unsettled == 0


async def test_a_model_that_fails_is_tried_again_and_its_batch_mates_are_answered() -> None:
    stage = Stage(FailingModel(mark=-1.0))
    stage.send({"x": [1, 0]}, {"x": [-1, 0]}, {"x": [2, 0]})
    async with stage.running():
        (dead,) = await stage.until("dead", 1)
        await stage.until("out", 2)
    assert dead.headers["fairlead-error-code"] == "model_failed"
    assert dead.headers["fairlead-attempts"] == "3"
    assert stage.counts["retried"] == 2


async def test_without_a_place_for_dead_letters_the_error_is_the_answer() -> None:
    stage = Stage(EchoModel(), dead=False)
    stage.send(b"{")
    async with stage.running():
        (answer,) = await stage.until("out", 1)
    assert json.loads(answer.body)["code"] == "malformed_body"
    assert stage.counts["dead_lettered"] == 1
    assert stage.counts["answered"] == 0


async def test_a_full_queue_is_waited_for() -> None:
    stage = Stage(EchoModel(), policy=Policy(queue_calls=1), patience=Patience(1000, 3, QUICK))
    stage.send(*({"x": [number, 0]} for number in range(40)))
    async with stage.running():
        await stage.until("out", 40)
    assert stage.hub.logs["dead"] == []
    assert stage.counts["retried"] > 0


async def test_no_more_is_in_hand_than_may_be() -> None:
    model = SlowModel()
    stage = Stage(model, in_flight=8)
    stage.send(*({"x": [number, 0]} for number in range(50)))
    async with stage.running() as worker:
        await asyncio.sleep(0.1)
        assert worker.counts.messages == 8
        assert stage.unsettled == 8
        assert await stage.source.lag() == 42
        model.release.set()
        await stage.until("out", 50)
    assert stage.unsettled == 0


async def test_nothing_is_acknowledged_before_its_answer_is_stored() -> None:
    stage = Stage(EchoModel())
    stage.hub.failing = 10**9
    stage.send({"x": [1, 2]})
    async with stage.running() as worker:
        await asyncio.sleep(0.1)
        assert stage.unsettled == 1
        assert worker.counts.answered == 0
        stage.hub.failing = 0
        await stage.until("out", 1)
    assert stage.unsettled == 0


async def test_a_broker_that_goes_away_is_waited_for_and_nothing_is_lost() -> None:
    stage = Stage(EchoModel())
    async with stage.running():
        for number in range(300):
            stage.send({"x": [number, 0]}, key=f"k{number % 7}")
            if number % 100 == 50:
                stage.hub.down = True
                await asyncio.sleep(0.03)
                stage.hub.down = False
            await asyncio.sleep(0)
        await stage.until("out", 300)
    values = [json.loads(one.body)["y"][0] for one in stage.hub.logs["out"]]
    assert sorted(values) == list(range(300))
    for key in range(7):
        order = [value for value in values if value % 7 == key]
        assert order == sorted(order)
    assert stage.counts["broker_away"] >= 1
    assert stage.unsettled == 0


async def test_a_message_that_ended_its_workers_is_given_up() -> None:
    stage = Stage(EchoModel(), patience=Patience(3, 2, QUICK))
    stage.send({"x": [1, 2]})
    for _ in range(2):  # two workers take it and end
        source = await stage.hub.broker(place("in")).source("g", "gone")
        assert len(await source.fetch(1, 0.1)) == 1
        await source.close()
    async with stage.running():
        (dead,) = await stage.until("dead", 1)
    assert dead.headers["fairlead-deliveries"] == "3"
    assert dead.headers["fairlead-attempts"] == "0"
    assert stage.counts["redelivered"] == 1


async def test_what_the_destination_can_never_hold_is_a_dead_letter() -> None:
    stage = Stage(EchoModel())
    stage.send([{"x": [1, 2]}] * 50, {"x": [3, 4]})
    stage.hub.largest = 700
    async with stage.running():
        (dead,) = await stage.until("dead", 1)
        await stage.until("out", 1)
    assert dead.headers["fairlead-error-code"] == "body_too_large"
    assert dead.headers["fairlead-body"].startswith("left out")
    assert stage.unsettled == 0
    assert stage.counts["dead_lettered"] == 1


async def test_a_stop_finishes_what_is_in_hand() -> None:
    model = SlowModel()
    stage = Stage(model, in_flight=4)
    stage.send(*({"x": [number, 0]} for number in range(10)))
    async with stage.running() as worker:
        await asyncio.sleep(0.05)
        worker.stop()
        await asyncio.sleep(0.05)
        model.release.set()
    assert len(stage.hub.logs["out"]) == stage.counts["answered"] == 4
    assert stage.counts["unfinished"] == 0
    assert stage.unsettled == 0
    assert stage.hub.group("in", "g").next == 4


async def test_what_the_grace_time_does_not_suffice_for_is_given_back() -> None:
    model = SlowModel()
    stage = Stage(model, grace=0.05)
    stage.send({"x": [1, 0]})
    async with stage.running():
        await asyncio.sleep(0.05)
    model.release.set()
    assert stage.counts["unfinished"] == 1
    assert stage.unsettled == 1


async def test_a_replay_ends_by_itself_and_the_group_does_not_notice() -> None:
    stage = Stage(EchoModel(), since=Since(id="3"))
    stage.send(*({"x": [number, 0]} for number in range(5)))
    async with stage.running():
        await stage.until("out", 3)
        await asyncio.sleep(0.05)
        stage.send({"x": [9, 9]})
    assert stage.counts["answered"] == 3
    assert [json.loads(one.body)["y"][0] for one in stage.hub.logs["out"]] == [2, 3, 4]
    assert stage.hub.group("in", "g").next == 0


async def to_its_end(stage: Stage) -> None:
    """Run a worker that ends by a fault."""
    try:
        async with stage.running() as worker:
            if stage.hub.largest > 0:
                worker._targets[0].publish = faulty  # type: ignore[method-assign]
            await asyncio.sleep(0.2)
    finally:
        await stage.source.close()
        stage.live.close()


async def faulty(_: object) -> list[Any]:
    raise RuntimeError("a fault of the adapter")


async def test_what_is_no_trouble_of_a_broker_ends_the_worker() -> None:
    stage = Stage(EchoModel())
    stage.send({"x": [1, 2]})
    with pytest.raises(RuntimeError, match="a fault of the adapter"):
        await to_its_end(stage)
    assert stage.unsettled == 1


async def test_a_destination_that_holds_nothing_ends_the_worker() -> None:
    stage = Stage(EchoModel())
    stage.send({"x": [1, 2]})
    stage.hub.largest = -1
    with pytest.raises(BodyTooLarge):
        await to_its_end(stage)
    assert stage.unsettled == 1


@pytest.mark.parametrize(("settings", "option"), [({"in_flight": 0}, "--in-flight"), ({"grace": -1}, "--grace")])
def test_settings_have_limits(settings: dict[str, Any], option: str) -> None:
    with pytest.raises(UsageError, match=option):
        StreamSettings(**settings)


async def test_it_ends_though_a_broker_library_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    stage, swallowed = Stage(EchoModel(), report=0.01), 0

    async def deaf(_: MemorySource) -> None:
        nonlocal swallowed
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0 if swallowed else 3600)
            return
        swallowed += 1

    monkeypatch.setattr(MemorySource, "hold", deaf)
    async with stage.running():
        await asyncio.sleep(0.05)
    assert swallowed  # once, or again where the second cancellation met it too: it ended all the same
