"""What a trace of an answer says, by each version of the names, and where it goes."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from fairlead.adapters.traces.files import FileTracer
from fairlead.adapters.traces.names import NAMES, attributes, title
from fairlead.contracts.answered import Answered
from fairlead.contracts.generation import Generation, Message, Sampling, Usage
from fairlead.contracts.secrets import Secret

otlp = pytest.importorskip("fairlead.adapters.traces.otlp", reason="needs fairlead[otel]")
trace_pb = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")

DAY_MS = 86_400_000
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answered(**more) -> Answered:
    asked = Generation("g-1", "chat", (Message("user", "a secret"),), Sampling(temperature=0.5, most=7, stop=("x",)))
    base = Answered(
        "chat", asked, "r-1", "stop", False, 10.0, 10.5, 12.0, 1_800_000_000_000, 4, 0.7, Usage(10, 5, 4, 2),
        streamed=True, caller="shop", facts={"cost": 0.25, "route": "b", "object": object()},
    )  # fmt: skip
    return replace(base, **more)


def test_names_of_the_newest_version():
    found = attributes(answered(), "latest")
    assert title(answered()) == "chat chat"
    assert found["gen_ai.provider.name"] == "fairlead"
    assert found["gen_ai.usage.input_tokens"] == 15
    assert found["gen_ai.usage.output_tokens"] == 6
    assert found["gen_ai.usage.cache_read.input_tokens"] == 5
    assert found["gen_ai.response.time_to_first_chunk"] == 0.5
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert found["gen_ai.request.stop_sequences"] == ["x"]
    assert (found["fairlead.cost"], found["fairlead.caller"]) == (0.25, "shop")
    assert "fairlead.object" not in found
    assert "secret" not in json.dumps(found)


def test_an_older_version_has_its_own_names_and_fewer():
    found = attributes(answered(), "1.37")
    assert found["gen_ai.system"] == "fairlead"
    assert "gen_ai.provider.name" not in found
    assert "gen_ai.usage.cache_read.input_tokens" not in found


@pytest.mark.parametrize("version", NAMES)
def test_an_error_is_named_by_its_code(version):
    found = attributes(answered(outcome="engine_lost", failed=True, first=0.0, error="gone"), version)
    assert found["error.type"] == "engine_lost"
    assert "gen_ai.response.finish_reasons" not in found


def test_content_only_where_the_answer_brought_it():
    assert "gen_ai.output.messages" not in attributes(answered(), "latest")
    assert attributes(answered(text="hi"), "latest")["gen_ai.output.messages"] == "hi"


def test_files_a_day_and_old_ones_go(tmp_path):
    (tmp_path / "2020-01-01.jsonl").write_text("{}\n")
    tracer = FileTracer(str(tmp_path), "shop", days=7)
    for number in range(300):
        tracer.put(answered(request_id=f"r-{number}"))
    tracer.put(answered(at_ms=1_800_000_000_000 + DAY_MS))
    tracer.close()
    first, second = sorted(tmp_path.glob("*.jsonl"))
    lines = [json.loads(line) for line in [*first.read_text().splitlines(), *second.read_text().splitlines()]]
    assert len(lines) == 301
    assert lines[0]["end_ms"] - lines[0]["start_ms"] == 2000
    assert lines[0]["attributes"]["fairlead.request_id"] == "r-0"
    assert tracer.troubles() == []


def test_a_folder_that_cannot_be_written_is_a_trouble_and_nothing_more(tmp_path):
    (tmp_path / "file").write_text("")
    tracer = FileTracer(str(tmp_path / "file" / "traces"), "shop")
    tracer.put(answered())
    tracer.close()
    assert "cannot be written" in tracer.troubles()[0]


class Collector(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((dict(self.headers.items()), body))
        self.send_response(self.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def collector():
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.got = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_otlp_sends_what_a_collector_reads(collector):
    url = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    tracer = otlp.OtlpTracer(url, "shop", Secret("env:X", lambda: "X-Key=abc, other=1"))
    tracer.put(answered(parent=PARENT))
    tracer.put(answered(failed=True, outcome="engine_lost", error="it ended", parent="nonsense"))
    tracer.close()
    [(headers, body)] = collector.got
    assert headers["x-key"] == "abc"
    message = trace_pb.ExportTraceServiceRequest.FromString(body)
    [resource] = message.resource_spans
    assert {one.key: one.value.string_value for one in resource.resource.attributes}["service.name"] == "shop"
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["chat chat", "chat chat"]
    assert spans[0].trace_id.hex() == PARENT.split("-")[1]
    assert spans[0].parent_span_id.hex() == PARENT.split("-")[2]
    assert spans[0].end_time_unix_nano - spans[0].start_time_unix_nano == 2_000_000_000
    assert spans[0].events[0].time_unix_nano - spans[0].start_time_unix_nano == 500_000_000
    assert spans[1].status.message == "it ended"
    assert tracer.troubles() == []
