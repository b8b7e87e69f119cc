"""Tensors to and from JSON and raw bytes, for every datatype of the Open Inference Protocol.

JSON data is flat in row-major order, or nested as the shape says. FP16 and BF16 are plain JSON numbers there, which
the protocol leaves open. Raw bytes are little-endian, row-major and unpadded: BOOL is one byte, each BYTES element is
a 4-byte length and that many bytes, BF16 is widened to float32 when read and rounded to even when written.
"""

from __future__ import annotations

import functools
import itertools
import math
import sys
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Annotated, Any, Final

import msgspec
import numpy as np

from fairlead.contracts.errors import InvalidTensor, MalformedBody
from fairlead.contracts.types import DataType
from fairlead.kit.codec import json

Array = np.ndarray[Any, Any]


class Null(Enum):
    """What JSON null means when no value stands for it."""

    REFUSE = "refuse"


_FP32_MAX: Final = 3.4028235677973362e38
LIMIT: Final[dict[DataType, float]] = {
    DataType.FP16: 65519.99999999999,
    DataType.BF16: 3.3895313892515355e38,
    DataType.FP32: _FP32_MAX,
}
"""The largest JSON number that rounds to a finite value (BF16: the largest value itself).

It lies half a step above the largest value: ``3.4028235e38``, what most languages print for that float32, is it.
"""

_LITTLE: Final = {name: name.numpy.newbyteorder("<") for name in DataType if name is not DataType.BYTES} | {
    DataType.BF16: np.dtype("<u2")
}
_NAMES: Final = {name.numpy: name.value for name in DataType if name not in (DataType.BYTES, DataType.BF16)}
_SPACE: Final = b" \t\r\n"
_OPEN: Final = ord("[")
_MOST_DIMENSIONS: Final = 32
_MOST_VALUES: Final = 2**56
"""No machine holds more; numpy refuses shapes that promise it, even where another dimension is zero."""


FP32Number = Annotated[float, msgspec.Meta(ge=-_FP32_MAX, le=_FP32_MAX)]
"""A JSON number that float32 can hold: beyond it is an error, not infinity."""


def datatype_of(array: Array) -> str:
    """The protocol's name for the array's dtype. Raises ValueError where it has none."""
    return _NAMES.get(array.dtype) or DataType.of(array.dtype).value


def from_json(
    data: bytes | msgspec.Raw, datatype: DataType, shape: Sequence[int], name: str, null: Any = Null.REFUSE
) -> Array:
    """JSON ``data`` as an array of ``shape``.

    ``null`` is what JSON null becomes (default: it is refused). Raises InvalidTensor that names the tensor: ragged
    rows, wrong count, an element of another type or out of range.
    """
    expected = count(shape, name)
    raw = bytes(data)
    if expected == 0 and raw and not raw.translate(None, b"[]," + _SPACE):
        return np.empty(shape, datatype.numpy)
    depth = _depth(raw)
    if depth == 0:
        raise InvalidTensor(f"tensor {name!r}: data is an array, found {json_kind(_any(raw, name))}")
    if depth not in (1, len(shape)):
        raise InvalidTensor(
            f"tensor {name!r}: data nests {depth} deep, its shape {list(shape)} has {len(shape)} dimensions; "
            "give it flat, or nested as the shape says"
        )
    try:
        values = _decoder(datatype, depth).decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        values = _walk(_any(raw, name), datatype, shape if depth > 1 else (expected,), name, null)
    else:
        if depth > 1:
            values = _flat(values, shape, name)
    if len(values) != expected:
        raise wrong_count(shape, len(values), name)
    return build(values, datatype, shape, name)


def from_values(values: Any, datatype: DataType, name: str, null: Any = Null.REFUSE) -> Array:
    """Decoded JSON values, nested or one, as an array of the shape they have. Raises InvalidTensor as ``from_json``."""
    shape: list[int] = []
    level = values
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    flat = _flat(values, shape, name) if shape else [values]
    if not set(map(type, flat)) <= _PLAIN[datatype] or not in_range(flat, datatype):
        flat = _walk(flat, datatype, (len(flat),), name, null)
    return build(flat, datatype, shape, name)


def in_range(values: list[Any], datatype: DataType) -> bool:
    """Whether no number, of those that are numbers, would become infinite. NaN must not be among them."""
    limit = LIMIT.get(datatype)
    return limit is None or not values or (max(values) <= limit and min(values) >= -limit)


def build(values: list[Any], datatype: DataType, shape: Sequence[int], name: str) -> Array:
    """A flat list of checked values as an array of ``shape``."""
    if datatype is DataType.BYTES:
        array = np.empty(len(values), object)
        array[:] = values
    else:
        try:
            array = np.array(values, datatype.numpy)
        except OverflowError:
            raise _beyond(name, datatype, values) from None
    return array.reshape(shape)


def count(shape: Sequence[int], name: str) -> int:
    """How many values a shape holds. Raises InvalidTensor where it is no shape."""
    if len(shape) > _MOST_DIMENSIONS:
        raise InvalidTensor(f"tensor {name!r}: a shape has at most {_MOST_DIMENSIONS} dimensions, found {len(shape)}")
    if shape and min(shape) < 0:
        raise InvalidTensor(f"tensor {name!r}: a shape has no negative dimension, found {list(shape)}")
    if math.prod(size for size in shape if size) > _MOST_VALUES:
        raise InvalidTensor(f"tensor {name!r}: no machine holds the shape {_short(list(shape))}")
    return math.prod(shape)


def wrong_count(shape: Sequence[int], found: int, name: str) -> InvalidTensor:
    """The refusal of ``found`` values for a shape that holds another number of them."""
    return InvalidTensor(f"tensor {name!r}: shape {list(shape)} needs {count(shape, name)} values, found {found}")


def to_json(array: Array, name: str) -> list[Any]:
    """The flat row-major list of values; NaN and missing strings are for the JSON encoder to write as null.

    Raises InvalidTensor for bytes that are not UTF-8: JSON cannot hold them.
    """
    flat: list[Any] = array.ravel().tolist()
    if array.dtype.kind not in "OS":
        return flat
    return [_text(value, name) for value in flat]


def from_binary(data: memoryview, datatype: DataType, shape: Sequence[int], name: str) -> Array:
    """Raw bytes as an array of ``shape``: a view of ``data`` (read-only) where alignment and datatype allow.

    Raises InvalidTensor that names the tensor, with the byte counts expected and found.
    """
    expected = count(shape, name)
    if datatype is DataType.BYTES:
        return _strings(data, expected, shape, name)
    dtype = _LITTLE[datatype]
    if len(data) != expected * dtype.itemsize:
        raise InvalidTensor(
            f"tensor {name!r}: {datatype.value} of shape {list(shape)} takes {expected * dtype.itemsize} bytes, "
            f"found {len(data)}"
        )
    array: Array = np.frombuffer(data, dtype)
    if datatype is DataType.BOOL:
        array = np.frombuffer(data, np.uint8) != 0
    elif datatype is DataType.BF16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    elif not array.flags.aligned:
        array = array.copy()
    return array.reshape(shape)


def to_binary(array: Array, datatype: DataType) -> bytes:
    """The array as raw bytes of ``datatype``."""
    if datatype is DataType.BYTES:
        parts: list[bytes] = []
        for value in array.ravel().tolist():
            item = octets(value)
            parts += (len(item).to_bytes(4, "little"), item)
        return b"".join(parts)
    if datatype is DataType.BF16:
        return _round_bf16(array).tobytes()
    return np.ascontiguousarray(array, _LITTLE[datatype]).tobytes()


def missing(value: Any) -> bool:
    """Whether an element of a BYTES tensor stands for a missing value: None, or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _depth(raw: bytes) -> int:
    """How many arrays open before the first value."""
    depth = 0
    for byte in raw:
        if byte == _OPEN:
            depth += 1
        elif byte not in _SPACE:
            break
    return depth


@functools.lru_cache(maxsize=512)
def _decoder(datatype: DataType, depth: int) -> msgspec.json.Decoder[Any]:
    kind: Any
    if datatype is DataType.BYTES:
        kind = str
    elif datatype is DataType.BOOL:
        kind = bool
    else:
        kind = _number(datatype) if datatype.is_float else int
    for _ in range(depth):
        kind = list[kind]
    return msgspec.json.Decoder(kind)


def _number(datatype: DataType) -> Any:
    limit = LIMIT.get(datatype)
    return float if limit is None else Annotated[float, msgspec.Meta(ge=-limit, le=limit)]


def _flat(values: list[Any], shape: Sequence[int], name: str) -> list[Any]:
    """Nested lists to one flat list. Raises InvalidTensor where a length is not the shape's."""
    rows: list[Any] = [values]
    for axis, size in enumerate(shape):
        for index, row in enumerate(rows):
            found = len(row) if isinstance(row, list) else 0
            if found != size or not isinstance(row, list):
                where = "data" if axis == 0 else f"row {index} of dimension {axis}"
                raise InvalidTensor(f"tensor {name!r}: {where} has {found} values, its shape {list(shape)} says {size}")
        rows = list(itertools.chain.from_iterable(rows))
    return rows


def _walk(values: list[Any], datatype: DataType, shape: Sequence[int], name: str, null: Any) -> list[Any]:
    """The slow way: find the value that is wrong, or put ``null`` where JSON says null."""
    flat = values if len(shape) == 1 else _flat(values, shape, name)
    accepts = _ACCEPTS[datatype]
    limit = LIMIT.get(datatype, sys.float_info.max)
    result = []
    for index, value in enumerate(flat):
        if value is None:
            if null is Null.REFUSE:
                raise InvalidTensor(
                    f"tensor {name!r}: value {index} is null, and the model takes no missing value there"
                )
            result.append(null)
        elif not accepts(value):
            raise InvalidTensor(
                f"tensor {name!r}: expected {datatype.value}, found {json_kind(value)} at value {index}"
            )
        elif datatype.is_float and not -limit <= value <= limit:
            raise _out_of_range(name, datatype, index, value)
        else:
            result.append(value if datatype.is_float or not isinstance(value, float) else int(value))
    return result


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Any) -> bool:
    return _is_number(value) and value == value // 1


_ACCEPTS: Final[dict[DataType, Callable[[Any], bool]]] = {
    name: _is_number if name.is_float else _is_integer for name in DataType
} | {DataType.BOOL: lambda value: isinstance(value, bool), DataType.BYTES: lambda value: isinstance(value, str)}


_PLAIN: Final[dict[DataType, set[type]]] = {
    **{name: {float, int} if name.is_float else {int} for name in DataType},
    DataType.BOOL: {bool},
    DataType.BYTES: {str},
}
"""Python types of JSON values that need no second look."""


def json_kind(value: Any) -> str:
    """What JSON calls a value, with the value where it is short."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    kind = "a boolean" if isinstance(value, bool) else "a string" if isinstance(value, str) else "the number"
    text = json.encode(value).decode()
    return f"{kind} {text}" if len(text) <= 40 else kind


def _beyond(name: str, datatype: DataType, values: list[Any]) -> InvalidTensor:
    """The refusal of the first value that numpy could not hold."""
    least, most = -sys.float_info.max, sys.float_info.max
    if not datatype.is_float:
        least, most = np.iinfo(datatype.numpy).min, np.iinfo(datatype.numpy).max
    index = next(i for i, value in enumerate(values) if not least <= value <= most)
    return _out_of_range(name, datatype, index, values[index])


def _out_of_range(name: str, datatype: DataType, index: int, value: Any) -> InvalidTensor:
    return InvalidTensor(f"tensor {name!r}: value {index} ({_short(value)}) is out of range for {datatype.value}")


def _short(value: Any) -> str:
    """A value for a sentence: a number may have thousands of digits."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}... ({len(text)} characters)"


def _any(raw: bytes, name: str) -> Any:
    """Any JSON. What only a closer look finds broken (a number over every range) is told with the tensor's name."""
    try:
        return json.decode(json.ANY, raw)
    except MalformedBody as error:
        raise InvalidTensor(f"tensor {name!r}: its data does not parse: {error}") from None


def _text(value: Any, name: str) -> str | None:
    if missing(value):
        return None
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise InvalidTensor(
                f"tensor {name!r} holds bytes that are not UTF-8: ask for it with binary_data"
            ) from None
    return str(value)


def octets(value: Any) -> bytes:
    """What an element of BYTES is written as; nothing for a missing value."""
    if isinstance(value, bytes):
        return value
    return b"" if missing(value) else str(value).encode()


def _strings(data: memoryview, expected: int, shape: Sequence[int], name: str) -> Array:
    if len(data) < 4 * expected:
        raise InvalidTensor(
            f"tensor {name!r}: BYTES of shape {list(shape)} takes at least {4 * expected} bytes, found {len(data)}"
        )
    array = np.empty(expected, object)
    at = 0
    for index in range(expected):
        start = at + 4
        at = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or at > len(data):
            raise InvalidTensor(
                f"tensor {name!r}: BYTES of shape {list(shape)} has {expected} elements; element {index} needs "
                f"{max(start, at)} bytes, found {len(data)}"
            )
        array[index] = text_of(bytes(data[start:at]))
    if at != len(data):
        raise InvalidTensor(f"tensor {name!r}: {expected} elements of BYTES end at byte {at}, found {len(data)} bytes")
    return array.reshape(shape)


def text_of(item: bytes) -> str | bytes:
    """An element of BYTES: text where it is UTF-8."""
    try:
        return item.decode()
    except UnicodeDecodeError:
        return item


def _round_bf16(array: Array) -> Array:
    """float32 to bfloat16 bit patterns, ties to even; NaN stays NaN."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits.astype(np.uint64) + 0x7FFF + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2")
