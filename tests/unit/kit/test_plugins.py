"""What a plugin says when its library is not there."""

from __future__ import annotations

import pytest

from fairlead.kit import plugins


@pytest.mark.parametrize(
    ("module", "extra"), [("xgboost", "xgboost"), ("lightgbm", "lightgbm"), ("ai_edge_litert.interpreter", "litert")]
)
def test_a_missing_library_names_the_extra(module: str, extra: str) -> None:
    error = plugins.missing(ModuleNotFoundError(name=module), f"runtime {extra!r}")
    library = module.partition(".")[0]
    assert str(error) == (
        f"runtime {extra!r} needs the library {library!r}, which is not installed: pip install 'fairlead[{extra}]'"
    )
