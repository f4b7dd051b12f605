"""Where a broker may listen, where it may say that it is, and where its coordinator is.

Owns the grammar of addresses and the rule that nothing but this machine may reach a broker that
has no encryption, unless its operator says so in words.
"""

from __future__ import annotations

import ipaddress
import re

from broker.errors import ConfigError

_TCP = re.compile(r"tcp://(\[[^\]]+\]|[^:\[\]]+):(\d{1,5}|\*)", re.ASCII)
_HTTP = re.compile(r"https?://(\[[^\]/]+\]|[^:\[\]/@]+):\d{1,5}", re.ASCII)
_IPC = re.compile(r"ipc://.+")


def require_listen_address(address: str) -> str:
    """``tcp://HOST:PORT`` (port 0 takes a free one) or ``ipc://PATH``; ConfigError otherwise."""
    found = _TCP.fullmatch(address)
    if found and (found.group(2) == "*" or int(found.group(2)) <= 65_535):
        return address
    if _IPC.fullmatch(address):
        return address
    raise ConfigError(f"cannot listen on {address!r}: give tcp://HOST:PORT or ipc://PATH")


def require_reachable_address(address: str) -> str:
    """What another may be told to connect to: one host, and a port that is known."""
    require_listen_address(address)
    if names_one_host(address) and not re.search(r":(0+|\*)$", address):
        return address
    raise ConfigError(f"nobody can connect to {address!r}: give tcp://HOST:PORT or ipc://PATH")


def require_coordinator_address(address: str) -> str:
    """``http://HOST:PORT`` or ``https://HOST:PORT``."""
    if _HTTP.fullmatch(address):
        return address
    raise ConfigError(f"{address!r} is not http://HOST:PORT or https://HOST:PORT")


def names_one_host(address: str) -> bool:
    """False for all interfaces of a machine at once."""
    found = _TCP.fullmatch(address)
    return found is None or found.group(1) not in ("*", "0.0.0.0", "[::]", "[0:0:0:0:0:0:0:0]")


def is_local(address: str) -> bool:
    """True when no other machine can reach the address."""
    found = _TCP.fullmatch(address)
    if found is None:
        return address.startswith("ipc://")
    host = found.group(1).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        # ``*`` or the name of an interface: nothing says that it stays on this machine.
        return False
