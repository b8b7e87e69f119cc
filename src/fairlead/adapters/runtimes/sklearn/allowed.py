"""Types that a skops file may hold besides those skops itself allows. What is not here needs somebody to vouch for it.

Every entry is plain data or a pure function: it neither runs code of the file nor reaches outside the process. Those
whose numbers index memory without a check are followed by a check in ``audit.py``.
"""

from __future__ import annotations

_DISTANCES = (
    *("Euclidean", "SEuclidean", "Manhattan", "Chebyshev", "Minkowski", "Mahalanobis", "Hamming", "Canberra"),
    *("BrayCurtis", "Jaccard", "Dice", "RogersTanimoto", "RussellRao", "SokalMichener", "SokalSneath", "Haversine"),
)
_KERNELS = (
    *("ConstantKernel", "WhiteKernel", "RBF", "Matern", "RationalQuadratic", "ExpSineSquared", "DotProduct"),
    *("Sum", "Product", "Exponentiation", "CompoundKernel", "PairwiseKernel"),
)
_SCORES = ("f_classif", "f_oneway", "f_regression", "r_regression", "chi2")
_SPLITS = ("KFold", "StratifiedKFold", "GroupKFold", "ShuffleSplit", "StratifiedShuffleSplit", "TimeSeriesSplit")

CHECKED = (
    "sklearn.tree._tree.Tree",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    "scipy.sparse._csr.csr_matrix",
    "scipy.sparse._csr.csr_array",
    "scipy.interpolate._bsplines.BSpline",
)
"""Allowed because ``audit.py`` looks at their content."""

ALLOWED = (
    *CHECKED,
    "functools.partial",  # of a function that is allowed itself
    "numpy.dtype",
    "numpy.mean",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.cluster._bisect_k_means._BisectingTree",
    "sklearn.cluster._kmeans._kmeans_single_lloyd",
    "sklearn.cluster._kmeans._kmeans_single_elkan",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "sklearn.utils.validation.check_array",
    *(f"sklearn.metrics._dist_metrics.{name}Distance{bits}" for name in _DISTANCES for bits in ("", "32", "64")),
    *(f"sklearn.gaussian_process.kernels.{name}" for name in _KERNELS),
    *(f"sklearn.feature_selection._univariate_selection.{name}" for name in _SCORES),
    *(f"sklearn.model_selection._split.{name}" for name in _SPLITS),
)
