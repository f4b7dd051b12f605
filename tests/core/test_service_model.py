"""One service against a model that says who is asked and how every call ends.

Callers and workers come, speak and leave in any order.  The model keeps its own lines of workers
and calls; after each step the broker has said what the model says, and nothing else.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from broker.limits import WORKERS_GATHER
from tests.support.node_rig import NodeRig, Sent

CALLERS = (b"\0cal0", b"\0cal1")
HOSTS = (b"\0hst0", b"\0hst1", b"\0hst2")


@dataclass(eq=False)
class Asked:
    """One call; ``end`` is what its caller is to hear."""

    caller: bytes
    req: int
    body: bytes
    ends_at: int
    idempotent: bool
    attempts: int = 0
    end: bytes | str | None = None


@dataclass(eq=False)
class Server:
    host: bytes
    number: int
    places: int
    concurrency: int
    held: dict[bytes, Asked] = field(default_factory=dict)


class ServiceModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.rig = NodeRig()
        for peer in (*CALLERS, *HOSTS):
            self.rig.hello(peer)
        self.rig.pass_time(WORKERS_GATHER)
        self.calls: dict[tuple[bytes, int], Asked] = {}
        self.servers: dict[tuple[bytes, int], Server] = {}
        self.idle: OrderedDict[Server, None] = OrderedDict()
        self.spare: OrderedDict[Server, None] = OrderedDict()
        self.waiting: list[Asked] = []
        self.seen = len(self.rig.sent)
        self.bodies = 0

    # The model

    def _next(self) -> Server | None:
        for line in (self.idle, self.spare):
            if line:
                return line.popitem(last=False)[0]
        return None

    def _give(self, server: Server, asked: Asked) -> None:
        """The broker's newest requests say by which ids."""
        asked.attempts += 1
        server.places -= 1
        if server.places:
            self.spare[server] = None
        request = self._take_request(server)
        assert request.frames == [asked.body]
        assert request["attempt"] == asked.attempts
        server.held[request["call"]] = asked

    def _take_request(self, server: Server) -> Sent:
        found = [
            (at, s)
            for at, s in enumerate(self.rig.sent[self.seen :], self.seen)
            if s.re == "request"
        ]
        at, request = found[0]
        self.seen = at + 1
        assert (request.peer, request["worker"]) == (server.host, server.number)
        return request

    def _feed(self) -> None:
        while self.waiting and (server := self._next()) is not None:
            self._give(server, self.waiting.pop(0))

    def _free(self, server: Server, call: bytes) -> None:
        del server.held[call]
        server.places += 1
        if self.waiting:
            self._give(server, self.waiting.pop(0))
        elif server.places == server.concurrency:
            self.spare.pop(server, None)
            self.idle[server] = None
        else:
            self.spare[server] = None

    def _lose(self, server: Server) -> None:
        del self.servers[server.host, server.number]
        self.idle.pop(server, None)
        self.spare.pop(server, None)
        again = []
        for asked in server.held.values():
            if asked.end is None and asked.idempotent and self.servers:
                again.append(asked)
            elif asked.end is None:
                asked.end = "responder_lost"
        self.waiting[:0] = again
        self._feed()
        if not self.servers:
            for asked in self.waiting:
                asked.end = "responder_lost" if asked.attempts else "no_responder"
            self.waiting.clear()

    # Steps

    @rule(host=st.sampled_from(HOSTS), number=st.integers(0, 1), concurrency=st.integers(1, 3))
    def serve(self, host: bytes, number: int, concurrency: int) -> None:
        fields = {"service": "s", "worker": number, "concurrency": concurrency}
        answer = self.rig.ask(host, "serve", **fields)
        if (host, number) in self.servers:
            assert answer["error"] == "worker_exists"
            return
        server = Server(host, number, concurrency, concurrency)
        self.servers[host, number] = server
        self.idle[server] = None
        self._feed()

    @rule(caller=st.sampled_from(CALLERS), timeout_ms=st.integers(1, 900), idempotent=st.booleans())
    def call(self, caller: bytes, timeout_ms: int, idempotent: bool) -> None:
        self.bodies += 1
        body = b"%d" % self.bodies
        fields = {"service": "s", "timeout_ms": timeout_ms, "idempotent": idempotent}
        req = self.rig.command(caller, "call", body, **fields)
        self.rig.run()
        asked = Asked(caller, req, body, self.rig.now + timeout_ms, idempotent)
        self.calls[caller, req] = asked
        if not self.servers:
            asked.end = "no_responder"
            return
        server = self._next()
        if server is None:
            self.waiting.append(asked)
        else:
            self._give(server, asked)

    @precondition(lambda self: any(server.held for server in self.servers.values()))
    @rule(data=st.data(), fails=st.booleans())
    def answer(self, data: st.DataObject, fails: bool) -> None:
        holders = [server for server in self.servers.values() if server.held]
        server = data.draw(st.sampled_from(holders))
        call = data.draw(st.sampled_from(sorted(server.held)))
        asked = server.held[call]
        fields = {"service": "s", "worker": server.number, "call": call, "req": None}
        if fails:
            self.rig.command(server.host, "fail", error="Broken", **fields)
        else:
            self.rig.command(server.host, "answer", b"re " + asked.body, **fields)
        self.rig.run()
        if asked.end is None:
            asked.end = "handler_failed" if fails else b"re " + asked.body
        self._free(server, call)

    @precondition(lambda self: len(self.servers) > 1)
    @rule(data=st.data())
    def answer_for_another(self, data: st.DataObject) -> None:
        holders = [server for server in self.servers.values() if server.held]
        if not holders:
            return
        server = data.draw(st.sampled_from(holders))
        others = [other for other in self.servers.values() if other is not server]
        other = data.draw(st.sampled_from(others))
        call = data.draw(st.sampled_from(sorted(server.held)))
        fields = {"service": "s", "worker": other.number, "call": call}
        answer = self.rig.ask(other.host, "answer", b"stolen", **fields)
        assert answer["error"] == "call_not_found"

    @precondition(lambda self: any(asked.end is None for asked in self.calls.values()))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        open_calls = [asked for asked in self.calls.values() if asked.end is None]
        asked = data.draw(st.sampled_from(open_calls))
        answer = self.rig.ask(asked.caller, "cancel_call", service="s", call_req=asked.req)
        assert answer["cancelled"]
        self._end_open(asked, "cancelled")

    def _end_open(self, asked: Asked, end: str) -> None:
        asked.end = end
        if asked in self.waiting:
            self.waiting.remove(asked)

    @rule(ms=st.integers(1, 400))
    def time_passes(self, ms: int) -> None:
        self.rig.pass_time(ms)
        for asked in self.calls.values():
            if asked.end is None and asked.ends_at <= self.rig.now:
                self._end_open(asked, "timeout")

    @rule(host=st.sampled_from(HOSTS))
    def a_host_is_lost(self, host: bytes) -> None:
        self.rig.ask(host, "bye")
        for server in [s for s in self.servers.values() if s.host == host]:
            self._lose(server)
        self.rig.hello(host)

    # Laws

    @invariant()
    def every_caller_heard_its_own_ends_once_and_nothing_else(self) -> None:
        told: dict[tuple[bytes, int], list[bytes | str]] = {}
        for sent in self.rig.sent:
            if sent.re == "reply":
                told.setdefault((sent.peer, sent["req"]), []).append(sent.frames[0])
            elif sent.re == "failed" and (sent.peer, sent.req) in self.calls:
                told.setdefault((sent.peer, sent["req"]), []).append(sent["error"])
        expected = {key: [asked.end] for key, asked in self.calls.items() if asked.end is not None}
        assert told == expected

    @invariant()
    def no_request_was_given_that_the_model_does_not_know(self) -> None:
        assert not [s for s in self.rig.sent[self.seen :] if s.re == "request"]

    @invariant()
    def no_call_waits_while_a_worker_has_a_place(self) -> None:
        assert not self.waiting or not (self.idle or self.spare)


ServiceModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestServiceModel = ServiceModel.TestCase
