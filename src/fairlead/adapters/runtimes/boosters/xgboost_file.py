"""An XGBoost file as a document, with trees that lead somewhere. No XGBoost.

XGBoost's own reader and predictor end the process on some files that are cut short or altered (3.2.0: a length or a
child that is not there), so nothing reaches them that was not looked at here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fairlead.adapters.runtimes.boosters import ubjson

Array = np.ndarray[Any, Any]

_NOBODY = 2**31 - 1
"""The parent of a root."""


def document(data: bytes) -> dict[str, Any]:
    """The file's ``learner``. Raises ValueError, for the end of a sentence."""
    text = data[1:2] in (b'"', b" ", b"\n", b"\r", b"\t")
    found = json.loads(data) if text else ubjson.decode(data)
    learner = found.get("learner") if isinstance(found, dict) else None
    if not isinstance(learner, dict):
        raise ValueError("it has no learner")  # noqa: TRY004 - the caller made no mistake of type
    return learner


def grown(learner: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part with trees; empty for a linear booster."""
    booster = learner["gradient_booster"]
    if booster["name"] == "gblinear":
        return {}
    found: Mapping[str, Any] = booster["gbtree"]["model"] if booster["name"] == "dart" else booster["model"]
    return found


def check(learner: Mapping[str, Any]) -> None:
    """Raises ValueError, KeyError, TypeError or IndexError unless every tree is one, over features that there are."""
    about = learner["learner_model_param"]
    features = int(about["num_feature"])
    model = grown(learner)
    trees = model.get("trees", ())
    groups = max(1, int(about["num_class"]), int(about.get("num_target", 1)))
    _check_order(model, len(trees), groups)
    if sorted(int(tree["id"]) for tree in trees) != list(range(len(trees))):
        raise ValueError("its trees are not numbered from 0 on")
    for number, tree in enumerate(trees):
        nodes = int(tree["tree_param"]["num_nodes"])
        left, right, parents, split = (
            _integers(tree, key, nodes, number)
            for key in ("left_children", "right_children", "parents", "split_indices")
        )
        if ((parents < -1) | ((parents >= nodes) & (parents != _NOBODY))).any():
            raise ValueError(f"tree {number} names a parent that is not there")
        inner = left != -1
        _check_nodes(np.stack([left, right]), inner, number, nodes)
        if ((split[inner] < 0) | (split[inner] >= features)).any():
            raise ValueError(f"tree {number} splits on a feature that is not there")
        _check_categories(tree, nodes, number)


def _check_order(model: Mapping[str, Any], trees: int, groups: int) -> None:
    """Which output each tree adds to, and which trees an iteration has."""
    owner = np.asarray(model.get("tree_info", ()), np.int64)
    if len(owner) != trees or ((owner < 0) | (owner >= groups)).any():
        raise ValueError("its tree_info does not name an output for each tree")
    starts = np.asarray(model.get("iteration_indptr", (0, trees)), np.int64)  # files before xgboost 2.0 have none
    if trees and (starts[0] != 0 or starts[-1] != trees or (np.diff(starts) < 0).any()):
        raise ValueError("its iteration_indptr does not lead to the last tree")


def _check_nodes(children: Array, inner: Array, number: int, nodes: int) -> None:
    """From the root, level by level: children that are there, and each reached once."""
    level, reached = np.zeros(1, np.int64), 1
    if not nodes:
        raise ValueError(f"tree {number} has no node")
    while level.size:
        level = children[:, level[inner[level]]].ravel()
        reached += level.size
        if reached > nodes or ((level < 1) | (level >= nodes)).any():
            raise ValueError(f"tree {number} has nodes that are no tree")


def _check_categories(tree: Mapping[str, Any], nodes: int, number: int) -> None:
    """Which categories a node sends left: a run of one list for each such node."""
    whole = len(tree.get("categories", ()))
    at, size, node = (np.asarray(tree.get(f"categories_{key}", ()), np.int64) for key in ("segments", "sizes", "nodes"))
    if not len(at) == len(size) == len(node):
        raise ValueError(f"tree {number} has categories for more or fewer nodes than it says")
    if ((at < 0) | (size < 0) | (at + size > whole) | (node < 0) | (node >= nodes)).any():
        raise ValueError(f"tree {number} names categories that are not there")


def _integers(tree: Mapping[str, Any], key: str, count: int, number: int) -> Array:
    found = np.asarray(tree[key], np.int64)
    if found.shape != (count,):
        raise ValueError(f"tree {number} has not {count} {key}")
    return found
