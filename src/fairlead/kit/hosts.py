"""Which hosts are this machine, by their name alone: nothing is looked up."""

from __future__ import annotations

import ipaddress


def loopback(host: str | None) -> bool:
    """Whether only this machine reaches it: ``localhost`` and the loopback addresses."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False
