"""A session without a socket whose services are called and served by the test.

Owns the shapes of what a broker says about calls.
"""

from __future__ import annotations

from typing import Any

import msgpack

from broker.client.line import Line
from broker.client.services.calling import ServiceCall
from broker.client.services.serving import Worker
from tests.client.cluster_rig import ClusterRig
from tests.client.rig import Rig, Sent

TIMEOUT_MS = 4_000


def begin(rig: Rig, service: str = "q", **fields: Any) -> ServiceCall:
    """A call as the faces make it."""
    command = {"cmd": "call", "service": service, **fields}
    return rig.session.calling.begin(command, b"body", rig.now + TIMEOUT_MS, rig.now)


def answer(
    rig: Rig, call: Sent, raw: bytes = b"answer", *, end: bool = True, **fields: Any
) -> None:
    header = {"v": 1, "re": "reply", "req": call["req"], "end": end, **fields}
    rig.session.receive(call.line, [msgpack.packb(header), raw], rig.now)


def serve(rig: Rig, service: str = "q", concurrency: int = 1) -> Worker:
    return rig.session.serving.add(service, concurrency, lambda: rig.now)


def request(
    rig: Rig, worker: Worker, call: bytes = b"c1", line: Line | None = None, **fields: Any
) -> None:
    """The broker gives the worker a call."""
    names = {"service": worker.service, "worker": worker.number, "call": call}
    header = {"v": 1, "re": "request", **names, "timeout_ms": 1_000, "attempt": 1, **fields}
    rig.session.receive(line or rig.line, [msgpack.packb(header), b"body"], rig.now)


def withdraw(rig: Rig, worker: Worker, call: bytes | None, line: Line | None = None) -> None:
    """Nobody waits for that call any more; without one, for none that came so far."""
    header = {"v": 1, "re": "call_cancelled", "service": worker.service, "reason": "cancelled"}
    header |= {"worker": worker.number}
    if call is not None:
        header["call"] = call
    rig.session.receive(line or rig.line, [msgpack.packb(header)], rig.now)


def reply_to(rig: Rig, worker: Worker, raw: bytes = b"done") -> None:
    """The worker takes its next request and answers it."""
    taken = worker.take()
    assert taken is not None
    rig.session.serving.answer(worker, taken, {}, raw, end=True)


def both_connected() -> ClusterRig:
    """Speaks to ``a``, which owns the service q, and to ``b``."""
    rig = ClusterRig()
    rig.tell_map()
    begin(rig, "mail")
    rig.connect("b")
    (call,) = rig.at("b", "call")
    answer(rig, call)
    rig.after(3_000)
    return rig
