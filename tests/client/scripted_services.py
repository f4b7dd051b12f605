"""Services of the scripted broker: workers, calls, and who waits for whom.

It keeps no deadline: a call ends by its worker, by its caller, or by a lost session.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgpack

from tests.client.scripted_session import ScriptedSession

Header = dict[str, Any]
CONTENT = ("content_type", "type", "headers")


@dataclass
class ScriptedWorker:
    session: ScriptedSession
    number: int
    service: str
    places: int


@dataclass
class ScriptedCall:
    name: bytes
    session: ScriptedSession
    header: Header
    body: bytes
    #: Who works on it, by the number that a scattered call tells its caller.
    asked: list[ScriptedWorker] = field(default_factory=list)
    answered: set[int] = field(default_factory=set)
    parts: int = 0
    attempts: int = 0


class ScriptedServices:
    """To be mixed into the broker, which sends and makes refusals."""

    seen: list[Header]
    workers: list[ScriptedWorker]
    calls: dict[bytes, ScriptedCall]

    def failed(self, name: str, header: Header | None = None, re: str = "failed") -> Header:
        raise NotImplementedError

    def _send_frames(self, peer: bytes, frames: list[bytes]) -> None:
        raise NotImplementedError

    def workers_lost(self, session: ScriptedSession) -> None:
        """The session has ended: so have its workers, and the calls that they or it had."""
        self.workers = [w for w in self.workers if w.session is not session]
        for call in list(self.calls.values()):
            if call.session is session:
                self._cancel(call, "caller_lost")
            elif any(worker.session is session for worker in call.asked):
                call.asked = []
                if call.header.get("idempotent") and self._dispatch(call):
                    continue
                self._end_call(call, self.failed("responder_lost"))

    def _handle_serve(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        number, service = header["worker"], header["service"]
        assert not any(w.session is session and w.number == number for w in self.workers)
        self.workers.append(ScriptedWorker(session, number, service, header["concurrency"]))
        return {"re": "ok"}

    def _handle_unserve(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        gone = [w for w in self.workers if (w.session, w.number) == (session, header["worker"])]
        self.workers = [worker for worker in self.workers if worker not in gone]
        return {"re": "ok"}

    def _handle_call(
        self, session: ScriptedSession, header: Header, frames: list[bytes]
    ) -> Header | None:
        assert header["timeout_ms"] > 0
        call = ScriptedCall(b"call-%d" % len(self.seen), session, header, frames[0])
        self.calls[call.name] = call
        if self._dispatch(call):
            return None
        del self.calls[call.name]
        return self.failed("no_responder")

    def _handle_answer(
        self, session: ScriptedSession, header: Header, frames: list[bytes]
    ) -> Header | None:
        call = self.calls.get(header["call"])
        if call is None:
            return self._not_found(session, header)
        content = {name: header[name] for name in CONTENT if name in header}
        reply = {"v": 1, "re": "reply", "req": call.header["req"], **content}
        end = header.get("end", True)
        if "all" in call.header:
            worker = self._number_of(call, session, header)
            self._tell(call, {**reply, "part": call.parts, "worker": worker, "end": False}, frames)
            self._maybe_end(call, worker)
        elif end:
            self._end_call(call, {**reply, "end": True}, frames)
        else:
            assert call.header.get("stream"), "a part for a call without stream"
            self._tell(call, {**reply, "part": call.parts, "end": False}, frames)
        return {"re": "ok"}

    def _handle_fail(self, session: ScriptedSession, header: Header, _: Any) -> Header | None:
        call = self.calls.get(header["call"])
        if call is None:
            return self._not_found(session, header)
        told = {**self.failed("handler_failed"), "remote_error": header["error"]}
        told["text"] = header["text"]
        if "all" in call.header:
            worker = self._number_of(call, session, header)
            to = {"re": "reply", "req": call.header["req"], "worker": worker, "end": False}
            self._tell(call, {**told, **to, "part": call.parts}, [b""])
            self._maybe_end(call, worker)
        else:
            self._end_call(call, told)
        return {"re": "ok"}

    def _handle_cancel_call(self, session: ScriptedSession, header: Header, _: Any) -> Header:
        found = [
            call
            for call in self.calls.values()
            if call.session is session and call.header["req"] == header["call_req"]
        ]
        for call in found:
            self._cancel(call, "cancelled")
            answer = {**self.failed("cancelled"), "req": header["call_req"]}
            self._send_frames(session.peer, [msgpack.packb(answer)])
        return {"re": "ok", "cancelled": bool(found)}

    def _handle_services(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        names = sorted({w.service for w in self.workers if w.service > header["after"]})
        facts = [[name, {"workers": 1}] for name in names[:2]]
        return {"re": "ok", "services": facts, "more": len(names) > 2}

    def _dispatch(self, call: ScriptedCall) -> bool:
        """The workers that were asked least lately come first; False when there is none."""
        serving = [w for w in self.workers if w.service == call.header["service"]]
        count = call.header.get("all", 1)
        call.asked = serving if count < 0 else serving[:count]
        call.attempts += 1
        for worker in call.asked:
            self.workers.remove(worker)
            self.workers.append(worker)
            fields = {name: call.header[name] for name in CONTENT if name in call.header}
            if call.header.get("stream"):
                fields["stream"] = True
            request = {
                "v": 1,
                "re": "request",
                "service": worker.service,
                "worker": worker.number,
                "call": call.name,
                "timeout_ms": call.header["timeout_ms"],
                "attempt": call.attempts,
                **fields,
            }
            self._send_frames(worker.session.peer, [msgpack.packb(request), call.body])
        return bool(call.asked)

    def _cancel(self, call: ScriptedCall, reason: str) -> None:
        self.calls.pop(call.name, None)
        for worker in call.asked:
            told = {"v": 1, "re": "call_cancelled", "service": worker.service, "reason": reason}
            told |= {"worker": worker.number, "call": call.name}
            self._send_frames(worker.session.peer, [msgpack.packb(told)])

    def _number_of(self, call: ScriptedCall, session: ScriptedSession, header: Header) -> int:
        by_name = [(worker.session, worker.number) for worker in call.asked]
        return by_name.index((session, header["worker"]))

    def _maybe_end(self, call: ScriptedCall, worker: int) -> None:
        call.answered.add(worker)
        if len(call.answered) == len(call.asked):
            end = {"v": 1, "re": "reply", "part": call.parts, "end": True}
            told = {"asked": len(call.asked), "answered": len(call.answered)}
            self._end_call(call, {**end, **told}, [b""])

    def _tell(self, call: ScriptedCall, reply: Header, frames: list[bytes]) -> None:
        call.parts += 1
        self._send_frames(call.session.peer, [msgpack.packb(reply), *frames])

    def _end_call(
        self, call: ScriptedCall, reply: Header, frames: list[bytes] | None = None
    ) -> None:
        self.calls.pop(call.name, None)
        self._tell(call, {**reply, "req": call.header["req"]}, frames or [])

    def _not_found(self, session: ScriptedSession, header: Header) -> Header | None:
        told = {**self.failed("call_not_found", header), "cmd": header["cmd"]}
        self._send_frames(session.peer, [msgpack.packb(told)])
        return None
