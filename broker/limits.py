"""Every bound and every default of the broker.  Sizes in bytes, times in milliseconds.

A bound is enforced where input arrives, with a named error of ``errors.py``.
"""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB
SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Wire
HEADER_BYTES_MAX = 16 * KIB
COLUMNS_BYTES_MAX = 256 * KIB
MESSAGE_BYTES_MAX = 16 * MIB
#: A batch of several messages; a single message may reach MESSAGE_BYTES_MAX.
BATCH_BYTES_MAX = 1 * MIB
BATCH_COUNT_DEFAULT = 1_000
BATCH_COUNT_MAX = 10_000
#: Array header, bin header and headers map of a single largest message.
FRAME_BYTES_MAX = MESSAGE_BYTES_MAX + 64 * KIB
FRAMES_MAX = 3
NAME_BYTES_MAX = 255
PRODUCER_BYTES_MAX = 64
CONTENT_TYPE_BYTES_MAX = 255
#: Ranges in one settle or extend.
RANGES_MAX = 2_048

# Sessions and consumers
SESSIONS_MAX = 10_000
CONSUMERS_PER_SESSION_MAX = 1_000
GETS_WAITING_PER_SESSION_MAX = 1_000
SESSION_TIMEOUT_DEFAULT = 15 * SECOND
SESSION_TIMEOUT_MIN = 1 * SECOND
SESSION_TIMEOUT_MAX = 5 * MINUTE
CREDIT_DEFAULT = 32
#: Several large batches under way: at 4 096 the round trip, not the work, sets the pace.
CREDIT_MAX = 16_384
CREDIT_BYTES_DEFAULT = 4 * MIB
CREDIT_BYTES_MAX = 64 * MIB
LEASE_DEFAULT = 30 * SECOND
LEASE_MIN = 1 * SECOND
LEASE_MAX = 12 * HOUR
#: Ended leases are collected in steps of at least this.
LEASE_STEP = 50
GET_TIMEOUT_MAX = 5 * MINUTE
GET_COUNT_MAX = BATCH_COUNT_MAX

# Queues
QUEUES_PER_SLOT_MAX = 10_000
PRIORITY_DEFAULT = 4
PRIORITY_MAX = 9
#: Lanes of delayed messages are numbered from here on.
DELAYED_LANES = 16
TTL_MAX = 10 * 365 * DAY
DELAY_MAX = 10 * 365 * DAY

# Producers (dedup by sequence)
UNCONFIRMED_BATCHES_MAX = 1_024
SEQUENCE_WINDOW = 1_024
PRODUCERS_PER_SLOT_MAX = 100_000
PRODUCER_IDLE = 24 * HOUR

# Slots and the log
SLOTS_DEFAULT = 64
#: Proposed but not yet synced; above it no client socket is read.
UNSYNCED_BYTES_MAX = 8 * MIB
#: Log kept below the commit where there is no replica that catches up.
LOG_KEPT_BYTES_ALONE = 4 * MIB
CHECKPOINT_BYTES = 64 * MIB
CHECKPOINT_ENTRIES = 50_000
CHECKPOINT_DIRTY = 30 * SECOND
#: Positions in one settled bitmap.
CHUNK = 4_096

# Memory
#: Newest batches kept in memory for queues that somebody takes from, shared by a slot's queues;
#: a queue with many neighbours keeps at least the second.
WINDOW_BYTES = 16 * MIB
WINDOW_BYTES_MIN = 128 * KIB
#: One read of a queue's backlog.
WINDOW_RECORDS = 10_000
READ_BYTES = 1 * MIB
#: Puts of one turn that agree are joined up to this size; beyond it copying costs more.
JOINED_BYTES_MAX = 256 * KIB
#: One delivery.
DELIVERY_BYTES = 1 * MIB
#: Handed on by one queue in one turn; the rest follows in the next.
SERVED_BYTES_PER_TURN = 8 * MIB
#: Output that waits for a peer whose pipe is full; above it the session ends.
OUTBOX_FRAMES_MAX = 8_192

# Disk
DISK_RESERVE_BYTES = 256 * MIB

# Process
#: Above SESSIONS_MAX, so that a client over that bound is refused by name.
CONNECTIONS_MAX = SESSIONS_MAX + 1_000
#: A connection that has said nothing of ZMTP for so long is closed.
HANDSHAKE_MAX = 5 * SECOND
#: Received from one connection since its last whole multipart.  libzmq hands over nothing
#: before a multipart is whole, so its own frame bound does not bound the sum of the frames.
UNREAD_BYTES_MAX = FRAMES_MAX * FRAME_BYTES_MAX + 16 * MIB
#: Whole multiparts that libzmq holds for us from one connection.
INPUT_MULTIPARTS_MAX = 128
#: Work of one turn of the loop; the rest waits for the next.
TURN_MULTIPARTS_MAX = 512
TURN_BYTES_MAX = 1 * MIB
DRAIN_MAX = 10 * SECOND
