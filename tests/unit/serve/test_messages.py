"""Messages between the supervisor and its workers, as bytes."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.contracts.errors import BrokenModel, FairleadError, UsageError
from fairlead.serve.messages import (
    LARGEST,
    Accepted,
    Closed,
    Collect,
    Do,
    Done,
    Drain,
    Failed,
    Leaving,
    Listen,
    Measure,
    Measured,
    Measurements,
    Message,
    Missed,
    Order,
    Outcome,
    Reader,
    Ready,
    Taken,
    ToSupervisor,
    ToWorker,
    Whole,
    frame,
    raised,
)

TO_WORKER: list[Message] = [
    Accepted(1, "127.0.0.1"),
    Drain(0.25),
    Listen(),
    Measure(),
    Whole(3, [Measurements("0", b"x 1\n", True)]),
    Do(4, "unload", "churn"),
    Outcome(5, "not_found", "there is no endpoint"),
]
TO_SUPERVISOR: list[Message] = [
    Ready([("churn", "3")]),
    Failed("usage", "no such thing"),
    Order(5, "load", "churn"),
    Done(4, "", ""),
    Leaving(),
    Taken(1),
    Missed(2),
    Closed(["127.0.0.1", ""]),
    Measured(b"\x00\xff"),
    Collect(9, b"text"),
]


@pytest.mark.parametrize(("kinds", "messages"), [(ToWorker, TO_WORKER), (ToSupervisor, TO_SUPERVISOR)])
@pytest.mark.parametrize("size", [1, 3, 7, 10_000])
def test_there_and_back_however_it_is_cut(kinds: object, messages: list[Message], size: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    reader = Reader(kinds)
    found = [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])]
    assert found == messages


def test_every_message_is_tried_here() -> None:
    tried = {type(message) for message in (*TO_WORKER, *TO_SUPERVISOR)}
    assert tried == set(Message.__subclasses__())


def test_what_is_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        Reader(ToWorker).feed((LARGEST + 1).to_bytes(4, "big"))
    with pytest.raises(msgspec.ValidationError):
        Reader(ToWorker).feed(frame(Taken(1)))  # of the other direction


def test_an_error_crosses_with_its_kind() -> None:
    for error in (UsageError("two models"), BrokenModel("cut short"), FairleadError("else")):
        again = raised(Failed(error.code, str(error)))
        assert (type(again), str(again)) == (type(error), str(error))
    assert type(raised(Failed("of_a_plugin", "words"))) is FairleadError
