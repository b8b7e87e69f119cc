"""LightGBM's text format, as far as knowing that a file is whole, and what it takes and gives. No LightGBM.

LightGBM's own reader ends the process on most files that are cut short or altered (4.7.0: a tree is read at the place
and in the size that the header claims), so nothing reaches it whose trees are not where and what they should be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_END = b"end of trees"
_OF_NODES = (
    b"split_feature", b"threshold", b"decision_type", b"left_child", b"right_child", b"split_gain",
    b"internal_value", b"internal_weight", b"internal_count",
)  # fmt: skip
_OF_LEAVES = (b"leaf_value", b"leaf_weight", b"leaf_count")
"""What a tree has one of for each inner node, and for each leaf. The last ones of each are not in every file."""
_PARAMETER = re.compile(rb"\[[^:\]]+: ?.*\]")
_PLAIN = re.compile(rb"[ -~\n]*")
_DEFAULT_NAME = re.compile(r"Column_\d+")


class Flaw(ValueError):
    """Why the bytes are no whole model, for the end of a sentence."""


def header(data: bytes) -> dict[str, str]:
    """The lines ``key=value`` before the first tree. Raises Flaw when one that every model has is absent."""
    head = data.partition(b"\nTree=")[0].partition(_END)[0].decode("utf-8", "replace")
    found = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
    for key in ("num_class", "max_feature_idx", "feature_names"):
        if key not in found:
            raise Flaw(f"its header has no {key}")
    if len(found["feature_names"].split(" ")) != int(found["max_feature_idx"]) + 1:
        raise Flaw("its header does not have as many feature_names as max_feature_idx says")
    return found


def check(data: bytes, head: Mapping[str, str]) -> None:
    """Raises Flaw unless every tree is whole, where the header says, and leads from its root to its own leaves."""
    start = data.find(b"\nTree=0\n") + 1
    if not start:
        raise Flaw("it has no tree")
    at = start
    for number, size in enumerate(_sizes(data, start, head)):
        block = data[at : at + size]
        if not block.startswith(b"Tree=%d\n" % number) or len(block) < size:
            raise Flaw(f"tree {number} is not where the header says")
        try:
            _check_tree(block, int(head["max_feature_idx"]))
        except (ValueError, KeyError, IndexError) as error:
            raise Flaw(f"tree {number} does not parse ({error})") from error
        at += size
    if not data.startswith(_END, at):
        raise Flaw("the line 'end of trees' is not behind the last tree")
    _, told, rest = data[at:].partition(b"\nparameters:")
    parameters, ended, _ = rest.partition(b"\nend of parameters")
    if told and not ended:
        raise Flaw("it ends among its parameters")
    if not all(map(_PARAMETER.fullmatch, filter(None, parameters.split(b"\n")))):
        raise Flaw("one of its parameters is not written [name: value]")


def names(head: Mapping[str, str]) -> tuple[str, ...]:
    """Of the features; empty where they are those that LightGBM gives when it is told none."""
    found = tuple(head["feature_names"].split(" "))
    return () if all(map(_DEFAULT_NAME.fullmatch, found)) else found


def categories(data: bytes) -> dict[int, list[Any]]:
    """Place of each feature that was a categorical column of a data frame, to that column's categories.

    Empty where the file does not tell which features they are (ordered categoricals are not marked).
    """
    kept = re.search(rb"\npandas_categorical:(.+)\n?\Z", data)
    marked = re.search(rb"\n\[categorical_feature: ([\d,]+)\]", data)
    if kept is None or marked is None:
        return {}
    values = json.loads(kept[1]) or []
    places = [int(place) for place in marked[1].split(b",")]
    return dict(zip(places, values, strict=True)) if len(places) == len(values) else {}


def _sizes(data: bytes, start: int, head: Mapping[str, str]) -> list[int]:
    """Bytes of each tree: as the header says, or from one ``Tree=`` to the next in files too old to say."""
    told = head.get("tree_sizes")
    if told is not None:
        return [int(size) for size in told.split()]
    end = data.find(_END, start)
    begins = [match.start() + 1 for match in re.finditer(rb"\nTree=\d+\n", data[:end])]
    return [after - before for before, after in zip(begins, [*begins[1:], end], strict=True)]


def _check_tree(block: bytes, last_feature: int) -> None:
    if not _PLAIN.fullmatch(block):  # Python would take a form feed for a blank, and LightGBM loops over it for ever
        raise ValueError("a byte in it is no text")
    lines = dict(line.split(b"=", 1) for line in filter(None, block.split(b"\n")))
    leaves, cats = int(lines[b"num_leaves"]), int(lines[b"num_cat"])
    if leaves < 1:
        raise ValueError("it has no leaf")
    counts = {**dict.fromkeys(_OF_LEAVES, leaves), **dict.fromkeys(_OF_NODES, leaves - 1)}
    found = {key: np.array(lines[key].split(), np.float64) for key in counts if key in lines}
    for key, numbers in found.items():
        if len(numbers) != counts[key] and leaves > 1:
            raise ValueError(f"{key.decode()} has not {counts[key]} values")
    if not len(found[b"leaf_value"]):
        raise ValueError("leaf_value has no value")
    if leaves == 1:
        return
    feature = found[b"split_feature"]
    if feature.min() < 0 or feature.max() > last_feature:
        raise ValueError("it splits on a feature that is not there")
    children = np.sort(np.concatenate([found[b"left_child"], found[b"right_child"]]))
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    if not np.array_equal(children, expected):
        raise ValueError("its nodes are no tree")
    if cats:
        _check_cats(lines, found[b"decision_type"], found[b"threshold"], cats)


def _check_cats(lines: Mapping[bytes, bytes], decisions: Array, thresholds: Array, cats: int) -> None:
    bounds = np.array(lines[b"cat_boundaries"].split(), np.int64)
    if len(bounds) != cats + 1 or bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise ValueError("cat_boundaries do not ascend")
    if len(np.array(lines[b"cat_threshold"].split(), np.uint32)) != bounds[-1]:
        raise ValueError(f"cat_threshold has not {bounds[-1]} values")
    places = thresholds[decisions.astype(np.int64) & 1 == 1]
    if ((places < 0) | (places >= cats)).any():
        raise ValueError("a split names categories that are not there")
