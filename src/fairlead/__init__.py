"""Fairlead takes a trained model to a live, watched endpoint and keeps it good.

``import fairlead`` loads nothing heavy: the client is imported when it is first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fairlead.client import AsyncClient, Client

__version__ = "0.1.0"
__all__ = ["AsyncClient", "Client", "__version__"]


def __getattr__(name: str) -> Any:
    if name in ("AsyncClient", "Client"):
        from fairlead import client  # noqa: PLC0415 - the one lazy import: keeps `import fairlead` light

        return getattr(client, name)
    raise AttributeError(f"module 'fairlead' has no attribute {name!r}")
