"""The specs that are rendered for a cluster, and what of them is kept.

``python tests/kubernetes_cases.py`` writes the golden files anew: read them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fairlead.kit.spec.read import SpecFile, parse
from fairlead.wiring.kubernetes import kserve, objects
from fairlead.wiring.kubernetes.asked import Rendering

HERE = Path(__file__).parent / "unit" / "wiring" / "kubernetes"
CASES: dict[str, tuple[str, Rendering]] = {
    "design-keda-gateway": ("design", Rendering(scaler="keda", mesh="gateway-api")),
    "design-keda-istio": ("design", Rendering(scaler="keda", mesh="istio")),
    "whole-hpa-gateway": ("whole", Rendering(mesh="gateway-api")),
    "whole-keda-gateway": ("whole", Rendering(scaler="keda", mesh="gateway-api")),
    "plain-hpa": ("plain", Rendering(insecure=True)),
}


def spec(name: str) -> SpecFile:
    return parse((HERE / f"{name}.yaml").read_text(), f"{name}.yaml")


def golden(case: str) -> str:
    """The text that a case makes, with the name of each file before it."""
    if case == "kserve":
        return kserve.render(spec("kserve"), Rendering())
    name, how = CASES[case]
    return "".join(f"# {file}\n---\n{text}---\n" for file, text in objects.render(spec(name), how).items())


def bodies(case: str) -> list[dict[str, Any]]:
    return [one for one in yaml.safe_load_all(golden(case)) if one]


if __name__ == "__main__":
    for case in (*CASES, "kserve"):
        (HERE / "golden" / f"{case}.yaml").write_text(golden(case))
