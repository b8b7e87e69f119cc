"""What the spec says about models that make vectors of texts."""

from __future__ import annotations

from pydantic import Field

from fairlead.kit.spec.part import Part


class Embedding(Part):
    """A model behind `/v1/embeddings`."""

    model: str = Field(min_length=1, max_length=4096, examples=["./models/embedder"])
    """Folder of the model, with its tokenizer."""
    engine: str = Field(default="", pattern=r"^([a-z][a-z0-9-]{0,63})?$", examples=["onnx"])
    """What computes: `onnx`, `static`, or another one that is installed; empty: as the files of the folder say."""
    tokenizer: str = Field(default="", max_length=4096)
    """Folder or file of the tokenizer; empty: it is beside the model."""
    normalize: bool | None = Field(default=None, examples=[True])
    """Vectors of length 1; null: as the files of the folder say."""
