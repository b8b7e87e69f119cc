"""Boosted trees from the native files of the libraries that grew them: the ``xgboost`` and ``lightgbm`` runtimes."""
