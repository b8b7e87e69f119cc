"""A scikit-learn of last year in an environment of its own, beside the server's. It is fetched: it needs an index."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sklearn

import fairlead
from fairlead.contracts.runtime import Artefact
from fairlead.kit.clock import SystemClock
from fairlead.package import requirements
from fairlead.package.environment import Environment, Environments

OLD = "1.5.2"
TRAINING = """
import pickle, sys
import numpy as np, sklearn
from sklearn.linear_model import LogisticRegression

rows = np.random.default_rng(0).normal(size=(100, 4))
model = LogisticRegression().fit(rows, rows[:, 0] > 0)
pickle.dump(model, open(sys.argv[1], "wb"))
np.save(sys.argv[2], model.predict_proba(rows))
print(sklearn.__version__)
"""


@pytest.fixture
def old(tmp_path: Path) -> Environment:
    """One with the old scikit-learn, for the model that is about to be in ``tmp_path``."""
    fetched = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", "-q", "-d", tmp_path / "wheels", f"scikit-learn=={OLD}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if fetched.returncode:
        pytest.skip(f"scikit-learn {OLD} cannot be fetched here: {fetched.stderr.strip().splitlines()[-1]}")
    (tmp_path / "requirements.txt").write_text(f"scikit-learn=={OLD}\nnumpy<2\n")
    wanted = requirements.of(Artefact("sklearn", tmp_path / "model.pkl"))
    return Environments(tmp_path / "home" / "cache" / "environments", SystemClock()).of(wanted, [], "model.pkl")


@pytest.mark.slow
def test_a_model_runs_with_the_libraries_that_made_it(start, tmp_path: Path, old: Environment) -> None:
    assert sklearn.__version__ != OLD
    words = [old.start[0], "-c", TRAINING, tmp_path / "model.pkl", tmp_path / "expected.npy"]
    assert subprocess.check_output(words, text=True).strip() == OLD
    process = start("serve", "./model.pkl", "--trust-pickle", "--env", "isolated", "--home", "home", "--port", "0")
    with fairlead.Client(process.url()) as client:
        answer = client.predict("model", {"input": np.random.default_rng(0).normal(size=(100, 4))})
    assert np.allclose(answer["probabilities"], np.load(tmp_path / "expected.npy"), rtol=1e-12)
    assert process.stop() == 0
    log = "\n".join(process.lines)
    assert "environment found" in log
    assert "environment being built" not in log
    assert "made this model" not in log  # the server's versions do not run it
