"""A turn's work that no command asks for: due instants, deliveries, upkeep.

Order: what is due comes back first, then takers are served, then upkeep is proposed; all of it is
written with the turn's entries.
"""

from __future__ import annotations

from broker import limits
from broker.core.channels.committed import tick_channels, trim_history
from broker.core.channels.sharing import seal_shares
from broker.core.choosing.flow import Flow
from broker.core.choosing.picked import Picked
from broker.core.choosing.scattered import Scattered
from broker.core.choosing.serving import (
    Delivery,
    fair_share,
    grant_leases,
    next_hungry,
    parts_of,
    pick_for,
    spend_credit,
    stand_in_line,
)
from broker.core.commands.put_handlers import seal_put
from broker.core.commands.settle_handlers import answer_after, end_leases
from broker.core.commands.take_handlers import end_getter, end_late_getters
from broker.core.leaving.departures import leave, settle
from broker.core.leaving.overflow import relieve
from broker.core.leaving.partitioning import send_on
from broker.core.leaving.redrive import redrive
from broker.core.machine import SlotMachine
from broker.core.naming.id_sweeping import sweep_ids
from broker.core.queue import Queue
from broker.core.session import Getter, Taker
from broker.core.timing.due import come_due
from broker.core.timing.expiry import expire
from broker.core.transient.transient_turns import tick_transient
from broker.errors import UnreadableMessage
from broker.model.entries import BatchPut, ProducersExpired, SettleReason
from broker.model.replies import failed


def tick(machine: SlotMachine) -> None:
    """Carries out everything whose instant has come."""
    come_due(machine)
    expire(machine)
    if machine.transient.memory.queues:
        tick_transient(machine)
    if machine.redrives:
        redrive(machine)
    sweep_ids(machine)
    tick_channels(machine)
    for queue in machine.take_due(machine.now):
        if queue.deleted:
            continue
        if queue.channel is not None:
            trim_history(machine, queue, queue.channel)
            continue
        end_leases(machine, queue)
        queue.end_rests(machine.now)
        machine.wake(queue)
        _wake_again(machine, queue)


def _wake_again(machine: SlotMachine, queue: Queue) -> None:
    """Sets the queue's next instant; leases are looked at in steps, so that many cost little."""
    instants = [getter.ends_at for getter in queue.getters.values()]
    ends_at = queue.leases.next_end()
    if ends_at is not None:
        instants.append(max(ends_at, machine.now + limits.LEASE_STEP))
    if queue.resting_until:
        instants.append(queue.resting_until[0][0])
    if instants:
        machine.wake_at(queue, min(instants))


def serve(machine: SlotMachine) -> None:
    """Hands messages on in every queue that was woken."""
    awake, machine.awake = machine.awake, {}
    for queue in awake.values():
        if not queue.deleted and not queue.purging:
            _serve_queue(machine, queue)
            if queue.drops:
                relieve(machine, queue)
        if queue.choice is not None and queue.choice.is_behind:
            # Nobody knows yet that there is nothing for who waits.
            machine.wake(queue)
        else:
            end_late_getters(machine, queue)


def _serve_queue(machine: SlotMachine, queue: Queue) -> None:
    if queue.is_partitioned:
        send_on(machine, queue)
        return
    served = 0
    left_of_round = fair = 0
    waiting: list[Taker] = []
    if queue.choice is not None:
        queue.choice.begin_turn()
    while (taker := next_hungry(queue)) is not None:
        if served >= limits.SERVED_BYTES_PER_TURN:
            stand_in_line(queue, taker)
            machine.wake(queue)
            break
        if not left_of_round:
            left_of_round = queue.hungry.equals_of(taker) + 1
            fair = fair_share(queue, left_of_round)
        left_of_round -= 1
        size = min(taker.credit_bytes, limits.DELIVERY_BYTES)
        most = min(taker.credit, fair)
        if queue.flow is not None:
            most = min(most, _room(machine, queue, queue.flow))
            if not most:
                stand_in_line(queue, taker, first=True)
                break
        try:
            picked = pick_for(taker, queue, machine.bodies, most, size)
        except UnreadableMessage as error:
            _tell_unreadable(machine, queue, taker, error)
            break
        if not picked:
            # Nothing is ready for this taker: it stays its turn.
            waiting.append(taker)
            if queue.choice is None:
                break
            continue
        served += _deliver(machine, queue, taker, picked)
    for taker in reversed(waiting):
        stand_in_line(queue, taker, first=True)
    if waiting and queue.choice is not None and queue.choice.has_more:
        machine.wake(queue)


def _room(machine: SlotMachine, queue: Queue, flow: Flow) -> int:
    """How many messages the queue's settings let go now; none may go again at a later instant."""
    room = flow.room(queue.leases.messages, machine.now)
    next_at = flow.next_at(machine.now)
    if next_at is not None:
        machine.wake_at(queue, next_at)
    return room


def _tell_unreadable(
    machine: SlotMachine, queue: Queue, taker: Taker, error: UnreadableMessage
) -> None:
    """Nothing is skipped: the queue stands still, and who waits on it is told why."""
    if isinstance(taker, Getter):
        end_getter(queue, taker)
        machine.replies.append(failed(taker.session.peer, taker.req, error, queue=queue.name))
    else:
        machine.replies.append(failed(taker.session.peer, None, error, queue=queue.name))


def _deliver(
    machine: SlotMachine, queue: Queue, taker: Taker, picked: list[Picked] | Scattered
) -> int:
    """Gives what was picked to the taker, less what has expired; gives the bytes of both."""
    size = 0
    expired: list[Picked] = []
    if not isinstance(picked, Scattered):
        expired = [item for item in picked if 0 < item.batch.expires_at <= machine.now]
    if expired and not isinstance(picked, Scattered):
        picked = [item for item in picked if not 0 < item.batch.expires_at <= machine.now]
        leave(machine, queue, parts_of(expired), SettleReason.EXPIRED)
        size = sum(item.batch.bytes_between(item.first, item.count) for item in expired)
    if not picked:
        stand_in_line(queue, taker)
        return size
    delivery = Delivery(taker, picked, queue)
    spend_credit(delivery)
    if queue.flow is not None:
        queue.flow.spend(delivery.count)
    if taker.auto_ack:
        # At most once: the removal is committed before the delivery leaves.
        settle(machine, queue, parts_of(picked), SettleReason.TAKEN)
        queue.counters.delivered += delivery.count
        answer_after(machine, delivery.reply, queue)
    else:
        machine.wake_at(queue, grant_leases(queue, delivery, machine.now))
        machine.replies.append(delivery.reply)
    if isinstance(taker, Getter):
        end_getter(queue, taker)
    else:
        stand_in_line(queue, taker)
    return size + delivery.size


def seal(machine: SlotMachine) -> None:
    """Closes the turn's open puts; called before the turn's entries are taken to be written."""
    for queue in machine.opened:
        entry: BatchPut | None = queue.open_put
        if entry is not None:
            seal_put(entry, queue)
            queue.open_put = None
        queue.open_ids.clear()
    machine.opened.clear()
    if machine.publishes.opened:
        seal_shares(machine)


def expire_producers(machine: SlotMachine) -> None:
    keys = machine.producers.idle(machine.now)
    volatile = [key for key in keys if key[1] in machine.producers.volatile]
    if volatile:
        machine.producers.expire(volatile)
        machine.producers.dirty.difference_update(volatile)
        keys = [key for key in keys if key[1] not in machine.producers.volatile]
    if keys:
        machine.propose(ProducersExpired(keys))
