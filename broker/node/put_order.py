"""Keeps a producer's batches in order when one of them is refused for now.

A producer sends on while answers are on their way.  When a batch is refused with an error that
passes, those behind it must not be taken before it comes again; so they are refused as well, until
it came, here or to another owner of the slot, or its producer has had the time to give it up.
"""

from __future__ import annotations

from collections.abc import Callable

from broker.errors import NotEnoughReplicas, NotPrimary, ResourceAlarm, ShuttingDown
from broker.limits import PUT_HELD_BACK
from broker.model.commands import Put

PASSING = (NotPrimary, NotEnoughReplicas, ResourceAlarm, ShuttingDown)

#: (producer, queue, sequence) -> whether it was taken, as far as is known here
IsTaken = Callable[[bytes, str, int], bool]
#: (producer, queue)
_Key = tuple[bytes, str]


class PutOrder:
    def __init__(self) -> None:
        #: Refused sequences, and until when what is behind each of them waits.
        self._refused: dict[_Key, dict[int, int]] = {}

    def __bool__(self) -> bool:
        return bool(self._refused)

    def note_refused(self, producer: bytes, queue: str, sequence: int, now: int) -> None:
        self._refused.setdefault((producer, queue), {})[sequence] = now + PUT_HELD_BACK

    def require_turn(self, command: Put, now: int, is_taken: IsTaken) -> None:
        """Raises NotPrimary, which every client sits out, for a batch that would overtake."""
        if command.producer is None or command.seq is None:
            return
        key = (command.producer, command.queue)
        refused = self._refused.get(key)
        if refused is None:
            return
        for sequence, until in sorted(refused.items()):
            if sequence >= command.seq:
                break
            if now < until and not is_taken(*key, sequence):
                raise NotPrimary(f"batch {sequence} was refused and comes first")
            del refused[sequence]
        refused.pop(command.seq, None)
        if not refused:
            del self._refused[key]

    def forget_old(self, now: int) -> None:
        for key, refused in list(self._refused.items()):
            if all(until <= now for until in refused.values()):
                del self._refused[key]
