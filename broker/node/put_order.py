"""Keeps a producer's batches in order when one of them is refused for now.

A producer sends on while answers are on their way.  When a batch is refused with an error that
passes, those behind it must not be taken before it comes again; so they are refused as well, until
it came, here or to another owner of the slot, or its producer has had the time to give it up.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.errors import NotEnoughReplicas, NotPrimary, ResourceAlarm, ShuttingDown
from broker.limits import PUT_HELD_BACK
from broker.model.commands import Command, Publish, Put
from broker.names import CHANNEL_PREFIX

PASSING = (NotPrimary, NotEnoughReplicas, ResourceAlarm, ShuttingDown)

#: (producer, queue, sequence) -> whether it was taken, as far as is known here
IsTaken = Callable[[bytes, str, int], bool]
#: (producer, queue)
_Key = tuple[bytes, str]


def line_of(command: Put | Publish) -> str:
    """What a producer's batches are in order for: a queue, or a channel by its history's name."""
    return command.queue if isinstance(command, Put) else CHANNEL_PREFIX + command.channel


def place_of(command: Command) -> tuple[bytes, str, int] | None:
    """(producer, line, sequence) of a batch that may be sent again."""
    if not isinstance(command, Put | Publish) or command.producer is None or command.seq is None:
        return None
    return command.producer, line_of(command), command.seq


class Behind(NotPrimary):
    """The batch is refused only because one before it was."""


class _Held:
    """A producer's refused sequences, and until when what is behind each of them waits; at
    ``ends_at`` the waiting is over, whoever goes on refusing whom."""

    __slots__ = ("ends_at", "refused")

    def __init__(self) -> None:
        self.refused: dict[int, int] = {}
        self.ends_at = 0


class PutOrder:
    def __init__(self) -> None:
        self._held: dict[_Key, _Held] = {}

    def __bool__(self) -> bool:
        return bool(self._held)

    def note_refused(self, producer: bytes, queue: str, sequence: int, now: int) -> None:
        """The slot cannot take it for now."""
        held = self._held.setdefault((producer, queue), _Held())
        held.refused[sequence] = now + PUT_HELD_BACK
        held.ends_at = now + 2 * PUT_HELD_BACK

    def require_turn(self, command: Put | Publish, now: int, is_taken: IsTaken) -> None:
        """Raises Behind, which every client sits out, for a batch that would overtake."""
        if command.producer is None or command.seq is None:
            return
        key = (command.producer, line_of(command))
        held = self._held.get(key)
        if held is None:
            return
        for sequence, until in sorted(held.refused.items()):
            if sequence >= command.seq:
                break
            if now < until and not is_taken(*key, sequence):
                held.refused[command.seq] = min(now + PUT_HELD_BACK, held.ends_at)
                raise Behind(f"batch {sequence} was refused and comes first")
            del held.refused[sequence]
        held.refused.pop(command.seq, None)
        if not held.refused:
            del self._held[key]

    def forget_old(self, now: int) -> None:
        for key, held in list(self._held.items()):
            if all(until <= now for until in held.refused.values()):
                del self._held[key]
