"""Faults of the scripted broker: each sees a command first and may keep it to itself."""

from __future__ import annotations

from tests.client.scripted_broker import Fault, Header, ScriptedBroker


def refuse(command: str, name: str, times: int = 1) -> Fault:
    """The next ``times`` commands of that kind fail, and nothing of them is done."""
    left = times

    def fault(broker: ScriptedBroker, peer: bytes, header: Header) -> bool:
        nonlocal left
        if header["cmd"] != command or left == 0:
            return False
        left -= 1
        broker.send(peer, broker.failed(name, header))
        return True

    return fault


def ignore(command: str, times: int = 1) -> Fault:
    """The next ``times`` commands of that kind vanish."""
    left = times

    def fault(_broker: ScriptedBroker, _peer: bytes, header: Header) -> bool:
        nonlocal left
        if header["cmd"] != command or left == 0:
            return False
        left -= 1
        return True

    return fault
