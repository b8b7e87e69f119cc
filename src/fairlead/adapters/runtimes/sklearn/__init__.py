"""The ``sklearn`` runtime: fitted scikit-learn estimators from skops files, and from pickles that are trusted."""
