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

_END = b"end of trees"
_NODES = (b"split_feature", b"threshold", b"decision_type", b"left_child", b"right_child")
"""What a tree has one of for each inner node."""
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
    if b"\nparameters:" in data[at:] and b"\nend of parameters" not in data[at:]:
        raise Flaw("it ends among its parameters")


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
    lines = dict(line.split(b"=", 1) for line in block.splitlines() if b"=" in line)
    leaves, cats = int(lines[b"num_leaves"]), int(lines.get(b"num_cat", b"0"))
    if leaves < 1 or len(lines[b"leaf_value"].split()) != leaves:
        raise ValueError("not a value for each leaf")
    if leaves == 1:
        return
    nodes = {key: lines[key].split() for key in _NODES}
    short = [key.decode() for key, values in nodes.items() if len(values) != leaves - 1]
    if short:
        raise ValueError(f"{short[0]} has not {leaves - 1} values")
    feature = np.array(nodes[b"split_feature"], np.int64)
    if feature.min() < 0 or feature.max() > last_feature:
        raise ValueError("it splits on a feature that is not there")
    children = np.sort(np.array(nodes[b"left_child"] + nodes[b"right_child"], np.int64))
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, leaves - 1)])
    if not np.array_equal(children, expected):
        raise ValueError("its nodes are no tree")
    if cats:
        _check_cats(lines, nodes, cats)


def _check_cats(lines: Mapping[bytes, bytes], nodes: Mapping[bytes, list[bytes]], cats: int) -> None:
    bounds = np.array(lines[b"cat_boundaries"].split(), np.int64)
    if len(bounds) != cats + 1 or bounds[0] != 0 or (np.diff(bounds) < 0).any():
        raise ValueError("cat_boundaries do not ascend")
    if len(lines[b"cat_threshold"].split()) != bounds[-1]:
        raise ValueError(f"cat_threshold has not {bounds[-1]} values")
    chosen = np.array(nodes[b"decision_type"], np.int64) & 1 == 1
    places = np.array(nodes[b"threshold"], np.float64)[chosen]
    if ((places < 0) | (places >= cats)).any():
        raise ValueError("a split names categories that are not there")
