"""What a call sent, for the audit log: only where it is asked for, without what is never to be kept, and in bounds."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fairlead.contracts.audit import Audited, Auditor
from fairlead.contracts.types import Tensors
from fairlead.serve.call import Call
from fairlead.serve.columns import Keeping, joined
from fairlead.serve.line import Stage

ACTION: Final = "payload"
ANONYMOUS: Final = "anonymous"
VALUES: Final = 1000
"""Values of a call that are written down, of all its inputs together, in whole rows; one row at least."""

_JSON = msgspec.json.Encoder(enc_hook=str)


def payloads(audit: Auditor, endpoint: str, keeping: Keeping) -> Stage:
    """Notes what each call sent. Inputs that ``keeping`` excludes are left out, of those it hashes the digest stays."""

    def note(call: Call) -> None:
        if call.caller is None and not call.metered:
            return  # what the server asks itself: a step, a shadow, a question of an explanation
        who = ANONYMOUS if call.caller is None else call.caller.name
        rows, told = written(call.inputs, call.rows, keeping)
        audit.note(Audited(who, ACTION, endpoint, detail={"inputs": told, "rows": call.rows, "shown": rows}))

    return note


def written(inputs: Tensors, rows: int, keeping: Keeping) -> tuple[int, str]:
    """How many rows are shown, and these as JSON."""
    batched = all(array.ndim and len(array) == rows for array in inputs.values())
    shown = rows
    if batched and rows:
        width = sum(array.size for array in inputs.values()) // rows
        shown = min(rows, max(1, VALUES // max(1, width)))
        inputs = {name: array[:shown] for name, array in inputs.items()}
    kept = joined([inputs], [shown], keeping, batched)
    document: dict[str, Any] = {name: array.tolist() if batched else array[0].tolist() for name, array in kept.items()}
    return shown, _JSON.encode(document).decode()
