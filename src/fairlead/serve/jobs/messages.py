"""Every message between a batch job and its workers. Frames are those of ``fairlead.serve.messages``."""

from __future__ import annotations

import msgspec

from fairlead.contracts.tables import Found, Layout, Piece
from fairlead.serve.jobs.columns import Chosen
from fairlead.serve.messages import Failed


class Sent(msgspec.Struct, frozen=True, tag=True):
    """The class's name is the tag."""


class Job(msgspec.Struct, frozen=True):
    """What every shard of a job has in common.

    ``uri``: the model, by a version that does not move.  ``reads``, ``writes``: forms of tables.  ``rows``: of a batch.
    ``parts``, ``work``: folders of the shards and of what a job leaves beside them.
    """

    uri: str
    version: str
    digest: str
    rows: int
    reads: str
    writes: str
    chosen: Chosen
    layout: Layout
    parts: str
    work: str
    trust_pickle: bool = False
    runtime: str = ""


# To a worker.


class Begin(Sent, frozen=True):
    """The first message."""

    job: Job


class Score(Sent, frozen=True):
    """One shard. ``offset``: rows of the files before this one."""

    index: int
    file: Found
    offset: int
    piece: Piece


# From a worker.


class Ready(Sent, frozen=True):
    """The model is loaded."""


class Done(Sent, frozen=True):
    """The shard is on the disk. ``scored`` and ``rejected``: rows.  ``reason``: of the first that was rejected."""

    index: int
    scored: int
    rejected: int
    reason: str = ""


ToWorker = Begin | Score
FromWorker = Ready | Done | Failed
