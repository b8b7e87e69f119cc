"""What the stores hold of an endpoint, for those who ask: its name, labels from a file, what was decided of a model.

It loads no heavy library; ``wiring/reporting.py`` does, for the reports.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from fairlead.contracts.errors import FairleadError, NotFound
from fairlead.contracts.events import Accepted, EventStore, Label
from fairlead.contracts.plans import TrafficSplit, Verdict
from fairlead.contracts.state import StateStore
from fairlead.contracts.stores import Registry
from fairlead.kit.codec.records import from_body
from fairlead.kit.config import nearest
from fairlead.monitor import feedback, timeline

BATCH: Final = 5_000
"""Labels of a file that are kept in one transaction."""

_BY_ENDPOINT: Final = ("split", "watch", "rollout-of", "monitor", "slo")
_APPLIED: Final = "applied"
"""By endpoint and worker; a name may have a slash, the place of a worker has none."""
_SHOWN: Final = 10


def endpoints(state: StateStore, events: EventStore | None = None) -> list[str]:
    """Every endpoint that windows, documents, the timeline or events know, by name."""
    found = set(state.endpoints())
    for kind in _BY_ENDPOINT:
        found |= {document.key for document in state.all(kind)}
    found |= {document.key.rpartition("/")[0] for document in state.all(_APPLIED)}
    found |= {entry.subject for entry in state.entries(timeline.KIND)}
    if events is not None:
        found |= set(events.query("SELECT DISTINCT endpoint FROM events")["endpoint"].tolist())
    return sorted(found)


def check(state: StateStore, events: EventStore | None, endpoint: str) -> None:
    """Raises NotFound for an endpoint that nobody knows, naming the nearest that somebody does."""
    if any(state.get(kind, endpoint) for kind in _BY_ENDPOINT) or endpoint in state.endpoints():
        return
    if state.entries(timeline.KIND, endpoint, limit=1):
        return
    if events is not None and len(events.frame(endpoint, limit=1)["row"]):
        return
    known = endpoints(state, events)
    if endpoint in known:
        return
    if not known:
        raise NotFound(
            f"endpoint {endpoint!r} is not known: no call of any endpoint was recorded here; serve it with --record, "
            "and name the same --home"
        )
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    raise NotFound(
        f"endpoint {endpoint!r} is not known{nearest(endpoint, known)}; known: {', '.join(known[:_SHOWN])}{more}"
    )


def split_of(state: StateStore, endpoint: str) -> TrafficSplit | None:
    """How the endpoint's traffic is shared, if somebody said. Raises StateError."""
    found = state.get("split", endpoint)
    return None if found is None else from_body(TrafficSplit, found.body)


def model_of(state: StateStore, endpoint: str) -> str:
    """The registered model behind an endpoint: what its split says, else that of the same name."""
    split = split_of(state, endpoint)
    return split.model if split is not None and split.model else endpoint


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a file of labels. ``bad``: number and reason of the first bad lines, of ``bad_lines``."""

    accepted: Accepted
    bad: tuple[tuple[int, str], ...] = ()
    bad_lines: int = 0

    def as_text(self) -> str:
        """The bad lines, one each: the first ones, and how many more."""
        lines = [f"line {number}: {reason}" for number, reason in self.bad]
        if self.bad_lines > len(self.bad):
            lines.append(f"and {self.bad_lines - len(self.bad):,} more lines")
        return "\n".join(lines)


def take_labels(state: StateStore, endpoint: str, lines: Iterable[str], now_ms: int, *, batch: int = BATCH) -> Taken:
    """Keep the labels of a CSV file, some thousands at a time; bad lines are left out and told.

    Raises InvalidParameter for a header that cannot work, and what the store raises, then saying what is kept already.
    """
    bad: list[tuple[int, str]] = []
    count = 0
    last = 0

    def good() -> Iterator[tuple[int, Label]]:
        nonlocal count
        for number, found in feedback.read_csv(lines, now_ms=now_ms, endpoint=endpoint):
            if isinstance(found, Label):
                yield number, found
                continue
            count += 1
            if len(bad) < feedback.TOLD:
                bad.append((number, found))

    labels, total = good(), Accepted()
    while some := list(islice(labels, batch)):
        try:
            told = state.label([label for _, label in some])
        except FairleadError as error:
            if not last:
                raise
            kept = f"the labels up to line {last:,} are kept; send the file again, what is known changes nothing"
            raise type(error)(f"{error}; {kept}", retry_after=error.retry_after) from error
        total = Accepted(total.new + told.new, total.same + told.same, total.corrected + told.corrected)
        last = some[-1][0]
    return Taken(total, tuple(bad), count)


def verdicts(state: StateStore, registry: Registry, model: str) -> list[Verdict]:
    """What was decided of a model, newest first. Raises NotFound for a model that no registry and no journal knows."""
    found = [from_body(Verdict, entry.body) for entry in state.entries("verdict", model)]
    if not found:
        known = sorted({*registry.models(), *(entry.subject for entry in state.entries("verdict"))})
        if model not in known:
            raise NotFound(f"model {model!r} is not known{nearest(model, known)}; `fairlead models list` names them")
    return found[::-1]


def verdict(state: StateStore, name: str) -> Verdict:
    """The verdict with this id, or whose id alone begins with it, of whatever model. Raises NotFound."""
    entries = [entry for entry in state.entries("verdict") if str(entry.body.get("id", "")).startswith(name)]
    exact = [entry for entry in entries if entry.body["id"] == name] or entries
    ids = sorted({str(entry.body["id"]) for entry in exact})
    if name and len(ids) == 1:
        return from_body(Verdict, exact[-1].body)
    if name and ids:
        shown = ", ".join(ids[:_SHOWN])
        raise NotFound(f"verdict {name!r} is the beginning of {len(ids)} ids: {shown}; give more of it")
    known = [str(entry.body.get("id", "")) for entry in state.entries("verdict")]
    said = nearest(name, known) or "; `fairlead verdict list MODEL` shows those of a model"
    raise NotFound(f"no verdict has the id {name!r}{said}")
