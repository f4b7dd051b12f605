"""Consume, process, produce, exactly once: whoever dies with whichever write, what was taken from
one queue appears in the other one once, in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from broker.model.slots import slot_of
from broker.names import OUTBOX
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, CrashPoint, NodeRig, Sent

TASKS = 6
#: Refusals that pass, and answers that leave it open.
_PASSING = {"not_primary", "outcome_unknown", "not_enough_replicas"}
#: Just above the writes of the run on one broker, which the first test counts.
WRITES_MAX = 40


class Worker:
    """Takes tasks of ``source`` one by one and settles each with its result to ``target``.

    ``ask`` gives the answer to a command, or None where it was lost with a process.
    """

    def __init__(self, ask: Callable[..., Sent | None], source: str, target: str) -> None:
        self._ask = ask
        self.source = source
        self.target = target
        self.done = 0
        self._seq = 0
        #: The transaction whose answer is not known.
        self._open: tuple[bytes, dict[str, Any]] | None = None

    def put_tasks(self) -> None:
        for n in range(TASKS):
            batch = msgpack.packb([b"%d" % n])
            fields = {"queue": self.source, "count": 1, "producer": b"giver", "seq": n}
            while self._ask("put", batch, **fields) is None:
                pass

    def work(self) -> bool:
        """One step; False when there was nothing to do."""
        if self._open is None:
            delivery = self._ask("get", queue=self.source, max=1)
            if delivery is None:
                return True
            if not delivery["runs"]:
                return False
            self._open = self._result_of(delivery)
        frame, fields = self._open
        answer = self._ask("transact", frame, **fields)
        if answer is None or answer.header.get("error") in _PASSING:
            return True
        if answer.header.get("error") == "producer_expired":
            fields["seq"] = self._seq = 0
            return True
        assert answer["re"] == "ok" or answer["error"] == "lease_lost", answer
        self.done += answer["re"] == "ok"
        self._seq += 1
        self._open = None
        return True

    def _result_of(self, delivery: Sent) -> tuple[bytes, dict[str, Any]]:
        (body,) = delivery.bodies()
        settle = {"queue": self.source, "tag": delivery["tag"], "ranges": delivery.ranges()}
        fields = {
            "settles": [settle],
            "puts": [{"queue": self.target, "count": 1}],
            "producer": b"worker",
            "seq": self._seq,
        }
        return msgpack.packb([[b"", msgpack.packb([body + b"!"])]]), fields


RESULTS = [b"%d!" % n for n in range(TASKS)]


class Lone:
    """A worker at a lone broker that dies with one write; source and target in two slots."""

    def __init__(self, crash_in: int | None, kept: int = 0) -> None:
        self.rig = NodeRig(slots=2)
        self.rig.hello()
        self.kept = kept
        self.rig.store.crash_in = crash_in
        names = [f"q{n}" for n in range(10)]
        source = names[0]
        target = next(n for n in names if slot_of(n, 2) != slot_of(source, 2))
        self.worker = Worker(self.ask, source, target)

    def ask(self, cmd: str, *frames: bytes, **fields: Any) -> Sent | None:
        try:
            return self.rig.ask(PEER, cmd, *frames, **fields)
        except CrashPoint:
            self.begin_anew()
            return None

    def begin_anew(self) -> None:
        self.rig.crash(self.kept)
        self.rig.hello()

    def run(self) -> None:
        self.worker.put_tasks()
        while self.worker.work():
            pass
        try:
            self.rig.pass_time(40_000)
        except CrashPoint:
            self.begin_anew()
        while self.worker.work():
            pass
        self.rig.store.crash_in = None


def require_exactly_once(rig: NodeRig, worker: Worker) -> None:
    assert rig.get(worker.target).bodies() == RESULTS
    assert rig.stats(worker.source)["messages"] == 0
    machine = rig.machine(worker.source)
    assert not machine.outbox.moves()
    assert machine.names[OUTBOX].ledger.messages == 0


def test_tasks_become_results() -> None:
    lone = Lone(None)
    lone.run()
    require_exactly_once(lone.rig, lone.worker)
    assert lone.worker.done == TASKS
    assert WRITES_MAX - 20 < lone.rig.store.writes < WRITES_MAX


@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("write", range(1, WRITES_MAX))
def test_a_crash_with_any_write_leaves_each_result_once(write: int, kept: int) -> None:
    lone = Lone(write, kept)
    lone.run()
    require_exactly_once(lone.rig, lone.worker)


class Apart:
    """A worker at one broker of three; source and target are served by the two others."""

    def __init__(self, dies: str, crash_in: int | None, kept: int = 0) -> None:
        self.cluster = ClusterRig(slots=8)
        self.kept = kept
        names = [f"q{n}" for n in range(30)]
        source = names[0]
        self.source = self.cluster.primary(source)
        target = next(n for n in names if self.cluster.primary(n) is not self.source)
        self.target = self.cluster.primary(target)
        brokers = self.cluster.brokers.values()
        self.at = next(b for b in brokers if b not in (self.source, self.target))
        self.at.hello()
        self.worker = Worker(self.ask, source, target)
        self.victim: BrokerRig = self.source if dies == "source" else self.target
        self.victim.store.crash_in = crash_in
        self._dead_until = 0

    def ask(self, cmd: str, *frames: bytes, **fields: Any) -> Sent | None:
        req = self.at.command(PEER, cmd, *frames, **fields)
        mark = len(self.at.sent)
        for _ in range(600):
            self.step(50)
            for sent in self.at.sent[mark:]:
                if sent.req == req:
                    return None if sent.header.get("error") in _PASSING else sent
        raise AssertionError(f"{cmd} is never answered")

    def step(self, ms: int) -> None:
        try:
            self.cluster.pass_time(ms)
        except CrashPoint:
            self.victim.store.crash_in = None
            self.cluster.kill(self.victim.name, self.kept)
            self._dead_until = self.cluster.now + 5_000
        if not self.victim.is_up and self.cluster.now >= self._dead_until:
            self.cluster.start(self.victim.name)

    def run(self) -> None:
        self.worker.put_tasks()
        for _ in range(3):
            while self.worker.work():
                pass
            for _ in range(20):
                self.step(2_000)

    def require_exactly_once(self) -> None:
        delivery = self.ask("get", queue=self.worker.target, max=1_000)
        assert delivery is not None
        assert delivery.bodies() == RESULTS
        serving = self.cluster.primary(self.worker.source)
        machine = serving.machine(self.worker.source)
        assert machine.names[self.worker.source].ledger.messages == 0
        assert not machine.outbox.moves()
        assert machine.names[OUTBOX].ledger.messages == 0


def test_source_and_target_may_be_at_two_brokers() -> None:
    apart = Apart("source", None)
    apart.run()
    apart.require_exactly_once()


@pytest.mark.parametrize("dies", ["source", "target"])
@pytest.mark.parametrize("write", range(1, 40, 5))
def test_a_broker_that_dies_between_leaves_each_result_once(dies: str, write: int) -> None:
    apart = Apart(dies, write, kept=write % 2 * 100)
    apart.run()
    apart.require_exactly_once()


def test_a_transaction_is_refused_while_too_few_copies_are_in_sync() -> None:
    cluster = ClusterRig(slots=1, min_isr=2)
    first, *others = cluster.order()
    first.hello()
    first.put("q", b"a")
    taken = first.get("q")
    for broker in others:
        cluster.kill(broker.name)
    cluster.pass_time(2_000)
    settle = {"queue": "q", "tag": taken["tag"], "ranges": taken.ranges()}
    given: dict[str, Any] = {"settles": [settle], "puts": [], "producer": b"w", "seq": 0}
    assert first.ask(PEER, "transact", b"\x90", **given)["error"] == "not_enough_replicas"
    cluster.start(others[0].name)
    cluster.pass_time(3_000)
    assert first.ask(PEER, "transact", b"\x90", **given)["settled"] == 1


def test_a_forwarded_transaction_whose_primary_dies_is_told_to_be_unknown() -> None:
    cluster = ClusterRig(slots=1)
    first = cluster.primary()
    at = next(b for b in cluster.brokers.values() if b is not first)
    at.hello()
    at.put("q", b"a")
    taken = at.get("q")
    settle = {"queue": "q", "tag": taken["tag"], "ranges": taken.ranges()}
    cluster.hold(first.name, at.name)
    req = at.command(PEER, "transact", b"\x90", settles=[settle], puts=[], producer=b"w", seq=0)
    cluster.run()
    cluster.kill(first.name, kept=100)
    cluster.pass_time(30_000)
    (answer,) = [sent for sent in at.sent if sent.req == req]
    assert answer["error"] == "outcome_unknown"
