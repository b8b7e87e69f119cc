"""Graphs from a spec and from Python, and the order in which endpoints come to life."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fairlead.contracts.errors import UsageError
from fairlead.contracts.graph import Fallback, Graph, Step
from fairlead.contracts.types import DataType, TensorSpec
from fairlead.graph import Graph as Written
from fairlead.kit.config import home
from fairlead.kit.spec import graph as spec_graph
from fairlead.kit.spec.read import parse
from fairlead.serve.settings import EndpointSettings
from fairlead.serve.streams.settings import StreamSettings
from fairlead.wiring import graphs, serving, specs
from fairlead.wiring.batching import Asked, job
from fairlead.wiring.streaming import Plan as StreamPlan
from fairlead.wiring.streaming import place

SPEC = """
endpoints:
  scaler: {model: ./scaler.onnx}
  risk-a: {model: ./a.onnx}
  risk-b: {model: ./b.onnx}
  risk:
    deadline_ms: 500
    graph:
      inputs: {features: {datatype: FP32, shape: [-1, 16]}}
      steps:
        clean: {python: "shutil:which", take: {raw: features}, gives: {x: {datatype: FP32, shape: [-1, 16]}}}
        scaled: {endpoint: scaler, take: {X: clean}}
        a: {endpoint: risk-a, take: {X: scaled.Y}, timeout_ms: 50, fallback: {value: {score: 0.5}}}
        b: {endpoint: risk-b, take: {X: scaled.Y}, fallback: {step: a}}
        both: {combine: mean, of: [a.score, b.score], weights: [0.7, 0.3]}
        deep: {endpoint: risk-a, take: {X: features}, when: "both.score > 0.5", fallback: {endpoint: risk-b}}
        flat: {endpoint: risk-a, take: {X: features}, when: [not deep, "both.score != 0.1"]}
        score: {combine: first, of: [deep.score, flat.score, both]}
      outputs: {score: score}
"""


def written() -> Written:
    graph = Written()
    features = graph.input("features", "FP32", [-1, 16])
    clean = graph.function("clean", shutil.which, take={"raw": features}, gives={"x": ("FP32", [-1, 16])})
    scaled = graph.endpoint("scaled", "scaler", take={"X": clean})
    a = graph.endpoint("a", "risk-a", take={"X": scaled["Y"]}, timeout_ms=50, fallback={"score": 0.5})
    b = graph.endpoint("b", "risk-b", take={"X": scaled["Y"]}, fallback=a)
    both = graph.mean("both", [a["score"], b["score"]], weights=[0.7, 0.3])
    deep = graph.endpoint("deep", "risk-a", take={"X": features}, when=both["score"] > 0.5, fallback="risk-b")
    when = [deep.others, both["score"].differs(0.1)]
    flat = graph.endpoint("flat", "risk-a", take={"X": features}, when=when)
    graph.output(score=graph.first("score", [deep["score"], flat["score"], both]))
    return graph


def test_python_says_what_the_spec_says() -> None:
    asked = parse(SPEC, "f.yaml").spec.endpoints["risk"].graph
    assert asked is not None
    assert spec_graph.record(asked) == written().record


def test_values_compare_to_conditions() -> None:
    value = Written().input("x", "FP32", [-1])
    assert [value > 1, value >= 1, value < 0.5, value <= 2] == ["x > 1", "x >= 1", "x < 0.5", "x <= 2"]
    assert [value.equals("de"), value.equals(True), value.differs(3)] == ["x == 'de'", "x == true", "x != 3"]


def test_python_graphs_refuse_what_has_no_name() -> None:
    graph = Written()
    with pytest.raises(UsageError, match="is found by no name"):
        graph.function("f", lambda x: x, take={"x": graph.input("x", "FP32", [-1])}, gives={"y": ("FP32", [-1])})
    with pytest.raises(UsageError, match="has the datatype 'F32'; expected one of BOOL"):
        graph.input("z", "F32", [-1])
    stacked = Written()
    x = stacked.input("x", "INT64", [-1])
    stacked.stack("s", [x, x])
    stacked.vote("v", [x, x], weights=[1, 2])
    assert [step.combine for step in stacked.record.steps] == ["stack", "vote"]


def write(folder: Path, text: str) -> Path:
    path = folder / "f.yaml"
    path.write_text(text)
    return path


def test_targets_of_a_spec_come_behind_what_they_call(tmp_path: Path) -> None:
    reordered = SPEC.replace("  scaler: {model: ./scaler.onnx}\n", "") + "  scaler: {model: ./scaler.onnx}\n"
    file = specs.read(write(tmp_path, reordered))
    targets = serving.named([specs.target(name, one) for name, one in file.spec.endpoints.items()])
    assert [one.name for one in targets] == ["risk-a", "risk-b", "scaler", "risk"]
    assert targets[-1].settings is not None
    assert targets[-1].settings.deadline_ms == 500


@pytest.mark.parametrize(
    ("endpoint", "said"),
    [
        ("{graph: {steps: {a: {endpoint: m}}}, model: ./m.onnx}", "; found model and"),
        ("{threads: 2}", "; found none of them"),
        ("{graph: {steps: {a: {endpoint: mm}}}}", "f.yaml:4: endpoints.c.graph.steps.a calls the endpoint 'mm'; did"),
        ("{graph: {steps: {a: {endpoint: c}}}}", "endpoints call each other in a circle: c calls c;"),
        ("{graph: {steps: {a: {endpoint: d}}}}", "endpoints call each other in a circle: d calls c, c calls d;"),
        ("{graph: {steps: {a: {endpoint: m, take: {X: a.Y}}}}}", "endpoints.c.graph: the graph has a cycle: a takes"),
        ("{graph: {steps: {a: {endpoint: m, tke: {}}}}}", "endpoints.c.graph.steps.a.tke is not known; did you"),
        ("{graph: {steps: {a.b: {endpoint: m}}}}", "endpoints.c.graph.steps.a.b"),
        ("{graph: {steps: {a: {endpoint: m}}}, threads: 2}", "endpoints.c.threads is for a model; a graph has none"),
        ("{graph: {steps: {a: {endpoint: m}}}, replicas: {min: 0}}", "endpoints.c.replicas is for a model; a graph"),
        ("{graph: {steps: {a: {endpoint: m}}}, env: isolated}", "endpoints.c.env is for a model; a graph has none"),
        ("{graph: {steps: {a: {endpoint: m}}}, rollout: {steps: [9]}}", "endpoints.c.rollout needs a model"),
        ("{graph: 'shutil:which'}", "endpoints.c.graph: shutil:which is function; name a fairlead.graph.Graph"),
        ("{graph: ./none.py:graph}", "none.py is not a file"),
        ("{graph: {python: 'a:b', outputs: {x: y}}}", "python names a graph, a:b; leave inputs, steps and outputs out"),
    ],
)  # fmt: skip
def test_what_a_spec_cannot_say_is_told_with_its_place(tmp_path: Path, endpoint: str, said: str) -> None:
    text = f"endpoints:\n  m: {{model: ./m.onnx}}\n  d: {{graph: {{steps: {{a: {{endpoint: c}}}}}}}}\n  c: {endpoint}\n"
    with pytest.raises(UsageError) as caught:
        specs.read(write(tmp_path, text))
    assert said in str(caught.value)
    assert "f.yaml:" in str(caught.value)


def test_a_graph_in_a_file_is_a_target(tmp_path: Path) -> None:
    file = tmp_path / "risky.py"
    file.write_text("from fairlead.graph import Graph\ngraph = Graph()\ngraph.endpoint('a', 'm')\nother = 3\n")
    found = serving.target(f"{file}:graph")
    assert (found.name, found.uri) == ("risky", "")
    assert found.graph == Graph((Step("a", "m"),))
    assert serving.target(f"risk={file}:graph").name == "risk"
    with pytest.raises(UsageError, match="is int; name a fairlead.graph.Graph"):
        serving.target(f"{file}:other")
    file.write_text("1 / 0")
    with pytest.raises(UsageError, match="reading it raised ZeroDivisionError"):
        serving.target(f"{file}:again")
    with pytest.raises(UsageError, match="'risk': a step calls the endpoint 'm', which is not served"):
        serving.named([serving.target(f"risk={file}:graph")])


def _command(*_: object) -> list[str]:
    raise AssertionError("nothing is started")


def test_only_servers_answer_graphs(tmp_path: Path) -> None:
    target = serving.Target("", "risk", graph=Graph((Step("a", "m"),)))
    (tmp_path / "in.csv").write_text("x\n1\n")
    sentence = "endpoint 'risk' is a graph, which only a server answers"
    asked = Asked(target, str(tmp_path / "in.csv"), str(tmp_path / "out.csv"))
    with pytest.raises(UsageError, match=sentence):
        job(home(tmp_path), asked, _command, lambda _: None)
    with pytest.raises(UsageError, match=sentence):
        StreamPlan(
            home(tmp_path), target, place("redis://h/in", "--input"), place("redis://h/out", "--output"),
            StreamSettings(), EndpointSettings(),
        )  # fmt: skip


def test_a_fallback_in_python_is_constants_a_step_or_an_endpoint() -> None:
    record = written().record
    assert record.steps[2].fallback == Fallback({"score": 0.5})
    assert record.steps[3].fallback == Fallback(step="a")
    assert record.endpoints == ("scaler", "risk-a", "risk-b")
    assert record.inputs == (TensorSpec("features", DataType.FP32, (-1, 16)),)
    assert graphs.in_file("./a.py:b") == "./a.py"
    assert graphs.in_file("pkg.module:b") == ""


def test_a_file_without_such_a_name_is_told(tmp_path: Path) -> None:
    (tmp_path / "g.py").write_text("other = 1\n")
    with pytest.raises(UsageError, match=r"g\.py:graph: the file has no 'graph'; name its fairlead\.graph\.Graph"):
        graphs.read(f"{tmp_path}/g.py:graph")
