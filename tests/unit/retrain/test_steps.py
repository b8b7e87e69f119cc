"""Pipelines from files: what they are given, what they must return, and what is said when they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fairlead.contracts.errors import PipelineFailed, Unavailable, UsageError
from fairlead.contracts.events import Label
from fairlead.contracts.plans import RetrainRequest
from fairlead.kit import plugins
from fairlead.retrain.steps import Context, Data, commit, pipeline, tables
from fairlead.testing.clock import ManualClock
from fairlead.testing.state import MemoryState

GOOD = """
import numpy as np
from fairlead.retrain.steps import Data

def load_data(ctx):
    ctx.log("rows", 3)
    return Data({"x": np.arange(3.0), "y": [0, 1, 0]}, {"x": [1.0], "y": [1]}, "y")

def train(ctx, data):
    return ("model", data.target, ctx.seed)

def evaluate(ctx, model, data):
    return {"auc": 1}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "churn.py"
    path.write_text(text)
    return path


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    return Context("churn", "churn", RetrainRequest("r", "churn", "human", "", 0), tmp_path, seed=7)


def test_a_good_pipeline(tmp_path: Path, ctx: Context) -> None:
    found = pipeline(written(tmp_path, GOOD))
    data = found.loaded(ctx)
    assert ctx.metrics == {"rows": 3.0}
    assert found.trained(ctx, data) == ("model", "y", 7)
    assert found.evaluated(ctx, None, data) == {"auc": 1.0}
    assert len(found.digest) == 64
    without = pipeline(written(tmp_path, GOOD.partition("def evaluate")[0]))
    assert without.evaluated(ctx, None, data) == {}
    assert without.digest != found.digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def load_data(ctx): pass", r"has no function train\(ctx, data\)"),
        ("train = 3\ndef load_data(ctx): pass", "has no function train"),
        ("def train(ctx, data): pass", r"has no function load_data\(ctx\)"),
        ("x = 1\n1 / 0", "churn.py, line 2 raised ZeroDivisionError: division by zero while it was loaded"),
        ("def load_data(ctx:", "churn.py, line 1: "),
        ("import a_library_that_is_not_there", "line 1: the pipeline needs the library 'a_library_that_is_not_there'"),
    ],
)
def test_a_file_that_is_no_pipeline(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PipelineFailed, match=said):
        pipeline(written(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        pipeline(tmp_path / "nothing.py")
    (tmp_path / "pipeline.txt").write_text(GOOD)
    with pytest.raises(UsageError, match=r"end in \.py"):
        pipeline(tmp_path / "pipeline.txt")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("\n    raise OSError('disk')", "load_data of .*churn.py, line 3 raised OSError: disk"),
        ("\n    return None", "load_data returned a NoneType; return a retrain.steps.Data"),
        ("\n    import json\n    json.loads('{')", "line 4 raised JSONDecodeError"),
    ],
)
def test_what_it_raises_names_the_line(tmp_path: Path, ctx: Context, body: str, said: str) -> None:
    found = pipeline(written(tmp_path, f"def train(ctx, data): pass\ndef load_data(ctx):{body}\n"))
    with pytest.raises(PipelineFailed, match=said):
        found.loaded(ctx)


def test_our_own_errors_stay_what_they_are(tmp_path: Path, ctx: Context) -> None:
    text = "from fairlead.contracts.errors import Unavailable\ndef train(ctx, data): pass\n"
    with pytest.raises(Unavailable):
        pipeline(written(tmp_path, f"{text}def load_data(ctx): raise Unavailable('events')")).loaded(ctx)
    with pytest.raises(Unavailable):
        pipeline(written(tmp_path, f"{text}raise Unavailable('events')"))


def test_what_is_returned_is_checked(tmp_path: Path, ctx: Context) -> None:
    text = "def load_data(ctx): pass\ndef train(ctx, data): pass\ndef evaluate(ctx, model, data): return 3"
    found = pipeline(written(tmp_path, text))
    data = Data({}, {}, "y")
    with pytest.raises(PipelineFailed, match="train returned nothing"):
        found.trained(ctx, data)
    with pytest.raises(PipelineFailed, match="evaluate returns a mapping"):
        found.evaluated(ctx, None, data)


class TestModuleFrom:
    def test_files_beside_it_can_be_imported(self, tmp_path: Path) -> None:
        (tmp_path / "beside_a_pipeline.py").write_text("WORD = 'found'")
        (tmp_path / "main.py").write_text("from beside_a_pipeline import WORD\nclass Kept: pass")
        module = plugins.module_from(tmp_path / "main.py")
        assert module.WORD == "found"
        assert plugins.sys.modules[module.Kept.__module__] is module
        assert str(tmp_path) not in plugins.sys.path

    def test_a_file_that_raises_leaves_nothing(self, tmp_path: Path) -> None:
        (tmp_path / "bad.py").write_text("import sys\nsys.path.pop(0)\nraise KeyError('no')")
        before = list(plugins.sys.path), set(plugins.sys.modules)
        with pytest.raises(KeyError):
            plugins.module_from(tmp_path / "bad.py")
        assert (list(plugins.sys.path), set(plugins.sys.modules)) == before


class TestTables:
    def test_a_data_frame_and_a_mapping_are_the_same(self) -> None:
        frame = pd.DataFrame({"n": [1, 2], "t": ["a", None], "when": pd.to_datetime(["2020-01-01", "2020-01-02"])})
        frame["c"] = pd.Categorical(["u", "v"])
        frame["y"] = [0, 1]
        found = tables(Data(frame, frame, "y", time="when", ignore=["c"]), Path("p.py"))
        assert found.features == ("n", "t")
        assert found.train["t"].tolist() == ["a", None]
        assert found.train["c"].dtype == object
        columns = {"n": np.array([1, 2]), "t": np.array(["a", None], object), "y": np.array([0, 1])}
        columns |= {"when": frame["when"].to_numpy(), "c": np.array(["u", "v"], object)}
        again = tables(Data(columns, columns, "y", time="when", ignore=["c"]), Path("p.py"))
        for name, array in again.train.items():
            assert array.tolist() == found.train[name].tolist()

    @pytest.mark.parametrize(
        ("train", "holdout", "more", "said"),
        [
            ([1, 2], {}, {}, "a table is a data frame or a mapping"),
            ({"x": [1]}, {"x": [1]}, {}, "train has no column 'y'; it has x"),
            ({"y": [1]}, {}, {}, "holdout has no column 'y'; it has none"),
            ({"y": [1]}, {"y": [1]}, {"time": "t"}, "train has no column 't'"),
            ({"y": [1]}, {"y": [1]}, {"ignore": ["z"]}, "train has no column 'z'"),
            ({"y": [1], "x": [1, 2]}, {"y": [1]}, {}, "equally long"),
            ({"y": [1], "x": [1]}, {"y": [1]}, {}, "only one of train and holdout has the column 'x'"),
        ],
    )
    def test_what_is_wrong_is_named(self, train: Any, holdout: Any, more: dict[str, Any], said: str) -> None:
        with pytest.raises(PipelineFailed, match=f"load_data of p.py: .*{said}"):
            tables(Data(train, holdout, "y", **more), Path("p.py"))

    def test_the_digest_is_of_the_values(self) -> None:
        def digest(value: Any) -> str:
            return tables(Data({"x": [1, value], "y": ["a", "b"]}, {"x": [1], "y": ["a"]}, "y"), Path()).digest

        assert digest(2) == digest(2)
        assert len({digest(2), digest(3), digest(2.0)}) == 3


class Events:
    """What a pipeline asks of an event store."""

    def frame(self, endpoint: str, **asked: Any) -> dict[str, np.ndarray[Any, Any]]:
        assert endpoint == "churn"
        return {
            "prediction_id": np.array(["a", "a", "b", "c"]),
            "row": np.array([0, 1, 0, 0]),
            "at_ms": np.array([1, 1, 2, 3]),
            "entity": np.array(["k", "k", None, "k"], object),
            "in.age": np.array([10, 11, 20, 30]),
            "out.label": np.array([0, 0, 1, 1]),
        }


def test_labelled_rows(ctx: Context, tmp_path: Path) -> None:
    state = MemoryState(ManualClock())
    labels = [("a", 1, 0, False), ("c", 0, 1, False), ("b", 0, 1, True), ("k", 1, 7, True), ("unknown", 0, 1, False)]
    state.label([Label("churn", key, value, 5, row, by_key) for key, row, value, by_key in labels])
    full = Context("churn", "churn", ctx.request, tmp_path, events=Events(), state=state)  # type: ignore[arg-type]
    found = full.labelled()
    assert {name: array.tolist() for name, array in found.items()} == {
        "age": [11, 30],
        "at_ms": [1, 3],
        "label": [0, 1],
    }
    assert len(full.labels()) == 5
    state.label([Label("churn", "k", 8.0, 5, 0, True)])
    assert full.labelled()["label"].tolist() == [8, 0, 1]  # of both, the label by prediction id counts

    class Shadowed(Events):
        def frame(self, endpoint: str, **asked: Any) -> dict[str, np.ndarray[Any, Any]]:
            return {**super().frame(endpoint, **asked), "arm": np.array(["shadow", "champion", "champion", "champion"])}

    again = Context("churn", "churn", ctx.request, tmp_path, events=Shadowed(), state=state)  # type: ignore[arg-type]
    assert again.labelled()["age"].tolist() == [11, 30]
    assert ctx.labels() == []
    assert ctx.frame() == {}
    assert ctx.labelled()["label"].tolist() == []


class TestCommit:
    def test_from_a_branch_a_detached_head_and_packed_refs(self, tmp_path: Path) -> None:
        path = tmp_path / "pipelines" / "churn.py"
        path.parent.mkdir()
        git = tmp_path / ".git"
        (git / "refs" / "heads").mkdir(parents=True)
        (git / "HEAD").write_text("ref: refs/heads/main\n")
        assert commit(path) == ""
        (git / "packed-refs").write_text("# pack\naaa refs/heads/other\nbbb refs/heads/main\n")
        assert commit(path) == "bbb"
        (git / "refs" / "heads" / "main").write_text("ccc\n")
        assert commit(path) == "ccc"
        (git / "HEAD").write_text("ddd\n")
        assert commit(path) == "ddd"

    def test_from_a_worktree(self, tmp_path: Path) -> None:
        main, tree = tmp_path / "main" / ".git", tmp_path / "tree"
        place = main / "worktrees" / "tree"
        place.mkdir(parents=True)
        tree.mkdir()
        (tree / ".git").write_text(f"gitdir: {place}\n")
        (place / "HEAD").write_text("ref: refs/heads/work\n")
        (place / "commondir").write_text("../..\n")
        (main / "refs" / "heads").mkdir(parents=True)
        (main / "refs" / "heads" / "work").write_text("eee\n")
        assert commit(tree / "churn.py") == "eee"

    def test_outside_git(self, tmp_path: Path) -> None:
        assert commit(tmp_path / "churn.py") == ""
