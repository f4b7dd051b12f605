"""What happened to this client, in numbers that only grow."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Counters:
    #: Sessions begun, over all brokers, the first one included.
    sessions: int = 0
    #: Replies that did not follow the protocol; each cost a reconnect.
    replies_broken: int = 0
    puts_confirmed: int = 0
    #: Messages whose put ended with an error.
    puts_failed: int = 0
    #: Batches sent again, after a reconnect or a refusal.
    batches_resent: int = 0
    #: Batches that the broker had already.
    batches_duplicate: int = 0
    messages_delivered: int = 0
    #: Settles, in messages, that the broker has on disk.
    settles_confirmed: int = 0
    #: Messages that were no longer held here when they were settled or extended.
    leases_lost: int = 0
    #: Prefetched messages given back unseen, free of charge.
    messages_given_back: int = 0
    #: Prefetched messages of an auto-ack consumer that nobody looked at: at most once.
    messages_unseen: int = 0
    #: Messages dropped because their broker had lost the queue when it delivered them, or because
    #: they were settled here under the delivery of an earlier owner.
    messages_stale: int = 0

    #: Calls sent again: nobody had seen them, or they were idempotent.
    calls_resent: int = 0
    #: Requests that this client was given, and those of them that nobody had begun when nobody
    #: waited for them any more.
    requests_taken: int = 0
    requests_dropped: int = 0
    #: Answers and failures that nobody waited for any more.
    answers_unwanted: int = 0

    #: Messages of channels that came live, and multiparts there that were none.
    events_received: int = 0
    events_broken: int = 0
    #: Messages of channels that could not be had, and gaps told, those of unknown size included.
    events_missed: int = 0
    event_gaps: int = 0

    def as_map(self) -> dict[str, int]:
        return asdict(self)
