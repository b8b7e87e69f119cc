"""What crosses between a batch job and its workers arrives as it was sent."""

from __future__ import annotations

import msgspec
import pytest

from fairlead.contracts.tables import Found, Layout, Need, Output, Piece
from fairlead.contracts.types import DataType
from fairlead.serve.jobs.columns import Chosen, Source
from fairlead.serve.jobs.messages import Begin, Done, FromWorker, Job, Ready, Score, Sent, ToWorker
from fairlead.serve.messages import Failed, Reader, frame

CHOSEN = Chosen((Source("X", ("p", "q")),), {"p": Need(DataType.FP32), "q": Need(DataType.BYTES, -1, blanks=True)})
LAYOUT = Layout((Output("y", "y", DataType.FP32, (-1, 2)),), b"\x00\xff", ("in.row",))
JOB = Job("models:/m/1", "1", "d", 64, "csv", "parquet", CHOSEN, LAYOUT, "p", "w", trust_pickle=True)
TO_WORKER = [Begin(JOB), Score(3, Found("a.csv", 9, 1), 100, Piece(5, 2, 0.5, 1, 2, ("p", "q"), b"1,2\n\xff,4\n"))]
FROM_WORKER = [Ready(), Done(3, 90, 2, "row 7: bad"), Failed("storage_full", "no room")]


@pytest.mark.parametrize(("kinds", "messages"), [(ToWorker, TO_WORKER), (FromWorker, FROM_WORKER)])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_there_and_back_however_it_is_cut(kinds: object, messages: list[msgspec.Struct], size: int) -> None:
    stream = b"".join(frame(message) for message in messages)
    reader = Reader(kinds)
    assert [one for at in range(0, len(stream), size) for one in reader.feed(stream[at : at + size])] == messages


def test_every_message_is_tried_here() -> None:
    assert {type(message) for message in (*TO_WORKER, *FROM_WORKER)} == {*Sent.__subclasses__(), Failed}
