"""How large a call may be, beside the bytes of its body: rows, and the length of strings. A stage before the queue."""

from __future__ import annotations

from fairlead.contracts.errors import BodyTooLarge, InvalidTensor
from fairlead.contracts.types import DataType, Signature
from fairlead.serve.call import Call
from fairlead.serve.line import Stage


class Bounds:
    """``rows``: most of a call, 0 for any number.  ``string``: bytes of one, as UTF-8, 0 for any length.

    ``texts``: the inputs that hold strings.
    """

    def __init__(self, rows: int, string: int, texts: tuple[str, ...]) -> None:
        self._rows, self._string, self._texts = rows, string, texts

    def __call__(self, call: Call) -> None:
        """Raises BodyTooLarge or InvalidTensor."""
        if self._rows and call.rows > self._rows and call.size:  # what the server asks itself has no size
            raise BodyTooLarge(
                f"the call has {call.rows} rows; this endpoint takes {self._rows} at once (bounds.rows, "
                "--max-call-rows): send fewer at a time"
            )
        for name in self._texts:
            array = call.inputs.get(name)
            if array is None or not array.size:
                continue
            for index, value in enumerate(array.ravel().tolist()):
                if isinstance(value, str | bytes) and self._long(value):
                    raise InvalidTensor(
                        f"tensor {name!r}: value {index} has more than {self._string} bytes, the longest string that "
                        "this endpoint takes (bounds.string_kb, --max-string-kb)"
                    )

    def _long(self, value: str | bytes) -> bool:
        size, limit = len(value), self._string
        if size > limit:
            return True
        return size * 4 > limit and isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) > limit


def bounds(signature: Signature, rows: int, string: int) -> tuple[Stage, ...]:
    """The stage of an endpoint; none where there is nothing that it could refuse."""
    texts = tuple(spec.name for spec in signature.inputs if spec.datatype is DataType.BYTES) if string else ()
    return (Bounds(rows, string, texts),) if rows or texts else ()
