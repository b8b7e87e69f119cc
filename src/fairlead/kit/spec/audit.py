"""What the spec says about the audit log."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part, Reference


class Audit(Part):
    """What is written down of who did what."""

    enabled: bool | None = None
    """Whether the server keeps an audit log; null: where callers must show who they are."""
    days: float = Field(default=365.0, ge=0, le=36_500)
    """Days that entries are kept, in whole files; 0: for ever."""
    payloads: bool = False
    """Write down what each call sent too, without what `record.exclude` and `record.hash` of its endpoint hide."""
    key: Reference = Field(default="", examples=["env:AUDIT_KEY"])
    """Seal entries with this key, `env:NAME` or `file:PATH`: who has it not cannot write the log anew."""
