"""The spec of docs/upstreams.md is one."""

from __future__ import annotations

import re
from pathlib import Path

from fairlead.wiring import specs, specs_upstream

PAGE = Path(__file__).parents[2] / "docs" / "upstreams.md"


def test_the_spec_of_the_page_is_read_and_means_what_the_commands_mean(tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    path = tmp_path / "f.yaml"
    path.write_text(block)
    found = specs.read(path).spec.endpoints["fraud"]
    made = specs_upstream.upstream("fraud", found)
    assert made is not None
    assert made.uri == "oip+http://10.0.0.5:8000,grpc://10.0.0.6:8001/fraud/3"
    assert (found.batching.max_rows, found.deadline_ms) == (32, 200)
