"""What schemathesis checks beside the document: an error is JSON with a code that we know, and never ``internal``."""

from __future__ import annotations

from typing import Any

import schemathesis

from fairlead.serve.edges.status import STATUS

OTHERS = frozenset({"method_not_allowed", "malformed_request", "head_too_large", "request_timeout"})
"""Codes of what fails before there is a call."""


@schemathesis.check
def typed_errors(ctx: Any, response: Any, case: Any) -> None:
    """Every answer of 400 and more says which error it is."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    document = response.json()
    told = document.get("error")
    inner = told.get("code") if isinstance(told, dict) else None  # as OpenAI's API has it
    code = document.get("code") or document.get("error_code") or inner
    if response.status_code >= 500:
        assert code not in (None, "internal", "model_failed", "INTERNAL_ERROR"), f"an untyped error: {document}"
    if "code" in document:
        assert code in STATUS or code in OTHERS, f"a code that nobody knows: {document}"
