"""A tiny broker in a thread of the test, for the failures that a real one cannot be asked for.

Owns queues in memory, and faults: refusals, lost replies, held replies, lost sessions, a restart.
It speaks the protocol of ``docs/protocol.md`` with msgpack alone and shares no code with client
or broker, so that a misreading of the protocol shows as a difference.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, Self

import msgpack
import zmq

from tests.client.scripted_codes import CODES
from tests.client.scripted_queue import ScriptedQueue, ranges_of
from tests.client.scripted_services import ScriptedServices
from tests.client.scripted_session import ScriptedConsumer, ScriptedSession
from tests.client.scripted_transactions import ScriptedTransactions
from tests.support.waiting import wait_until

Header = dict[str, Any]
#: Sees each command first; True means that nothing else is to be done with it.
Fault = Callable[["ScriptedBroker", bytes, Header], bool]

POLL_MS = 5


class ScriptedBroker(ScriptedTransactions, ScriptedServices):
    def __init__(self) -> None:
        self.transacted = {}
        self.instances = {}
        self.workers = []
        self.calls = {}
        self.port = 0
        self.epoch = 1
        self.queues: dict[str, ScriptedQueue] = {}
        self.sessions: dict[bytes, ScriptedSession] = {}
        #: Every command that came, in order, the faulty ones included.
        self.seen: list[Header] = []
        self.faults: list[Fault] = []
        #: Replies are kept here instead of being sent while this is a list.
        self.held: list[tuple[bytes, list[bytes]]] | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket: zmq.Socket[bytes] | None = None
        self._calls: queue.Queue[tuple[Callable[[], None], threading.Event]] = queue.Queue()
        self._is_stopping = False
        self._next_session = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._bind)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._unbind)
        self._is_stopping = True
        self._thread.join()

    # What a test can do to it.

    def stop(self) -> None:
        """As a crash does: connections and sessions are gone, what was put is kept."""
        self._do(self._unbind)

    def start(self) -> None:
        self._do(self._bind)

    def restart(self) -> None:
        self.stop()
        self.start()

    def forget_sessions(self) -> None:
        self._do(self._end_sessions)

    def close_sessions(self) -> None:
        """Ends every session and says so."""

        def end() -> None:
            for session in list(self.sessions.values()):
                self.send(session.peer, self.failed("session_closed", re="closed"))
            self._end_sessions()

        self._do(end)

    def end_session_of_worker(self, number: int) -> None:
        """Cuts the client off whose worker came as that number, from 1."""

        def end() -> None:
            session = self.workers[number - 1].session
            self._end(session)
            self.send(session.peer, self.failed("session_closed", re="closed"))

        self._do(end)

    def hold_replies(self) -> None:
        self._do(lambda: setattr(self, "held", []))

    def release_replies(self, order: Callable[[list[Any]], list[Any]] = list) -> None:
        """Sends what was held, in the order that ``order`` makes of it."""

        def release() -> None:
            held, self.held = self.held or [], None
            for peer, frames in order(held):
                self._send_frames(peer, frames)

        self._do(release)

    def drop_held(self) -> None:
        """The held replies are lost, and so are the connections: no client could miss them."""

        def drop() -> None:
            self.held = None
            self._unbind()
            self._bind()

        self._do(drop)

    def say(self, frames: list[bytes]) -> None:
        """Sends any frames to every session."""

        def send() -> None:
            for session in self.sessions.values():
                self._send_frames(session.peer, frames)

        self._do(send)

    def delete_queue(self, name: str) -> None:
        def delete() -> None:
            del self.queues[name]
            for session in self.sessions.values():
                for consumer in [c for c in session.consumers.values() if c.queue == name]:
                    del session.consumers[consumer.number]
                    gone = self.failed("queue_deleted", re="cancelled")
                    self.send(session.peer, {**gone, "consumer": consumer.number})

        self._do(delete)

    def commands(self, name: str) -> list[Header]:
        return [header for header in list(self.seen) if header["cmd"] == name]

    def put_directly(self, name: str, elements: list[Any], **fields: Any) -> None:
        def put() -> None:
            self.queue(name).put(elements, fields)
            self._serve_consumers()

        self._do(put)

    def serves(self, queue: str) -> bool:
        return True

    def queue(self, name: str) -> ScriptedQueue:
        return self.queues.setdefault(name, ScriptedQueue(name))

    # Its thread.

    def _do(self, call: Callable[[], None]) -> None:
        done = threading.Event()
        self._calls.put((call, done))
        assert done.wait(10), "the scripted broker does not answer"

    def _serve(self) -> None:
        while not self._is_stopping:
            while not self._calls.empty():
                call, done = self._calls.get()
                call()
                done.set()
            if self._socket is None:
                self._wait_for_call()
            elif self._socket.poll(POLL_MS):
                peer, *frames = self._socket.recv_multipart()
                self._receive(peer, frames)

    def _wait_for_call(self) -> None:
        try:
            call, done = self._calls.get(timeout=POLL_MS / 1000)
        except queue.Empty:
            return
        call()
        done.set()

    def _bind(self) -> None:
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.sndhwm = socket.rcvhwm = 0
        self._socket = socket
        if not self.port:
            self.port = socket.bind_to_random_port("tcp://127.0.0.1")
            return
        # The former socket is closed in the background: its port may be taken for a moment.
        wait_until(self._is_bound, "the port is free")

    def _is_bound(self) -> bool:
        assert self._socket is not None
        try:
            self._socket.bind(self.address)
        except zmq.ZMQError:
            return False
        return True

    def _unbind(self) -> None:
        if self._socket is not None:
            self._socket.close(0)
            self._socket = None
            self._end_sessions()
            self.epoch += 1

    def _end_sessions(self) -> None:
        for session in list(self.sessions.values()):
            self._end(session)

    def _end(self, session: ScriptedSession) -> None:
        self.sessions.pop(session.peer, None)
        self.workers_lost(session)
        for each in self.queues.values():
            each.give_back_all(session.id)

    def _receive(self, peer: bytes, frames: list[bytes]) -> None:
        header = msgpack.unpackb(frames[0])
        self.seen.append(header)
        if any(fault(self, peer, header) for fault in list(self.faults)):
            return
        session = self.sessions.get(peer)
        if session is None and header["cmd"] != "hello":
            self.send(peer, self.failed("no_session", header))
            return
        handler = getattr(self, f"_handle_{header['cmd']}")
        reply = handler(peer if session is None else session, header, frames[1:])
        if reply is not None and "req" in header:
            self.send(peer, {"v": 1, "req": header["req"], **reply})
        self._serve_consumers()

    def _handle_hello(self, peer: bytes | ScriptedSession, header: Header, _: Any) -> Header:
        assert isinstance(peer, bytes)
        resumed = [s for s in self.sessions.values() if s.id == header.get("resume")]
        for session in resumed:
            self._end(session)
        self._next_session += 1
        session = ScriptedSession(b"session-%d" % self._next_session, peer)
        self.sessions[peer] = session
        return {
            "re": "welcome",
            "session": session.id,
            "broker": "scripted",
            "version": "0",
            "timeout_ms": header["timeout_ms"],
            "limits": {},
        }

    def _handle_ping(self, *_: Any) -> Header:
        return {"re": "pong"}

    def _handle_bye(self, session: ScriptedSession, *_: Any) -> Header:
        self._end(session)
        return {"re": "ok"}

    def _handle_declare(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        known = header["queue"] in self.queues
        found = self.queue(header["queue"])
        settings = header.get("settings", {})
        if known and found.settings != settings:
            return self.failed("settings_mismatch")
        found.settings = settings
        return {"re": "ok", "uuid": b"u" * 16, "created": not known}

    def _handle_put(self, _: ScriptedSession, header: Header, frames: list[bytes]) -> Header:
        elements = msgpack.unpackb(frames[-1])
        assert len(elements) == header["count"]
        ids = msgpack.unpackb(frames[0])["ids"] if len(frames) == 2 else None
        found = self.queue(header["queue"])
        if self.fences(header):
            return self.failed("producer_fenced")
        known = found.known(header["producer"], header["seq"])
        if known is None:
            return self.failed("producer_expired")
        if known:
            return {"re": "ok", "count": len(elements), "copies": 1, "duplicate": True}
        first = found.put(elements, header, ids)
        return {
            "re": "ok",
            "slot": 0,
            "epoch": self.epoch,
            "first": first,
            "count": len(elements),
            "copies": 1,
        }

    def _handle_get(self, session: ScriptedSession, header: Header, _: Any) -> Header | None:
        found = self.queue(header["queue"])
        taken = found.take(header["max"], session.id, bool(header.get("auto_ack")))
        self._deliver(session, found, taken, {"req": header.get("req")})
        return None

    def _handle_consume(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        number = header["consumer"]
        assert number not in session.consumers
        session.consumers[number] = ScriptedConsumer(
            number, header["queue"], header["credit"], bool(header.get("auto_ack"))
        )
        return {"re": "ok", "uuid": b"u" * 16, "epoch": self.epoch}

    def _handle_credit(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        session.consumers[header["consumer"]].credit += header["messages"]
        return {"re": "ok"}

    def _handle_cancel(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        session.consumers.pop(header["consumer"], None)
        return {"re": "ok"}

    def _settle(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        found = self.queue(header["queue"])
        if header.get("consumer") in session.consumers:
            session.consumers[header["consumer"]].credit += header.get("credit", 0)
        lost = found.settle(header["cmd"], header["ranges"], session.id, header.get("charge", True))
        if lost:
            return {**self.failed("lease_lost"), "lost": ranges_of(lost)}
        return {"re": "ok", "count": sum(count for _, count, *_ in header["ranges"])}

    _handle_ack = _handle_nack = _handle_reject = _settle

    def _handle_extend(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        held, lost = self.queue(header["queue"]).extend(header["ranges"], session.id)
        return {
            "re": "ok",
            "held": ranges_of(held),
            "lost": ranges_of(lost),
            "lease_ms": header.get("lease_ms", 30_000),
        }

    def _handle_stats(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        names = [header["queue"]] if "queue" in header else list(self.queues)
        if any(name not in self.queues for name in names):
            return self.failed("queue_not_found")
        return {"re": "ok", "stats": {"ready": sum(self.queues[n].ready_count for n in names)}}

    def _handle_queues(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        names = sorted(name for name in self.queues if name > header.get("after", ""))
        return {"re": "ok", "queues": names[:2], "more": len(names) > 2}

    def _handle_purge(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        return {"re": "ok", "count": self.queue(header["queue"]).purge()}

    def _handle_delete(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        if header["queue"] not in self.queues:
            return self.failed("queue_not_found")
        return {"re": "ok", "count": self.queues.pop(header["queue"]).purge()}

    def _serve_consumers(self) -> None:
        for session in list(self.sessions.values()):
            for consumer in session.consumers.values():
                if not self.serves(consumer.queue):
                    continue
                found = self.queue(consumer.queue)
                taken = found.take(consumer.credit, session.id, consumer.auto_ack)
                if taken:
                    consumer.credit -= len(taken)
                    self._deliver(session, found, taken, {"consumer": consumer.number})

    def _deliver(
        self, session: ScriptedSession, found: ScriptedQueue, taken: list[int], to: Header
    ) -> None:
        runs, elements, ids = found.delivery(taken)
        tag = self.tag_of(found.name)
        header = {"v": 1, "re": "messages", "queue": found.name, "tag": tag, "runs": runs, **to}
        frames = [msgpack.packb(header), msgpack.packb(elements)]
        if any(given is not None for given in ids):
            frames.insert(1, msgpack.packb({"ids": ids}))
        self._send_frames(session.peer, frames)

    def tag_of(self, name: str) -> bytes:
        return b"%s@%d" % (name.encode(), self.epoch)

    def failed(self, name: str, header: Header | None = None, re: str = "failed") -> Header:
        reply = {"v": 1, "re": re, "code": CODES[name], "error": name, "text": f"scripted {name}"}
        if header is not None and "req" in header:
            reply["req"] = header["req"]
        return reply

    def send(self, peer: bytes, header: Header) -> None:
        self._send_frames(peer, [msgpack.packb(header)])

    def _send_frames(self, peer: bytes, frames: list[bytes]) -> None:
        if self.held is not None:
            self.held.append((peer, frames))
        elif self._socket is not None:
            self._socket.send_multipart([peer, *frames])
