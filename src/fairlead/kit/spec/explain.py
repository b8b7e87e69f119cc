"""What the spec says of explanations."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part


class Explain(Part):
    """How `:explain` answers."""

    background: str = ""
    """CSV of rows as the endpoint takes them, against which a call's are held; empty: the model's input example."""
    samples: int = Field(default=64, ge=1, le=4096)
    """Pairs of orders of the columns that are tried for a row, where there are too many columns to try all."""
    output: str = ""
    """The output that is explained; empty: the one that holds scores, else the only one of numbers."""
    column: int | None = Field(default=None, ge=0, examples=[1])
    """Its column (the class); null: the second of two, else the one with the highest score."""
