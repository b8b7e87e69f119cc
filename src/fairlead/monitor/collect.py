"""Folds what was recorded into windows, and puts them into the state store each second.

It runs in a worker's writer thread. A window is put whole again and again while it is open, so a lost write costs
nothing; while the store does not answer the windows wait here, and only so many of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from fairlead.contracts.errors import FairleadError
from fairlead.contracts.events import Columns, Window
from fairlead.contracts.state import StateStore
from fairlead.kit.clock import Clock
from fairlead.monitor.binning import Reference
from fairlead.monitor.degraded import counted
from fairlead.monitor.pairs import added, pairs
from fairlead.monitor.sketches import Folder

PUT_SECONDS: Final = 1.0

LATE_WINDOWS: Final = 2
"""A window closes so many lengths after its end: a slow call may still end in it."""

References = Callable[[str, str], Reference | None]
"""What an endpoint is watched against now, given a version that answers; all its versions are folded on its bins."""

_Key = tuple[str, str, str]
"""Endpoint, version, arm."""


class Collector:
    """A Recorder. ``worker``: this process's name in the windows.  ``length_ms``: of an endpoint's windows."""

    def __init__(
        self, state: StateStore, references: References, worker: str, length_ms: Callable[[str], int], clock: Clock
    ) -> None:
        self._state = state
        self._references = references
        self._worker = worker
        self._length_ms = length_ms
        self._clock = clock
        self._folders: dict[_Key, Folder] = {}
        self._pairs: dict[tuple[str, str, str, int], dict[str, float]] = defaultdict(dict)
        self._watched: dict[_Key, str] = {}
        self._retired: list[Folder] = []
        self._looked = self._put = -PUT_SECONDS
        self._dirty = False
        self.trouble = ""

    def record(self, batch: Sequence[Columns]) -> None:
        """Fold, and put when it is time. A store that does not answer is ``trouble``: nothing is lost by it yet."""
        batch = [counted(columns) for columns in batch]
        folders = self._folders_of(batch)  # all before the first is folded: this may raise
        for key, columns in _together(batch):
            folders[key].add(columns)
            if columns.arm == "shadow" and len(columns):
                length = self._length_ms(columns.endpoint)
                window = (*key, int(columns.at_ms[-1]) // length * length)
                self._pairs[window] = added(self._pairs[window], pairs(columns))
            self._dirty = True
        if self._dirty and self._clock.now() - self._put >= PUT_SECONDS:
            try:
                self.close()
            except FairleadError as error:
                self.trouble = str(error)
                self._put = self._clock.now()

    def close(self) -> None:
        """Put every open window; those that are over are forgotten then. Raises what the store raises."""
        old = [window for folder in self._retired for window in folder.windows()]
        open_ = [self._whole(window) for folder in self._folders.values() for window in folder.windows()]
        self._state.put_windows([*old, *open_])
        self._retired.clear()
        self._put = self._clock.now()
        self._dirty = False
        self.trouble = ""
        now = self._clock.wall_ms()
        for key, folder in self._folders.items():
            over = now - LATE_WINDOWS * self._length_ms(key[0])
            folder.close_before(over)
            for pair in [pair for pair in self._pairs if pair[:3] == key and pair[3] < over]:
                del self._pairs[pair]

    def _folders_of(self, batch: Sequence[Columns]) -> dict[_Key, Folder]:
        """One for each version and arm. Once a second it is asked whether they are still watched against the same."""
        renew = bool(batch) and self._clock.now() - self._looked >= PUT_SECONDS
        for key in {(columns.endpoint, columns.version, columns.arm) for columns in batch}:
            if key not in self._folders:
                self._begin(key, self._references(*key[:2]))
            elif renew:
                self._renew(key)
        if renew:
            self._looked = self._clock.now()
        return self._folders

    def _renew(self, key: _Key) -> None:
        try:
            reference = self._references(*key[:2])
        except FairleadError as error:  # fold on as before
            self.trouble = str(error)
            return
        if (reference.id if reference else "") != self._watched[key]:
            self._retired.append(self._folders[key])
            self._begin(key, reference)

    def _begin(self, key: _Key, reference: Reference | None) -> None:
        known = self._watched[key] = reference.id if reference else ""
        # Under a name of its own: what a retired folder put must not be replaced.
        name = f"{self._worker}-{known}" if known else self._worker
        self._folders[key] = Folder(reference, *key, name, self._length_ms(key[0]))

    def _whole(self, window: Window) -> Window:
        key = (window.endpoint, window.version, window.arm, window.start_ms)
        found = self._pairs.get(key)
        return replace(window, pairs=found) if found else window


def _together(batch: Sequence[Columns]) -> Iterator[tuple[_Key, Columns]]:
    """Columns that are alike as one: folding costs by the array more than by the row."""
    groups: dict[tuple[Any, ...], list[Columns]] = defaultdict(list)
    for place, columns in enumerate(batch):
        shapes = [
            [(name, array.dtype, array.shape[1:]) for name, array in tensors.items()]
            for tensors in (columns.features, columns.outputs)
        ]
        alone = place if columns.arm == "shadow" else -1  # its pairs are added call by call
        groups[columns.endpoint, columns.version, columns.arm, alone, str(shapes)].append(columns)
    for key, group in groups.items():
        yield key[:3], group[0] if len(group) == 1 else _one(group)


def _one(group: Sequence[Columns]) -> Columns:
    """What is folded of several columns."""
    first = group[0]
    return replace(
        first,
        ids=[id_ for one in group for id_ in one.ids],
        at_ms=np.concatenate([one.at_ms for one in group]),
        seconds=np.concatenate([one.seconds for one in group]),
        code=[code for one in group for code in one.code],
        rows=np.concatenate([one.rows for one in group]),
        features={name: np.concatenate([one.features[name] for one in group]) for name in first.features},
        outputs={name: np.concatenate([one.outputs[name] for one in group]) for name in first.outputs},
    )
