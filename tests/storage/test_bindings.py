"""Bindings and shares on the disk: in the log, in checkpoints, and in rows of older programs."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from broker.core.machine import SlotMachine
from broker.limits import DAY, TRANSFER_RETRY
from broker.model.entries import Bound, Unbound
from broker.storage.keys import StateKind
from broker.storage.store import Family
from tests.support.node_rig import PEER, NodeRig

DURABLE = {"history_messages": 4, "durable": True}


def filled(**settings: Any) -> NodeRig:
    """A channel that two queues are bound to; one has room for nothing more."""
    rig = NodeRig(slots=1, **settings)
    rig.hello()
    rig.ask(PEER, "declare_channel", channel="a.b", settings=DURABLE)
    rig.ask(PEER, "declare", queue="full", settings={"max_messages": 1})
    rig.ask(PEER, "declare", queue="free")
    rig.ask(PEER, "bind", queue="full", pattern="a.>", selector=[["n", ">", 0]])
    rig.ask(PEER, "bind", queue="free", pattern="a.*")
    rig.ask(PEER, "unbind", queue="free", pattern="a.*")
    for channel in ("a.b", "a.light"):
        elements = [[b"%d" % number, {"n": number % 2}] for number in range(5)]
        batch = msgpack.packb(elements)
        assert rig.ask(PEER, "publish", batch, channel=channel, count=5).re == "ok"
    return rig


def state_of(machine: SlotMachine) -> tuple[Any, ...]:
    copies = machine.bindings.copies
    ledgers = [queue.ledger.as_row() for queue in machine.queues.values()]
    gone = [(key, machine.bindings.version_of(key)) for key in machine.bindings._gone]
    return copies, gone, machine.outbox.lines, ledgers


@pytest.mark.parametrize("settings", [{}, {"checkpoint_bytes": 1 << 20}], ids=["rows", "log"])
def test_a_restart_has_bindings_and_shares_as_they_were(settings: dict[str, Any]) -> None:
    rig = filled(**settings)
    before = state_of(rig.machine("a.b"))
    assert before[0], "a binding stands there"
    assert before[1], "the end of another is remembered"
    assert before[2], "shares wait"
    rig.crash()
    assert state_of(rig.machine("a.b")) == before
    rig.node.close(rig.now)
    rig.store.sync()
    rig.crash()
    assert state_of(rig.machine("a.b")) == before


def test_rows_of_a_program_without_bindings_are_read() -> None:
    rig = NodeRig(slots=1)
    rig.hello()
    rig.ask(PEER, "declare", queue="q", settings={"dead_letter": "dead"})
    rig.ask(PEER, "declare", queue="dead", settings={"max_messages": 1})
    for body in (b"1", b"2"):
        rig.put("q", body)
    rig.settle("reject", rig.get("q"))
    rig.node.close(rig.now)
    rig.store.sync()
    for key, value in rig.rows(Family.STATE):
        if key[4] == StateKind.QUEUE:
            row = msgpack.unpackb(value, strict_map_key=False)
            del row["uncarried"], row["settings"]["bindings"]
            rig.store.alter(Family.STATE, key, msgpack.packb(row))
        assert key[4] != StateKind.BINDING
    rig.crash()
    rig.hello()
    assert rig.stats("q")["settings"]["bindings"] == {}
    assert rig.get("dead").bodies() == [b"1"]
    rig.settle("ack", rig.sent[-1])
    rig.pass_time(2 * TRANSFER_RETRY)
    assert rig.get("dead").bodies() == [b"2"]


def test_the_end_of_a_binding_is_forgotten_after_a_day() -> None:
    rig = NodeRig(slots=1)
    rig.hello()
    rig.put("q", b"")
    machine = rig.machine("q")
    uuid = bytes(16)
    for entry in (Unbound("a", uuid, 0), Bound("b", "q", uuid, 1, None)):
        machine.propose(entry)
        rig.pass_time(DAY)
    assert machine.bindings.version_of((uuid, "a")) == -1
    assert machine.bindings.version_of((uuid, "b")) == 1
    rig.restart()
    assert list(rig.machine("q").bindings.copies) == [(uuid, "b")]
    assert not rig.machine("q").bindings._gone
