"""Light channels come by being named; here they go."""

from __future__ import annotations

from broker import limits
from broker.core.channels.channel import Channel
from broker.core.machine import SlotMachine


def forget_idle(machine: SlotMachine) -> None:
    """Light channels that nobody used for a while, and nobody listens to, are forgotten."""
    book = machine.channels
    if book.sweep_at is None or book.sweep_at > machine.now:
        return
    if not book.to_sweep:
        book.to_sweep = list(book.names)
    before = machine.now - limits.CHANNEL_IDLE
    for _ in range(min(limits.CHANNEL_SWEEP_NAMES, len(book.to_sweep))):
        channel: Channel | None = book.names.get(book.to_sweep.pop())
        if channel is None or channel.is_kept or channel.at > before:
            continue
        if not machine.count_subscribers(channel.name):
            book.forget_light(channel)
    if book.to_sweep:
        book.sweep_at = machine.now + limits.CHANNEL_SWEEP_STEP
    else:
        book.sweep_at = machine.now + limits.CHANNEL_SWEEP_EVERY if book.light else None
