"""A reference that knows a season, made of what was served, where none could be made of what a training kept back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.events import EventStore, by_fallback
from fairlead.contracts.plans import Happening
from fairlead.contracts.state import Lease, StateStore
from fairlead.contracts.types import Tensors
from fairlead.kit.codec.records import to_body
from fairlead.monitor import timeline
from fairlead.monitor.binning import Reference
from fairlead.monitor.exact import compare_chunks
from fairlead.monitor.findings import THRESHOLDS
from fairlead.monitor.reference import reference
from fairlead.monitor.seasons import SLOT_ROWS, Season
from fairlead.wiring import baselines

Array = np.ndarray[Any, Any]

_SEASONS: Final = 2
"""Seasons that are read: each window has another to be held against."""
_log = logging.getLogger("fairlead.monitor")


def renew(
    state: StateStore,
    events: EventStore,
    endpoint: str,
    there: Reference,
    season: Season,
    now_ms: int,
    fence: Callable[[], Lease | None],
) -> None:
    """Put a reference that knows the season in the place of ``there``, once enough was served, and tell the workers.

    Not while a rollout runs, whose evidence is counted on the one there is. Raises what the state store raises; that an
    event store does not answer goes to the log.
    """
    claim = state.get("rollout-of", endpoint)
    if season.known_by(there) or (claim is not None and claim.body.get("rollout")):
        return
    try:
        made = renewed(there, events, endpoint, season, now_ms)
    except FairleadError as error:
        _log.warning("no reference for the season", extra={"fields": {"endpoint": endpoint, "error": str(error)}})
        return
    if made is None:
        return
    key, lease = f"{made.model}/{made.version}", fence()
    told = {"version": made.version, "reference": made.id}
    for kind, where, body in (("reference", key, to_body(made)), ("watch", endpoint, told)):
        found = state.get(kind, where)
        state.put(kind, where, body, found.revision if found else 0, fence=lease)
    text = f"version {made.version} is watched by the time of the {season.title} from now on"
    evidence = {"reference": made.id, "rows": made.rows, "before": there.id}
    timeline.write(state, Happening(endpoint, "config", text, now_ms, evidence))


def renewed(there: Reference, events: EventStore, endpoint: str, season: Season, now_ms: int) -> Reference | None:
    """What was served by the version of ``there`` as a reference that knows the season; None while that is too little.

    Of the last two seasons, and of each window the newest rows. None, too, where all hours together differ much from
    what a training kept back. Raises what the event store raises.
    """
    end = now_ms // season.window_ms * season.window_ms
    begin, length = end - _SEASONS * season.season_ms, season.window_ms
    first = end - season.season_ms + length
    old = events.frame(endpoint, version=there.version, since_ms=begin, until_ms=first, limit=1, features=False)
    if not len(old.get("row", ())):
        return None  # not a whole season yet, and the rest need not be read
    limit = max(SLOT_ROWS, baselines.MOST_ROWS // (_SEASONS * season.slots))
    parts = [
        _answered(events.frame(endpoint, version=there.version, since_ms=at, until_ms=at + length, limit=limit))
        for at in range(begin, end, length)
    ]
    frame = _joined_frames([part for part in parts if part])
    if not frame or not season.filled_by(frame["at_ms"]):
        return None
    every = np.arange(len(frame["at_ms"]))
    rows = baselines.tensors_of(frame, "in.", every), baselines.tensors_of(frame, "out.", every)
    made = reference(
        *rows,
        model=there.model,
        version=there.version,
        importance={name.removeprefix("in."): one.importance or 0.0 for name, one in there.columns.items()},
        source="served",
        **baselines.times_of(frame["at_ms"], season),
    )
    if there.source == "served":
        return made
    return made if set(made.columns) >= set(there.columns) and _alike(there, *rows) else None


def _alike(there: Reference, features: Tensors, outputs: Tensors) -> bool:
    """Whether all hours together are distributed as what was kept back: what has drifted is not to become the norm."""
    named = {f"in.{name}": array for name, array in features.items()}
    named |= {f"out.{name}": array for name, array in outputs.items()}
    large = THRESHOLDS["psi"][1]
    return all(one.psi < large for one in compare_chunks(there, [named]).columns)


def _answered(frame: Mapping[str, Array]) -> Mapping[str, Array]:
    """The rows that the model answered; nothing where there is none."""
    rows = np.flatnonzero((frame.get("row", np.zeros(0)) >= 0) & ~by_fallback(frame))
    return {name: column[rows] for name, column in frame.items()} if len(rows) else {}


def _joined_frames(parts: Sequence[Mapping[str, Array]]) -> Mapping[str, Array]:
    """One below the other; a column that a part lacks is missing in its rows."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: np.concatenate([part.get(name, np.full(len(part["row"]), None)) for part in parts]) for name in names}
