"""What the spec says about how much somebody may have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fairlead.kit.spec.part import Part

Text = Annotated[str, Field(min_length=1, max_length=100)]
Texts = Text | tuple[Text, ...]


class Limited(Part):
    """How much somebody may have. All of it holds at once."""

    rate: Texts = Field(default=(), examples=["500/s", ["50/s", "1000/min"]])
    """Requests, evenly: `AMOUNT/(s|min|hour)`; several as a list."""
    burst: int = Field(default=0, ge=0, le=10**9)
    """Requests that may come at once; 0: what `rate` has in a second, and one at least."""
    rows: Text | None = Field(default=None, examples=["10k/min"])
    """Rows, evenly."""
    rows_burst: int = Field(default=0, ge=0, le=10**12)
    """Rows that may come at once, and so the most in one call; 0: what `rows` has in a second."""
    bytes: Text | None = Field(default=None, examples=["64MB/s"])
    """Bytes of the bodies, evenly."""
    bytes_burst: int = Field(default=0, ge=0, le=10**15)
    """Bytes that may come at once, and so the most in one body; 0: what `bytes` has in a second."""
    quota: Texts = Field(default=(), examples=["5M/day", ["5M/day", "100M rows/month"]])
    """Requests, `rows` or `bytes` in each `hour`, `day`, `week` or `month` of the calendar (UTC)."""
    concurrency: int | None = Field(default=None, ge=1, le=1_000_000, examples=[32])
    """Calls in flight; null: as many as there are."""
