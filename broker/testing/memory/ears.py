"""What sessions hear of channels: each in memory, where a SUB socket would be.

Owns the topics of each.  Nothing is dropped on the way, so there are no gaps to repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from broker.client.session import Session

#: (prefix of topics, True for its beginning and False for its end)
Note = Callable[[bytes, bool], None]


class Ear:
    def __init__(self, session: Session) -> None:
        self._subscriptions = session.subscriptions
        self._topics: set[bytes] = set()
        self._number = 0

    @property
    def has_changed(self) -> bool:
        return self._subscriptions.hearing.has_changed

    def follow(self, note: Note) -> None:
        """Does what the session wants changed."""
        hearing = self._subscriptions.hearing
        if not hearing.has_changed:
            return
        hearing.has_changed = False
        if hearing.number != self._number:
            self._number = hearing.number
            self.close(note)
        while hearing.changes:
            is_wanted, topic = hearing.changes.popleft()
            if is_wanted:
                self._topics.add(topic)
            else:
                self._topics.discard(topic)
            note(topic, is_wanted)

    def hear(self, published: Iterable[list[bytes]], now: int) -> None:
        """Hands on what was published and asked for; the session knows that this is all."""
        if not self._subscriptions.is_used:
            return
        topics = tuple(self._topics)
        for frames in published:
            if frames[0].startswith(topics):
                self._subscriptions.receive(frames)
        self._subscriptions.has_read(now)

    def restarted(self, now: int) -> None:
        """The broker that heard of the topics is gone."""
        self._topics.clear()
        self._subscriptions.ear_lost(now)

    def close(self, note: Note) -> None:
        for topic in sorted(self._topics):
            note(topic, False)
        self._topics.clear()
