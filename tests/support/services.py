"""Callers and workers over a node rig: the commands of services, said briefly."""

from __future__ import annotations

from typing import Any

from tests.support.node_rig import PEER, NodeRig, Sent

WORKER = b"\0wrk0"


class Desk:
    """One rig and what passes over it; by default PEER calls and WORKER serves ``s``."""

    def __init__(self, rig: NodeRig, service: str = "s") -> None:
        self.rig = rig
        self.service = service

    def serve(
        self, number: int = 1, concurrency: int = 1, peer: bytes = WORKER, **fields: Any
    ) -> Sent:
        """The answer; requests that came before it stay in ``rig.sent``."""
        given = {"service": self.service, "worker": number, "concurrency": concurrency}
        return self.rig.ask(peer, "serve", **{**given, **fields})

    def call(
        self, body: bytes = b"question", timeout_ms: int = 10_000, peer: bytes = PEER, **fields: Any
    ) -> int:
        given = {"service": self.service, "timeout_ms": timeout_ms}
        req = self.rig.command(peer, "call", body, **{**given, **fields})
        self.rig.run()
        return req

    def requests(self, peer: bytes = WORKER) -> list[Sent]:
        """All that the workers of a peer were given, in order."""
        return [s for s in self.rig.sent if s.re == "request" and s.peer == peer]

    def answer(self, request: Sent, body: bytes = b"reply", **fields: Any) -> list[Sent]:
        """Without ``req``; gives what was sent for it."""
        self.rig.command(request.peer, "answer", body, req=None, **_of(request), **fields)
        return self.rig.run()

    def fail(self, request: Sent, error: str = "ValueError", **fields: Any) -> list[Sent]:
        self.rig.command(request.peer, "fail", req=None, error=error, **_of(request), **fields)
        return self.rig.run()

    def ends(self, req: int, peer: bytes = PEER) -> list[Any]:
        """What the caller was told of a call: bodies of replies, names of errors."""
        return [
            s.frames[0] if s.re == "reply" else s["error"]
            for s in self.rig.sent
            if s.req == req and s.peer == peer
        ]

    def stopped(self, peer: bytes = WORKER) -> list[tuple[bytes | None, str]]:
        """(call, reason) of what the workers of a peer were told to stop."""
        return [
            (s.header.get("call"), s["reason"])
            for s in self.rig.sent
            if s.re == "call_cancelled" and s.peer == peer
        ]

    def facts(self) -> dict[str, Any]:
        listed = dict(self.rig.ask(PEER, "services", pattern=self.service)["services"])
        found: dict[str, Any] = listed.get(self.service, {})
        return found


def _of(request: Sent) -> dict[str, Any]:
    return {name: request[name] for name in ("service", "worker", "call")}
