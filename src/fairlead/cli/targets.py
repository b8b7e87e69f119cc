"""The options that say which target is meant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NamespaceOption = Annotated[
    str, typer.Option(help="Namespace of objects that name none.", show_default="the context's, or the pod's own")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", help="How the cluster is reached.", show_default="as kubectl")
]
ContextOption = Annotated[str, typer.Option(help="Context of the kubeconfig.", show_default="the current one")]
