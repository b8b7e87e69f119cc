"""Plugin contract: an embedder makes vectors of texts. Entry-point group ``fairlead.embedders``, by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fairlead.contracts.tokens import Tokenizer

Text = str | Sequence[int]
"""What a vector is made of: a text, or the ids of its tokens."""


class Embedded(NamedTuple):
    """``vectors``: float32 of shape [texts, dimensions], in the order of the texts.  ``tokens``: of each text."""

    vectors: NDArray[np.float32]
    tokens: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EmbedderOptions:
    """``model``: a folder or file.  ``tokenizer``: of the same model.  ``threads``: 0: the runtime decides.

    ``normalize``: to length 1; None: as the model's own files say.
    """

    name: str
    model: str
    tokenizer: Tokenizer
    threads: int = 0
    normalize: bool | None = None


class Embedder(Protocol):
    """Made with ``EmbedderOptions``; nothing is opened before ``start``. Thread-safe.

    A text has the same vector alone and among others, to 1e-5: what rides together never changes an answer.
    """

    @property
    def size(self) -> int:
        """Numbers of a vector. Known once it was started, as is ``most``."""

    @property
    def most(self) -> int:
        """Tokens of a text, at most."""

    async def start(self) -> None:
        """Raises BrokenModel, SourceNotFound."""

    async def stop(self) -> None: ...

    def read(self, text: Text) -> list[int]:
        """The ids that the model takes for a text.

        Raises ContextTooLong for more than ``most``, InvalidParameter for ids that are none of its vocabulary and for
        an empty text.
        """

    async def embed(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """A vector for each row of ids that ``read`` made. Does not hold the event loop for long."""
