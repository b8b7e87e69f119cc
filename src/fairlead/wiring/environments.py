"""Libraries of a model's own: `--env isolated`."""

from __future__ import annotations

from fairlead.contracts.errors import Untrusted
from fairlead.kit.clock import Clock
from fairlead.kit.config import Home
from fairlead.package import requirements
from fairlead.package.bundle import Bundle
from fairlead.package.environment import Environment, Environments
from fairlead.wiring.stores import deciding


def own(bundle: Bundle, home: Home, clock: Clock) -> Environment:
    """The environment that a model asks for, built where there is none. Blocks.

    Raises Untrusted for a model that nobody vouched for: what it names is installed, and that runs code.
    """
    artefact = bundle.artefact
    wanted = requirements.of(artefact)
    with deciding(bundle):
        if not artefact.trusted:
            raise Untrusted(f"{bundle.uri} names libraries in {wanted.folder}, and installing them runs code")
    return Environments(home.cache / "environments", clock).of(
        wanted, [str(requirements.home_of(artefact))], bundle.uri
    )
