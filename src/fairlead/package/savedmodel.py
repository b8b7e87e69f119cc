"""What in a TensorFlow SavedModel could touch files or the network, found without TensorFlow.

A SavedModel is a program. Most of its operations only count; some read and write files, talk to other machines or call
Python. Such an operation is a risk when anything that a server runs could reach it: a signature, what initialises or
restores the model, or a function that the object graph names. Saving does not count: every SavedModel can be saved
again, which writes files, and no server does that.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fairlead.contracts.errors import BrokenModel
from fairlead.package.protobuf import Buffer, fields

FILE = "saved_model.pb"

_RISKY = re.compile(
    "File|Dataset|Reader|Record|PyFunc|Print|Summary|Dump|Debug|Save|Restore|Checkpoint|LMDB|Sql|Rpc|Remote|CustomCall"
    "|DecodeProto|EncodeProto|ImmutableConst|VocabRemapping|Skipgram|^Load|^Copy(Host)?$|^_?(Host)?(Send|Recv)$"
)
"""Names of operations that read or write files, reach other machines, or run code that is not in the graph. Written
against the 1,908 operations of TensorFlow 2.21; wide on purpose."""
_RESTORING = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
"""What loading runs in every model with variables of TensorFlow 1: they read checkpoints, and nothing else parses."""
_SEARCHED = 1 << 34
"""Functions times bytes of the object graphs; some ten seconds. A large Keras model has a tenth of it."""
_BYTES = 2
_INITIAL = (b"saved_model_main_op", b"saved_model_init_op", b"legacy_init_op")


@dataclass(slots=True)
class _Part:
    """A node or a function: the operations in it, the nodes that feed it and the functions that it calls."""

    ops: set[str] = field(default_factory=set)
    inputs: set[str] = field(default_factory=set)
    calls: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Graph:
    """``run``: nodes that a server runs.  ``restore``: those that fill variables.  ``objects``: the object graphs."""

    nodes: dict[str, _Part] = field(default_factory=dict)
    functions: dict[str, _Part] = field(default_factory=dict)
    run: set[str] = field(default_factory=set)
    restore: set[str] = field(default_factory=set)
    objects: list[bytes] = field(default_factory=list)


def risky(folder: Path) -> list[str]:
    """Operations that could do more than count, in order; empty for a model that needs no trust.

    Raises BrokenModel for a file that is cut short or is no SavedModel.
    """
    path = folder / FILE
    try:
        with path.open("rb") as handle, mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ) as data:
            graph = _read(data)
    except OSError as error:
        raise BrokenModel(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:  # messages in messages, deeper than any TensorFlow writes
        raise BrokenModel(f"{path} is no SavedModel, or cut short; save or fetch the model again") from error
    return sorted(_reached(graph))


def _reached(graph: _Graph) -> set[str]:
    objects = b"\0".join(graph.objects)
    if len(graph.functions) * len(objects) > _SEARCHED:  # then each of them counts as named
        named = set(graph.functions)
    else:
        named = {name for name in graph.functions if _raw(name) in objects}
    ops = _ops(graph, graph.run, named) | (_ops(graph, graph.restore, set()) - _RESTORING)
    return {op for op in ops if _RISKY.search(op) and op not in graph.functions}


def _ops(graph: _Graph, nodes: set[str], functions: set[str]) -> set[str]:
    """Operations that running these nodes and functions runs."""
    empty = _Part()
    live = [graph.nodes.get(name, empty) for name in _closure(nodes, lambda one: graph.nodes.get(one, empty).inputs)]
    called = functions.union(*(part.calls for part in live))
    inner = _closure(called, lambda one: graph.functions.get(one, empty).calls)
    return set().union(*(part.ops for part in live), *(graph.functions.get(name, empty).ops for name in inner))


def _closure(start: Iterable[str], more: Callable[[str], Iterable[str]]) -> set[str]:
    seen: set[str] = set()
    stack = [*start]
    while stack:
        name = stack.pop()
        if name not in seen:
            seen.add(name)
            stack += more(name)
    return seen


def _read(data: Buffer) -> _Graph:
    graph = _Graph()
    metas = [(begin, stop) for number, begin, stop in _messages(data, 0, len(data)) if number == 2]
    if not metas:
        raise ValueError("no graph")
    for start, end in metas:
        for number, begin, stop in _messages(data, start, end):
            if number == 2:
                _take_graph(graph, data, begin, stop)
            elif number == 3:
                graph.restore |= {_node(name) for name in _texts(data, begin, stop, 3)}
            elif number == 4:
                _take_collection(graph, data, begin, stop)
            elif number == 5:
                graph.run |= {_node(name) for name in _signature(data, begin, stop)}
            elif number == 7:
                graph.objects.append(bytes(data[begin:stop]))
    return graph


def _take_graph(graph: _Graph, data: Buffer, start: int, end: int) -> None:
    for number, begin, stop in _messages(data, start, end):
        if number == 1:
            for name in _texts(data, begin, stop, 1):
                _take_node(graph.nodes.setdefault(name, _Part()), data, begin, stop)
        elif number == 2:
            for inner, first, last in _messages(data, begin, stop):
                if inner == 1:
                    _take_function(graph, data, first, last)


def _take_function(graph: _Graph, data: Buffer, start: int, end: int) -> None:
    spans = list(_messages(data, start, end))
    names = [name for number, begin, stop in spans if number == 1 for name in _texts(data, begin, stop, 1)]
    for name in names:
        part = graph.functions.setdefault(name, _Part())
        for number, begin, stop in spans:
            if number == 3:
                _take_node(part, data, begin, stop)


def _take_node(part: _Part, data: Buffer, start: int, end: int) -> None:
    for number, begin, stop in _messages(data, start, end):
        if number == 2:
            op = _text(data, begin, stop)
            part.ops.add(op)
            part.calls.add(op)  # a function may be called as if it were an operation
        elif number == 3:
            part.inputs.add(_node(_text(data, begin, stop)))
        elif number == 5:
            part.calls |= {
                name
                for inner, first, last in _messages(data, begin, stop)
                if inner == 2
                for name in _functions(data, first, last)
            }


def _functions(data: Buffer, start: int, end: int) -> Iterator[str]:
    """Functions that an attribute's value names: one (10), or those of a list (1, and in it 9)."""
    for number, begin, stop in _messages(data, start, end):
        if number == 10:
            yield from _named(data, begin, stop)
        elif number == 1:
            for inner, first, last in _messages(data, begin, stop):
                if inner == 9:
                    yield from _named(data, first, last)


def _named(data: Buffer, start: int, end: int) -> Iterator[str]:
    """A function and those that its own attributes name."""
    for number, begin, stop in _messages(data, start, end):
        if number == 1:
            yield _text(data, begin, stop)
        elif number == 2:
            for inner, first, last in _messages(data, begin, stop):
                if inner == 2:
                    yield from _functions(data, first, last)


def _take_collection(graph: _Graph, data: Buffer, start: int, end: int) -> None:
    """The node lists of the collections that name what initialises a model of TensorFlow 1."""
    if not any(name in bytes(data[start:end]) for name in _INITIAL):
        return
    for number, begin, stop in _messages(data, start, end):
        if number == 2:
            for _, first, last in _messages(data, begin, stop):
                graph.run |= {_node(name) for name in _texts(data, first, last, 1)}


def _signature(data: Buffer, start: int, end: int) -> Iterator[str]:
    """Tensors that one entry of the map of signatures gives: by name (1), or the parts of a composite (4, 5)."""
    for number, begin, stop in _messages(data, start, end):
        if number != 2:
            continue
        for inner, first, last in _messages(data, begin, stop):
            if inner == 2:
                for kind, low, high in _messages(data, first, last):
                    if kind == 2:
                        yield from _tensors(data, low, high)


def _tensors(data: Buffer, start: int, end: int) -> Iterator[str]:
    for number, begin, stop in _messages(data, start, end):
        if number == 1:
            yield _text(data, begin, stop)
        elif number == 4:
            yield from (_text(data, first, last) for _, first, last in _messages(data, begin, stop))
        elif number == 5:
            for inner, first, last in _messages(data, begin, stop):
                if inner == 2:
                    yield from _tensors(data, first, last)


def _messages(data: Buffer, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, beginning and end of every field of bytes."""
    for number, wire, begin, stop in fields(data, start, end):
        if wire == _BYTES:
            yield number, begin, stop


def _texts(data: Buffer, start: int, end: int, wanted: int) -> list[str]:
    return [_text(data, begin, stop) for number, begin, stop in _messages(data, start, end) if number == wanted]


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(data: Buffer, start: int, end: int) -> str:
    return bytes(data[start:end]).decode("utf-8", "surrogateescape")


def _node(tensor: str) -> str:
    """The node of a tensor (``name:0``) or of an input (``^name`` when it is only waited for)."""
    return tensor.removeprefix("^").partition(":")[0]
