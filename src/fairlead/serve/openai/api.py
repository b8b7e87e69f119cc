"""What is known of OpenAI's API before any of it is read: its paths, in the order of the router, and what it keeps."""

from __future__ import annotations

from typing import Final

CHAT: Final = "/v1/chat/completions"
COMPLETIONS: Final = "/v1/completions"
RESPONSES: Final = "/v1/responses"
RESPONSE: Final = "/v1/responses/{id}"
EMBEDDINGS: Final = "/v1/embeddings"
TOKENIZE: Final = "/tokenize"
DETOKENIZE: Final = "/detokenize"
FILES: Final = "/v1/files"
FILE: Final = "/v1/files/{id}"
CONTENT: Final = "/v1/files/{id}/content"
BATCHES: Final = "/v1/batches"
BATCH: Final = "/v1/batches/{id}"
CANCEL: Final = "/v1/batches/{id}/cancel"

PATHS: Final = (
    CHAT,
    COMPLETIONS,
    RESPONSES,
    RESPONSE,
    EMBEDDINGS,
    TOKENIZE,
    DETOKENIZE,
    FILES,
    FILE,
    CONTENT,
    BATCHES,
    BATCH,
    CANCEL,
)

KEPT: Final = 1000
"""Responses that are kept for ``previous_response_id``."""
BEAT: Final = 15.0
"""Seconds of silence after which a stream gets a comment, so that nobody between takes it for dead."""
