"""Calls over real sockets: a real broker, raw DEALERs, and the protocol's page alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import pytest
import zmq

from tests.support.broker_process import BrokerProcess

DEADLINE_MS = 20_000


class Peer:
    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(endpoint)
        assert self.ask({"cmd": "hello", "req": 1, "client": "wire"})[0]["re"] == "welcome"

    def send(self, header: dict[str, Any], *frames: bytes) -> None:
        self.socket.send_multipart([msgpack.packb({"v": 1, **header}), *frames])

    def receive(self) -> tuple[dict[str, Any], list[bytes]]:
        assert self.socket.poll(DEADLINE_MS), "nothing came in time"
        header, *frames = self.socket.recv_multipart()
        return msgpack.unpackb(header), frames

    def ask(self, header: dict[str, Any], *frames: bytes) -> tuple[dict[str, Any], list[bytes]]:
        self.send(header, *frames)
        return self.receive()


@pytest.fixture
def peers(tmp_path: Path) -> Any:
    """A caller and a worker that serves ``echo``."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with BrokerProcess(tmp_path) as broker:
        caller, worker = Peer(context, broker.endpoint), Peer(context, broker.endpoint)
        serve = {"cmd": "serve", "req": 2, "service": "echo", "worker": 1, "concurrency": 4}
        assert worker.ask(serve)[0]["re"] == "ok"
        yield caller, worker
        for peer in (caller, worker):
            peer.socket.close()
    context.term()


def call(req: int, **fields: Any) -> dict[str, Any]:
    return {"cmd": "call", "req": req, "service": "echo", "timeout_ms": 10_000, **fields}


def answer(request: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"cmd": "answer", "service": "echo", "worker": 1, "call": request["call"], **fields}


def test_a_call_and_its_reply_with_bodies_of_any_size(peers: tuple[Peer, Peer]) -> None:
    caller, worker = peers
    for req, size in enumerate((0, 1, 300_000, 16 * 1024 * 1024), start=10):
        caller.send(call(req), b"x" * size)
        request, frames = worker.receive()
        assert (request["re"], len(frames[0])) == ("request", size)
        worker.send(answer(request), frames[0])
        reply, frames = caller.receive()
        assert (reply["re"], reply["req"], len(frames[0])) == ("reply", req, size)


def test_replies_go_to_their_calls_whatever_their_order(peers: tuple[Peer, Peer]) -> None:
    caller, worker = peers
    for req in (20, 21, 22, 23):
        caller.send(call(req), b"%d" % req)
    given = [worker.receive() for _ in range(4)]
    for request, frames in reversed(given):
        worker.send(answer(request), frames[0])
    replies = [caller.receive() for _ in range(4)]
    assert [(reply["req"], frames) for reply, frames in replies] == [
        (req, [b"%d" % req]) for req in (23, 22, 21, 20)
    ]


def test_a_stream_a_failure_and_a_deadline(peers: tuple[Peer, Peer]) -> None:
    caller, worker = peers
    caller.send(call(30, stream=True), b"")
    request, _ = worker.receive()
    worker.send(answer(request, end=False), b"a")
    worker.send(answer(request), b"b")
    parts = [caller.receive() for _ in range(2)]
    assert [(reply["end"], frames) for reply, frames in parts] == [(False, [b"a"]), (True, [b"b"])]
    caller.send(call(31), b"")
    request, _ = worker.receive()
    worker.send({**answer(request), "cmd": "fail", "error": "KeyError"})
    assert caller.receive()[0]["remote_error"] == "KeyError"
    caller.send(call(32, timeout_ms=50), b"")
    request, _ = worker.receive()
    assert caller.receive()[0]["error"] == "timeout"
    stopped, _ = worker.receive()
    assert (stopped["re"], stopped["call"]) == ("call_cancelled", request["call"])


def test_a_worker_whose_connection_is_gone_is_lost(peers: tuple[Peer, Peer]) -> None:
    caller, worker = peers
    caller.send(call(40), b"")
    worker.receive()
    worker.send({"cmd": "bye", "req": 9})
    assert caller.receive()[0]["error"] == "responder_lost"
    assert caller.ask(call(41), b"")[0]["error"] == "no_responder"
