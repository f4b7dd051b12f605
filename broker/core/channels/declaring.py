"""``declare_channel``, ``update_channel``, ``delete_channel``: what a channel remembers.

A channel needs no declaration; declaring one asks for a history, and says which.  A history is a
hidden queue of the slot: its declaration, settings and end are entries of the log, and the name
alone of a channel without one is in memory.
"""

from __future__ import annotations

from broker.core.channels.channel import Channel
from broker.core.commands.settle_handlers import answer_after
from broker.core.machine import SlotMachine
from broker.core.session import Session
from broker.errors import BadField, SettingsMismatch
from broker.model.channel_settings import ChannelSettings, stored_channel
from broker.model.commands import DeclareChannel, DeleteChannel, UpdateChannel
from broker.model.entries import QueueDeleted, QueueUpdated
from broker.model.replies import ok
from broker.model.settings import QueueSettings
from broker.names import CHANNEL_PREFIX


def handle_declare_channel(machine: SlotMachine, session: Session, command: DeclareChannel) -> None:
    settings = ChannelSettings.from_map(command.settings)
    channel = machine.channels.names.get(command.channel)
    created = channel is None
    if channel is not None and channel.history is not None:
        if command.settings and settings != channel.history.settings:
            known = channel.history.settings.as_map()
            raise SettingsMismatch(f"{command.channel} exists with {known}")
        settings = channel.history.settings
    elif settings.is_kept:
        created = True
        _keep(machine, command.channel, settings)
    elif channel is None:
        machine.channels.add_light(command.channel, machine.now)
    if command.req is not None:
        fields = {"created": created, "settings": settings.as_map()}
        answer_after(machine, ok(session.peer, command.req, **fields))


def handle_update_channel(machine: SlotMachine, session: Session, command: UpdateChannel) -> None:
    channel = machine.channels.find(command.channel)
    history = channel.history
    before = history.settings if history is not None else ChannelSettings()
    settings = before.updated(command.settings)
    if history is None:
        if settings.is_kept:
            _keep(machine, channel.name, settings)
    elif not settings.is_kept:
        _end(machine, channel)
        machine.channels.add_light(channel.name, machine.now)
    elif settings != before:
        if settings.durable != before.durable:
            raise BadField("durable is fixed while a channel has a history")
        queue = machine.queues[history.number]
        start = queue.settings.first_position
        stored = queue.settings.updated({"channel": stored_channel(settings, start)})
        machine.propose(QueueUpdated(history.number, stored.as_map()))
        queue.adopt(stored)
        history.settings = settings
        machine.channels.looked_at[history.number] = channel
    if command.req is not None:
        fields = {"settings": settings.as_map()}
        answer_after(machine, ok(session.peer, command.req, **fields))


def handle_delete_channel(machine: SlotMachine, session: Session, command: DeleteChannel) -> None:
    channel = machine.channels.find(command.channel)
    messages = 0
    if channel.history is None:
        machine.channels.end(channel.name, channel.next)
    else:
        messages = _end(machine, channel)
    if command.req is not None:
        answer_after(machine, ok(session.peer, command.req, count=messages))


def _keep(machine: SlotMachine, name: str, settings: ChannelSettings) -> None:
    """From now on what is published is kept."""
    book = machine.channels
    first = book.first_kept(name)
    start = first if settings.durable else 0
    stored = QueueSettings(durable=settings.durable, channel=stored_channel(settings, start))
    queue = machine.declare(CHANNEL_PREFIX + name, stored)
    if not settings.durable and first > queue.ledger.next_position:
        queue.ledger.empty(first)
        queue.proposed_next = first
    book.begin_kept(queue.ledger, machine.now)


def _end(machine: SlotMachine, channel: Channel) -> int:
    """The history goes, and with it what is published and not yet committed; gives how many
    messages that were."""
    assert channel.history is not None
    queue = machine.queues[channel.history.number]
    queue.deleted = True
    machine.channels.end(channel.name, queue.proposed_next)
    machine.propose(QueueDeleted(channel.history.number))
    return queue.ledger.messages
