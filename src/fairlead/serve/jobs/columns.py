"""Which column of a table is which input of the model, and what the columns of the output are. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from fairlead.contracts.errors import InvalidTensor, UsageError
from fairlead.contracts.tables import ROW, Field, Layout, Need, Output
from fairlead.contracts.types import DataType, Signature, Tensors, TensorSpec
from fairlead.kit.config import nearest
from fairlead.serve.validate import Slot, listed

ALL = "*"
"""``--keep '*'``: every column."""


class Source(msgspec.Struct, frozen=True):
    """An input of the model and the columns that it is made of: one of the same name, or one for each of its values."""

    name: str
    columns: tuple[str, ...]


class Chosen(msgspec.Struct, frozen=True):
    """``sources``: in the order of the signature.  ``needs``: every column that is read for them."""

    sources: tuple[Source, ...]
    needs: dict[str, Need]


def choose(
    signature: Signature, fields: Sequence[Field], where: str, keep: Sequence[str] = (), columns: Sequence[str] = ()
) -> Chosen:
    """The columns that make the model's inputs.

    An input of one value a row is the column of its name. One of several is the column of its name with lists, or
    ``NAME_0``, ``NAME_1`` and so on, or, where the model has no other input, ``columns``: by default all, or
    all that are not kept. Raises InvalidTensor naming what is not there or of another type, UsageError for a model that
    takes no rows.
    """
    if not signature.batched:
        raise UsageError("this model has no dimension that counts rows: send it calls, with `fairlead predict`")
    if not signature.inputs:
        raise UsageError("this model does not say what it takes; give it `inputs`, or log it with a signature")
    by_name = {field.name: field for field in fields}
    for name in columns:
        if name not in by_name:
            raise InvalidTensor(f"{where} has no column {name!r}{nearest(name, tuple(by_name))}")
    only = len(signature.inputs) == 1
    rest = tuple(columns) or tuple(name for name in by_name if name not in keep)
    if only and not columns and len(by_name) == _size(signature.inputs[0]):
        rest = tuple(by_name)
    if columns and not only:
        raise UsageError("--columns is for a model with one input; this one finds its columns by their names")
    sources, needs = [], {}
    for spec in signature.inputs:
        found = _of(spec, by_name, rest if only else (), chosen=bool(columns), where=where)
        if found is None:
            continue
        sources.append(Source(spec.name, found))
        slot = Slot(spec)
        single = len(found) == 1 and found[0] == spec.name and by_name[found[0]].nested
        for name in found:
            need = Need(spec.datatype, _size(spec) if single else 0, blanks=slot.blank)
            _check(by_name[name], need, where)
            needs[name] = need
    if not sources:
        raise InvalidTensor(f"{where} has none of the columns that the model takes ({_names(signature)})")
    return Chosen(tuple(sources), needs)


def kept(fields: Sequence[Field], asked: Sequence[str], where: str) -> tuple[str, ...]:
    """The columns that are carried to the output, in the order asked for. Raises UsageError for one not there."""
    names = tuple(field.name for field in fields)
    if ALL in asked:
        return names
    for name in asked:
        if name not in names:
            raise UsageError(f"--keep {name}: {where} has no such column{nearest(name, names)}")
    return tuple(dict.fromkeys(asked))


def layout(signature: Signature, answer: Tensors | None, names: Sequence[str], schema: bytes) -> Layout:
    """The columns of the output. ``answer``: what the model gave for an example, whose shapes are more exact.

    A kept column whose name is taken is called ``in.NAME``; an output named ``row`` ``out.row``.
    """
    outputs = []
    for spec in signature.outputs:
        tail, seen = spec.shape[1:], None if answer is None else answer.get(spec.name)
        if seen is not None and seen.ndim >= 1:
            tail = seen.shape[1:]
        outputs.append(Output(spec.name, f"out.{spec.name}" if spec.name == ROW else spec.name, spec.datatype, tail))
    taken = {ROW, *(output.column for output in outputs)}
    taken |= {f"{output.column}_{at}" for output in outputs if len(output.tail) == 1 for at in range(output.tail[0])}
    return Layout(tuple(outputs), schema, tuple(f"in.{name}" if name in taken else name for name in names))


LARGEST, BYTES, TEXT = 4096, 1 << 20, 32
"""A batch has at most so many rows, and about so many bytes of input; a text counts as so many."""


def batch_rows(signature: Signature, limit: int = 0) -> int:
    """Rows in a batch where nobody chose: by the size of a row, never by a measurement, since results may differ in
    their last bits with the size of the batch and a job that is resumed must not. ``limit``: what the runtime takes."""
    row = sum(_bytes(spec) for spec in signature.inputs)
    most = max(1, min(LARGEST, BYTES // max(1, row)))
    return min(most, limit) if limit else most


def _of(
    spec: TensorSpec, fields: dict[str, Field], rest: tuple[str, ...], *, chosen: bool, where: str
) -> tuple[str, ...] | None:
    size = _size(spec)
    own = fields.get(spec.name)
    if own is not None and not chosen and (size == 1 or own.nested):
        return (spec.name,)
    numbered = tuple(f"{spec.name}_{at}" for at in range(max(0, size)))
    if numbered and not chosen and size > 1 and all(name in fields for name in numbered):
        return numbered
    if rest and (len(rest) == size or (size < 0 and spec.shape[1:].count(-1) == 1)) and not spec.column:
        return rest
    if not spec.required and not chosen:
        return None
    if size == 1:
        raise InvalidTensor(
            f"{where} has no column {spec.name!r}, which the model needs{nearest(spec.name, tuple(fields))}; "
            f"it has {listed(fields)}"
        )
    raise InvalidTensor(
        f"{where}: the model's input {spec.name!r} has {size if size > 0 else 'several'} values a row, and there is "
        f"neither a column {spec.name!r} of lists nor {spec.name}_0 and so on, and {len(rest)} columns could be meant; "
        "name them with --columns"
    )


def _size(spec: TensorSpec) -> int:
    """Values a row; -1 where they are not known."""
    return -1 if -1 in spec.shape[1:] else math.prod(spec.shape[1:])


def _check(field: Field, need: Need, where: str) -> None:
    """Raises InvalidTensor for a column that has a type, and not one that the model takes."""
    if not field.kind or field.kind == "null":
        return
    found, wanted = field.datatype, need.datatype
    apart = (DataType.BOOL, DataType.BYTES)
    fine = found is not None and (found is wanted or (found not in apart and wanted not in apart))
    if not fine or (field.nested and not need.width):
        raise InvalidTensor(
            f"{where}: column {field.name!r} is {field.kind}, and the model takes "
            f"{'lists of ' if need.width else ''}{wanted.value}"
        )


def _bytes(spec: TensorSpec) -> int:
    each = TEXT if spec.datatype is DataType.BYTES else spec.datatype.numpy.itemsize
    return each * math.prod(max(1, size) for size in spec.shape[1:])


def _names(signature: Signature) -> str:
    return listed([spec.name for spec in signature.inputs])
