"""What the spec says about how much somebody may have."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part


class Limited(Part):
    """How much somebody may have. All of it holds at once."""

    rate: str = Field(default="", max_length=200, examples=["500/s"])
    """Requests, evenly: `AMOUNT/(s|min|hour)`; several with commas, `50/s burst 10, 1000/min burst 1000`."""
    burst: int = Field(default=0, ge=0, le=10**9)
    """Requests that may come at once; 0: what `rate` has in a second, and one at least."""
    rows: str = Field(default="", max_length=100, examples=["10k/s"])
    """Rows, evenly."""
    rows_burst: int = Field(default=0, ge=0, le=10**12)
    """Rows that may come at once, and so the most in one call; 0: what `rows` has in a second."""
    bytes: str = Field(default="", max_length=100, examples=["64MB/s"])
    """Bytes of the bodies, evenly."""
    bytes_burst: int = Field(default=0, ge=0, le=10**15)
    """Bytes that may come at once, and so the most in one body; 0: what `bytes` has in a second."""
    quota: str = Field(default="", max_length=200, examples=["5M/day"])
    """Requests, `rows` or `bytes` in each `hour`, `day`, `week` or `month` (UTC); several with commas."""
    concurrency: int | None = Field(default=None, ge=1, le=1_000_000, examples=[32])
    """Calls in flight; null: as many as there are."""
