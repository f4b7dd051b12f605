"""The process dies with each single write of a busy run: all that was confirmed is there, and
once all is settled nothing is left on disk."""

from __future__ import annotations

import pytest

from broker.storage.store import Family
from tests.node.judge import STEP_MS
from tests.node.soundness import stored_batches
from tests.node.world import World
from tests.support.node_rig import CrashPoint, NodeRig

#: Just above the writes of a whole run, which the first test counts.
WRITES_MAX = 100


def script(world: World) -> None:
    """Something of everything, with syncs late and in time."""
    one, two, three = world.clients
    world.put(one, "a", [10, 20, 30], 4, None)
    world.put(one, "a", [5] * 20, 4, None)
    world.put(two, "b.c", [7] * 9, 9, 5 * STEP_MS)
    world.quiet()
    world.get(two, "a", 10, 0, 60 * STEP_MS)
    world.consume(three, "a", 1, 5, 3 * STEP_MS, 2)
    world.put(one, "auto", [8] * 6, 4, None)
    world.turn()
    world.consume(one, "auto", 2, 3, STEP_MS, 1)
    settle_newest(world, "ack", 2)
    world.turn()
    world.put_again(one, "a", 0)
    world.put(one, "a", [40], 0, None)
    world.sync()
    world.pass_time(4)
    settle_newest(world, "nack", 4, charge=True, delay_ms=2 * STEP_MS)
    settle_newest(world, "nack", 1, charge=False, delay_ms=0)
    world.pass_time(2)
    world.sync()
    world.purge(two, "b.c")
    world.put(two, "b.c", [3] * 4, 4, STEP_MS)
    world.turn()
    world.get(three, "b.c", 2, 0, STEP_MS)
    world.quiet()
    world.pass_time(31)
    world.delete(one, "b.c")
    world.turn()
    world.put(two, "b.c", [9] * 3, 4, None)
    world.put(two, "a", [9] * 3, 4, None, STEP_MS)
    world.sync()
    world.bye(three)
    world.quiet()
    world.pass_time(31)
    world.quiet()


def settle_newest(world: World, cmd: str, count: int, **fields: object) -> None:
    """Settles the first ``count`` messages of each client's newest delivery."""
    for client in world.clients:
        if client.memory:
            memory = client.memory[-1]
            ranges = [(memory.first, min(count, memory.count), memory.attempts)]
            world.settle(client, cmd, memory, ranges, **fields)


def finish(world: World) -> None:
    """Lets all rests and lives end, settles the rest, and writes enough log to trim the former."""
    world.pass_time(60)
    world.drain()
    client = world.clients[0]
    names = [f"churn{n}" for n in range(4)]
    for _ in range(8):
        for name in names:
            world.put(client, name, [90], 4, None)
        world.drain()
    for name in set(world.model.queues) - set(names):
        assert stored_batches(world.rig, world.rig.queue(name)) == {}
    alive = {
        (s.store.instance, number) for s in world.rig.node._replicas for number in s.machine.queues
    }
    for key, _ in world.rig.rows(Family.BODY):
        assert (int.from_bytes(key[:4], "big"), int.from_bytes(key[4:8], "big")) in alive
    assert len(world.rig.rows(Family.EXPIRY)) == 0
    assert len(world.rig.rows(Family.LOG)) < 60


def test_the_run_comes_to_its_end_and_leaves_nothing() -> None:
    world = World()
    script(world)
    finish(world)
    assert WRITES_MAX - 20 < world.rig.store.writes < WRITES_MAX


@pytest.mark.parametrize("kept", [0, 100])
@pytest.mark.parametrize("write", range(1, WRITES_MAX))
def test_a_crash_with_any_write_leaves_what_was_confirmed(write: int, kept: int) -> None:
    world = World()
    world.rig.store.crash_in = write
    try:
        script(world)
        finish(world)
    except CrashPoint:
        world.crash(kept)
        for client in world.clients:
            world.connect(client, resume=True)
        world.quiet()
        script(world)
        finish(world)


def test_a_message_held_for_long_keeps_neither_log_nor_the_bodies_of_others() -> None:
    rig = NodeRig(slots=1, checkpoint_bytes=50_000, log_kept_bytes=50_000)
    rig.hello()
    rig.put("q", *[b"held"] * 100)
    held = rig.get("q", 1, lease_ms=12 * 3_600_000)
    most = {Family.LOG: 0, Family.BODY: 0, Family.STATE: 0}
    for _ in range(1_000):
        rig.put("q", *[b"x" * 10] * 100)
        rig.settle("ack", rig.get("q", 100))
        for family, before in most.items():
            size = sum(len(value) for _, value in rig.rows(family))
            most[family] = max(before, size)
    assert rig.stats("q")["next_position"] == 100_100
    assert most[Family.LOG] < 200_000
    assert most[Family.BODY] < 250_000
    assert most[Family.STATE] < 50_000
    assert rig.settle("nack", held, charge=False)["count"] == 1
    assert b"held" in rig.get("q").bodies()
