"""Engine ``openai``: any server of OpenAI's API that runs already, here or elsewhere."""

from __future__ import annotations

from fairlead.adapters.engines.served.settings import REMOTE, checked, settings
from fairlead.adapters.engines.served.upstream import Upstream
from fairlead.contracts.engine import EngineOptions


class OpenAIEngine(Upstream):
    """Raises UsageError and SourceNotFound for options that say nothing of use."""

    def __init__(self, options: EngineOptions) -> None:
        super().__init__(settings(options, checked(options, REMOTE, "openai"), "openai"))
