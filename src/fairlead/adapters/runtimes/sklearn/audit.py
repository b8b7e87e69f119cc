"""Looks at what skops cannot: numbers in a file that scikit-learn uses as memory addresses without a check.

skops verifies types only, and much of scikit-learn's compiled code believes the sizes it is given. A crafted tree
whose child index lies outside its own nodes crashes the process at the first prediction (scikit-learn pull request
34558); one whose child index points back never ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import scipy.sparse
from scipy.interpolate import BSpline
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.neighbors import BallTree, KDTree
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM
from sklearn.tree._tree import Tree

from fairlead.contracts.errors import BrokenModel

_Array = np.ndarray[Any, Any]
_Owner = Mapping[str, Any]
"""The attributes of the nearest estimator around a part."""


def audit(estimator: Any) -> None:
    """Raises BrokenModel when a tree, a sparse matrix or the like inside ``estimator`` points outside itself."""
    parts = [*_parts(estimator)]
    for checks in (_CHECKS, _TRIALS):  # a trial runs what all the checks have found sound
        for part, owner in parts:
            for kind, sound in checks.items():
                if isinstance(part, kind) and not _holds(sound, part, owner):
                    name = type(part).__name__
                    raise BrokenModel(f"a {name} in the file points outside its own data; save the model again")


def _holds(sound: Callable[[Any, _Owner], bool], part: Any, owner: _Owner) -> bool:
    """A part that lacks what the check looks at, or has it in another type, is not sound either."""
    try:
        return sound(part, owner)
    except Exception:  # noqa: BLE001 - a crafted file may break it in any way
        return False


def _parts(root: Any) -> Iterator[tuple[Any, _Owner]]:
    """Every object that ``root`` holds, each once."""
    stack: list[tuple[Any, _Owner]] = [(root, {})]
    seen: set[int] = set()
    while stack:
        part, owner = stack.pop()
        if id(part) in seen or isinstance(part, (str, bytes, int, float, type)):
            continue
        seen.add(id(part))
        attributes = getattr(part, "__dict__", {})
        if "n_features_in_" in attributes:
            owner = attributes
        yield part, owner
        held = list(attributes.values())
        if isinstance(part, dict):
            held += part.values()
        elif isinstance(part, (list, tuple, set)):
            held += part
        elif isinstance(part, np.ndarray) and part.dtype.kind == "O":
            held += part.flat
        stack += [(one, owner) for one in held]


def _later(children: _Array) -> _Array:
    """Which children come after their parent and within the nodes."""
    own = np.arange(len(children))
    return (children > own) & (children < len(children))


def _tree(tree: Any, owner: _Owner) -> bool:
    """The nodes of a decision tree."""
    left, right, feature = tree.children_left, tree.children_right, tree.feature
    leaf = (left == -1) & (right == -1)
    known = (feature >= 0) & (feature < min(tree.n_features, owner.get("n_features_in_", tree.n_features)))
    return bool(tree.node_count > 0 and np.all(leaf | (_later(left) & _later(right) & known)))


def _boosted(predictor: Any, owner: _Owner) -> bool:
    """The nodes of a histogram gradient boosting tree, and the bit sets of its categorical splits."""
    nodes = predictor.nodes
    features = owner.get("n_features_in_", 0)
    categories = np.zeros(features, bool)
    if owner.get("_bin_mapper") is not None:
        categories = np.asarray(owner["_bin_mapper"].is_categorical_, bool)
    if nodes.ndim != 1 or len(nodes) == 0 or categories.shape != (features,):
        return False
    inner = nodes["is_leaf"] == 0
    feature = nodes["feature_idx"]
    children = _later(nodes["left"].astype(np.int64)) & _later(nodes["right"].astype(np.int64))
    if not np.all(~inner | (children & (feature >= 0) & (feature < features))):
        return False
    by_category = inner & (nodes["is_categorical"] != 0)
    sets = (predictor.raw_left_cat_bitsets, predictor.binned_left_cat_bitsets)
    return bool(
        np.all(categories[feature[by_category]])
        and all(one.ndim == 2 and one.shape[1] == 8 for one in sets)
        and all(np.all(nodes["bitset_idx"][by_category] < len(one)) for one in sets)
    )


def _neighbours(tree: Any, _owner: _Owner) -> bool:
    """The nodes of a k-d or ball tree: a heap whose leaves are ranges of points."""
    data, index, nodes, bounds = (np.asarray(part) for part in tree.get_arrays())
    levels, count = tree.__getstate__()[5:7]
    starts, ends, place = nodes["idx_start"], nodes["idx_end"], np.arange(len(nodes))
    return bool(
        count == len(nodes) == 2**levels - 1
        and len(index) == len(data)
        and np.all((index >= 0) & (index < len(data)))
        and np.all((starts >= 0) & (starts <= ends) & (ends <= len(data)))
        and np.all((nodes["is_leaf"] != 0) | (2 * place + 2 < count))
        and bounds.shape[1:] == (count, data.shape[1])
    )


def _sparse(matrix: Any, _owner: _Owner) -> bool:
    try:
        matrix.check_format(full_check=True)
    except (ValueError, IndexError):
        return False
    return True


def _stages(model: Any, owner: _Owner) -> bool:
    """Gradient boosting: its loop writes as many columns as a stage has trees into what ``init_`` gave room for."""
    inner = (part for part, _ in _parts(model.init_) if isinstance(part, _BOOSTED))
    if not all(_stages(part, owner) for part in inner):
        return False
    trees = model.estimators_
    row = np.zeros((1, trees[0, 0].n_features_in_), np.float32)
    room = model._raw_predict_init(row)  # noqa: SLF001 - what its predict calls first
    return bool(trees.ndim == 2 and room.shape == (1, trees.shape[1]))


def _spline(spline: Any, _owner: _Owner) -> bool:
    """A B-spline: a coefficient for every span of its knots."""
    knots, values, degree = np.asarray(spline.t), np.asarray(spline.c), spline.k
    return bool(
        isinstance(degree, int)
        and 0 <= degree < len(knots)
        and knots.ndim == 1
        and len(values) >= len(knots) - degree - 1 > degree
        and np.all(np.diff(knots) >= 0)
    )


def _vectors(machine: Any, _owner: _Owner) -> bool:
    """A support vector machine: libsvm believes every count that it is given."""
    held = vars(machine)
    vectors, support, weights = held["support_vectors_"], held["support_"], held["_dual_coef_"]
    counts, chances = np.asarray(held["_n_support"]), (len(held["_probA"]), len(held["_probB"]))
    classifies = isinstance(machine, (SVC, NuSVC))
    classes = len(machine.classes_) if classifies else 2
    pairs = classes * (classes - 1) // 2
    dense = weights.data if scipy.sparse.issparse(weights) else weights
    if machine.kernel == "precomputed" or callable(machine.kernel):
        placed = bool(np.all((support >= 0) & (support < machine.shape_fit_[0])))
    else:
        placed = vectors.shape == (len(support), machine.n_features_in_)
    return bool(
        placed
        and len(counts) == classes
        and np.all(counts >= 0)
        and (not classifies or counts.sum() == len(support))
        and weights.shape == (classes - 1, len(support))
        and dense.size == (classes - 1) * len(support)
        and len(held["_intercept_"]) == pairs
        and chances in ((0, 0), (pairs, pairs))
    )


_CHECKS: dict[type, Callable[[Any, _Owner], bool]] = {
    Tree: _tree,
    TreePredictor: _boosted,
    KDTree: _neighbours,
    BallTree: _neighbours,
    scipy.sparse.csr_matrix: _sparse,
    scipy.sparse.csr_array: _sparse,
    BSpline: _spline,
    **dict.fromkeys((SVC, NuSVC, SVR, NuSVR, OneClassSVM), _vectors),
}

_BOOSTED = (GradientBoostingClassifier, GradientBoostingRegressor)
_TRIALS: dict[type, Callable[[Any, _Owner], bool]] = dict.fromkeys(_BOOSTED, _stages)
