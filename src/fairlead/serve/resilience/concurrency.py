"""How many batches may be at another server at once: as few as it answers at its best. Pure: time is passed in.

What a server cannot run yet waits there, out of reach of deadlines, lanes and shedding; what waits here is still in
hand. So the limit is looked for below which fewer rows are answered well each second. It is tried, window by window:
a quarter less is kept when that costs nothing, a quarter more when it brings something (additive at one batch). Latency
is not asked: it grows where calls ride together, and a limit that brings it down by smaller batches would cost rows.
Where much of a window fails because the server is full, away or late, a fifth of the limit goes at once.
"""

from __future__ import annotations

from typing import Final

_DOWN: Final = 0.6
_UP: Final = 1.25
_LESS: Final = 0.8
_SAME: Final = 0.97
"""Share of the rows a second that a lower limit must keep."""
_MORE: Final = 1.05
"""And that a higher one must bring."""
_WORSE: Final = 0.8
"""Share of the rows a second under which a try is ended early."""
_TOO_MANY: Final = 0.1
"""Share of failures in a window that takes a part of the limit."""
_FEWEST: Final = 32
_OF_EACH: Final = 2
_MOST: Final = 200
"""Batches in a window: at least, for each that may run at once, and at most."""
_PATIENT: Final = 16
"""Windows between two tries that bring nothing, at most; doubled each time."""


class Limiter:
    """``most``: the limit to begin with, and never exceeded."""

    __slots__ = ("_began", "_failed", "_good", "_hold", "_pause", "_seen", "_tried", "_up", "_usual", "limit", "most")

    def __init__(self, most: int) -> None:
        self.most = self.limit = most
        self._began = -1.0
        """Of the window; below zero: there is none."""
        self._seen = self._failed = self._good = 0
        self._usual = 0.0
        """Rows a second at the limit that holds; 0.0: not known."""
        self._tried = 0
        """The limit to go back to where the one that is tried is no better; 0: none is tried."""
        self._up = False
        self._pause = 1
        self._hold = 1
        """Windows until the next try."""

    def ended(self, rows: int, well: bool, bound: bool, now: float) -> int:
        """The limit from now on. ``rows``: of a batch that ended.  ``well``: not refused, lost or late.

        ``bound``: all of the limit was in use and calls wait; what goes well otherwise says nothing about it.
        """
        if not bound and well and not self._failed:
            self._began = -1.0
            return self.limit
        if self._began < 0.0:
            self._began, self._seen, self._failed, self._good = now, 1, int(not well), 0
            return self.limit
        self._seen += 1
        self._failed += not well
        self._good += rows if well else 0
        whole = min(_MOST, max(_FEWEST, _OF_EACH * self.limit))
        enough = self._seen >= whole or (self._seen == whole // 4 and self._worse(now))
        if enough and now > self._began:
            self._judge(self._good / (now - self._began), self._failed / self._seen)
            self._began = now
            self._seen = self._failed = self._good = 0
        return self.limit

    def _worse(self, now: float) -> bool:
        """Whether what is tried is plainly worse, so that the rest of its window can be spared."""
        return self._tried > 0 and self._good < _WORSE * self._usual * (now - self._began)

    def _judge(self, rate: float, failed: float) -> None:
        if failed > _TOO_MANY:
            self.limit = max(1, int(self.limit * _LESS))
            self._usual, self._tried, self._pause, self._hold, self._up = 0.0, 0, 1, 1, True
        elif self._tried:
            better = rate >= (_MORE if self._up else _SAME) * self._usual
            if better:
                self._usual = max(rate, self._usual) if self._up else self._usual
                self._pause = 1
                self._hold = 0 if self._up else 1
            else:
                self.limit = self._tried
                self._up = not self._up
                self._hold = self._pause
                self._pause = min(_PATIENT, 2 * self._pause)
            self._tried = 0
            if not self._hold:
                self._try()
        else:
            self._usual = rate if not self._usual else self._usual + 0.2 * (rate - self._usual)
            self._hold -= 1
            if self._hold <= 0:
                self._try()

    def _try(self) -> None:
        other = min(self.most, int(self.limit * _UP) + 1) if self._up else max(1, int(self.limit * _DOWN))
        if other == self.limit:
            self._up = not self._up
            self._hold = self._pause
            return
        self._tried, self.limit = self.limit, other
