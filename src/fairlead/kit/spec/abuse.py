"""What the spec says of callers who may be copying a model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fairlead.kit.spec.part import Part, Seconds


class Abuse(Part):
    """Whether callers ask as those do who copy a model: unusual rows, small steps, along the boundary."""

    watch: bool | None = None
    """Look at a sample of what each caller asks; null: where callers must show who they are and calls are recorded."""
    respond: Literal["alert", "delay"] = "alert"
    """What happens to a caller who alarms: `alert` tells, `delay` answers them later too."""
    delay: Seconds = Field(default=0.5, gt=0, le=30)
    """How much later (`respond: delay`)."""
    release: Seconds = Field(default=3600.0, ge=1, le=2_592_000)
    """A caller who alarms no more is answered as others are after so long."""
