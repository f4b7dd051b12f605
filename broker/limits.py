"""Every bound and every default of the broker.  Sizes in bytes, times in milliseconds.

A bound is enforced where input arrives, with a named error of ``errors/``.
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
#: Ranges in one settle or extend; so many large ones fit into a header.
RANGES_MAX = 1_024

# Sessions and consumers
SESSIONS_MAX = 10_000
CONSUMERS_PER_SESSION_MAX = 1_000
#: In the stats of one queue.
CONSUMERS_LISTED_MAX = 1_000
GETS_WAITING_PER_SESSION_MAX = 1_000
SESSION_TIMEOUT_DEFAULT = 15 * SECOND
SESSION_TIMEOUT_MIN = 1 * SECOND
SESSION_TIMEOUT_MAX = 5 * MINUTE
CREDIT_DEFAULT = 32
#: Consumers of the highest priority with credit are served first.
CONSUMER_PRIORITY_DEFAULT = 0
CONSUMER_PRIORITY_MAX = 100
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
#: ... and those of batches whose messages have due times of their own from here on.
TIMED_LANES = 32
#: Such a batch is stored in parts of about so many bytes, and at most so many messages.
TIMED_PART_BYTES = 2 * KIB
TIMED_PART_COUNT = 64
#: One row of the due index covers messages whose instants lie so close; fits 16 bits.
TIMED_SPAN = 60 * SECOND
#: Instants that follow each other are looked at in steps of at least this.
TIMED_STEP = 20
TTL_MAX = 10 * 365 * DAY
DELAY_MAX = 10 * 365 * DAY
#: Of a queue with a dead-letter queue: one try and three retries.
MAX_ATTEMPTS_DEFAULT = 4
#: One session can consume from all partitions of a queue.
PARTITIONS_MAX = 512
DEDUP_WINDOW_DEFAULT = 5 * MINUTE
DEDUP_WINDOW_MAX = 7 * DAY
#: Ids that one queue remembers; above it puts get dedup_full.
IDS_MAX = 10_000_000
#: One message's own id.
ID_BYTES_MAX = 255
KEY_BYTES_MAX = 255
#: Rows of ids that nobody may ask for any more are looked for so often, and in steps while some
#: are left to look at; one step looks at so many rows and queues and erases about so many ids.
ID_SWEEP_EVERY = 5 * SECOND
ID_SWEEP_STEP = 50
ID_SWEEP_ROWS = 2_000
ID_SWEEP_QUEUES = 64
ID_SWEEP_MESSAGES = 10_000
#: Messages that a keyed queue, or one with selectors, looks at besides those in flight.
#: Of each priority, and so many bytes of them are kept in memory.
CHOICE_WINDOW_MAX = 100_000
CHOICE_WINDOW_BYTES = 8 * MIB
#: Messages that one turn looks at for one queue.
CHOICE_LOOKS_PER_TURN = 20_000
#: Conditions of one selector, and values of one ``in``.
SELECTOR_CONDITIONS_MAX = 16
SELECTOR_VALUES_MAX = 100

# Channels
#: Kept of a channel whose owner asks for a history and does not say how much of it.
HISTORY_DEFAULT = 100
HISTORY_MESSAGES_MAX = 100_000_000
HISTORY_BYTES_MEMORY = 64 * MIB
HISTORY_BYTES_DURABLE = 1024 * MIB
#: Names of one slot, light and kept together.
CHANNELS_PER_SLOT_MAX = 100_000
#: Deleted in one reign and remembered, so that the next of the name begins behind it.
CHANNELS_ENDED_MAX = 10_000
#: The last producers of a channel without a history.
CHANNEL_PRODUCERS_MAX = 16
#: A channel without a history that nobody publishes on or listens to is forgotten after so long;
#: such ones are looked for so often, and in steps of so many.
CHANNEL_IDLE = 10 * MINUTE
CHANNEL_SWEEP_EVERY = 1 * MINUTE
CHANNEL_SWEEP_STEP = 50
CHANNEL_SWEEP_NAMES = 2_000
#: A history is trimmed in so many steps, and in none smaller than these.
TRIM_STEPS = 16
TRIM_STEP_MESSAGES = 64
TRIM_STEP_BYTES = 16 * KIB
TRIM_STEP_MS = 1 * SECOND
#: Histories that one turn looks at.
TRIMS_PER_TURN = 64
#: A client asks with such a topic whether its subscriptions have come to a broker.
ECHO_PREFIX = b"$sync."
ECHO_BYTES_MAX = 64
#: Patterns that one queue is bound to, and copies of bindings that one slot of channels keeps.
BINDINGS_PER_QUEUE_MAX = 100
BINDINGS_PER_SLOT_MAX = 10_000
#: Channels of which a slot remembers who is bound to them.
BINDINGS_FOUND_MAX = 10_000
#: Requests that wait for one binding to be with all slots.
BINDING_WAITS_MAX = 1_000
#: A slot remembers so long of a binding that is gone, lest an older word of it be believed.
BINDING_REMEMBERED = DAY
#: An echo whose topic nobody has subscribed yet waits so long for that.
ECHO_WAIT = 1 * SECOND
SUBSCRIPTIONS_PER_SESSION_MAX = 1_000
#: Registered ones of one broker, and again as many that its XPUB holds.
SUBSCRIPTIONS_MAX = 100_000
#: A subscription is confirmed with the names of the brokers that have not heard of it till then.
SUBSCRIBE_WAIT = 1 * SECOND
#: Changes of interest that one message tells another broker; the next waits for its answer.
INTEREST_CHANGES_MAX = 1_000
#: Subscriptions that are gone are told of as long as they are no more than this, or than the rest.
INTEREST_GONE_MAX = 10_000
#: Channels whose listeners are remembered between two publishes.
ROUTES_MAX = 200_000
#: One multipart for subscribers; what waits for one that has stopped to read is so many of these.
FANOUT_BYTES = 64 * KIB
FANOUT_MULTIPARTS_MAX = 1_000
#: Prefixes that one connection of the XPUB may hold, and what it may send at once to ask for one.
SUBSCRIPTIONS_PER_CONNECTION_MAX = 10_000
SUBSCRIPTION_FRAME_BYTES_MAX = 4 * KIB
#: Subscriptions that one turn takes in.
SUBSCRIPTIONS_PER_TURN = 10_000
#: A subscriber's connection that answers no ping for so long is cut, and what waits for it freed.
SUBSCRIBER_PING_INTERVAL = 5 * SECOND
SUBSCRIBER_STALL_MAX = 15 * SECOND
#: How far channels are is told so often while they change, and soon after they came to rest.
HEADS_EVERY = 1 * SECOND
HEADS_IDLE = 50
HEADS_PAUSE = 250
#: One message with heads, well below HEADER_BYTES_MAX.
HEADS_BYTES_MAX = 12 * KIB
#: What happens again and again is told so often, with its number.
EVENT_EVERY = 1 * SECOND
#: Names of events that wait, or were told of late.
EVENTS_MAX = 10_000

# Producers (dedup by sequence)
UNCONFIRMED_BATCHES_MAX = 1_024
SEQUENCE_WINDOW = 1_024
PRODUCERS_PER_SLOT_MAX = 100_000
PRODUCER_IDLE = 24 * HOUR

# Transfers between queues
#: Batches under way from one slot to one queue.
TRANSFERS_UNDER_WAY_MAX = 64
TRANSFER_BYTES_UNDER_WAY_MAX = 4 * MIB
#: A target that refuses is asked again after so long.
TRANSFER_RETRY = 1 * SECOND
#: Messages that one step of a redrive moves, and batches of a queue that are under way meanwhile.
REDRIVE_COUNT = 1_000
REDRIVE_MOVES_MAX = 256
#: A redrive that may not go on looks again after so long.
REDRIVE_STEP = 50
REDRIVE_RATE_MAX = 1_000_000
#: Puts of one transaction.
TRANSACTION_PUTS_MAX = 64

# Services
#: Requests that one worker works on at once.
CONCURRENCY_MAX = 10_000
WORKERS_PER_SESSION_MAX = 1_000
SERVICES_PER_SLOT_MAX = 10_000
#: Calls of one session that are not answered.
CALLS_PER_SESSION_MAX = 10_000
CALL_TIMEOUT_MAX = 1 * HOUR
#: Workers that one call may name to be asked at once; -1 means all there are.
CALL_WORKERS_MAX = 10_000
CALL_ID_BYTES_MAX = 64
#: What a worker's failure says in words.
ERROR_TEXT_BYTES_MAX = 4 * KIB
#: Calls that wait for one service's workers; above it a call is overloaded.
CALLS_WAITING_MAX = 10_000
#: Bodies that this broker keeps for calls which wait or may be given to another worker.
CALL_BYTES_MAX = 256 * MIB
#: Parts of one reply that a client holds for a caller who does not take them.
PARTS_BYTES_MAX = 64 * MIB
#: So long after the start of a reign workers may be on their way: calls wait for them.
WORKERS_GATHER = 1 * SECOND

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

# Replication
#: Copies of each slot, and how many of them hold a message before it is confirmed.
REPLICATION_DEFAULT = 3
MIN_ISR_DEFAULT = 2
#: Between two heartbeats of a primary that has nothing else to say.
REPLICA_HEARTBEAT = 1 * SECOND
#: What was sent to a replica and is not known to have come is sent again after so long.
REPLICA_RETRY = 500
#: A hole in what a replica received is filled at most so often.
REPLICA_REPEAT_MIN = 50
#: A replica that answers nothing for so long leaves the in-sync set.
REPLICA_SILENCE_MAX = 3 * SECOND
#: How long one that had to leave for its slowness keeps up before it enters again.
READMISSION_STEADY = 10 * SECOND
#: Sent to one replica of one slot and not yet received there.
REPLICA_INFLIGHT_BYTES_MAX = 4 * MIB
#: One multipart's worth of entries for one replica of one slot.
PREPARE_BYTES_MAX = 1 * MIB
#: The newest entries of a slot kept in memory for its followers; older ones are read.
REPLICA_TAIL_BYTES = 8 * MIB
SNAPSHOT_PART_BYTES = 1 * MIB
#: Slots that one broker copies to others at the same time.
SNAPSHOTS_AT_ONCE_MAX = 4
#: Log kept below the commit for replicas that were away.
LOG_KEPT_BYTES_CLUSTER = 64 * MIB
#: A broker that has nothing to say to another says so this often.
LINK_HEARTBEAT = 1 * SECOND
#: A link that is silent for so long has lost its sessions.
LINK_SILENCE_MAX = 5 * SECOND
#: A broker waits so long for each of those that have the better right to take a slot over.
TAKEOVER_STEP = 300
#: A consumer whose queue has no primary is placed again so often.
PLACE_RETRY = 200
PLACE_EVERY = 50
#: A question to all brokers is answered after so long with what came.
GATHER_MAX = 2 * SECOND
#: Batches behind a refused one wait for it so long.
PUT_HELD_BACK = 5 * SECOND
#: A broker whose clock differs more from the others' takes no slot: times to live would end early.
CLOCK_OFFSET_MAX = 10 * SECOND
#: A broker that starts beside others waits so long to hear one of them.
CLOCK_COMPARED_WITHIN = 3 * SECOND
#: An unanswered or undecided swap is asked again after so long.
SWAP_RETRY = 200
#: A primary looks at its slot's way to the ring's target so often.
RECONFIGURE_EVERY = 500

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
#: One browse looks at so much of the disk, whatever it finds, in reads of so much.
BROWSE_COUNT_DEFAULT = 1_000
BROWSE_READS = 500
BROWSE_BYTES = 4 * MIB
BROWSE_RECORDS = 256
BROWSE_READ_BYTES = 256 * KIB
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

# Links between brokers
#: A header, and the rows and bodies of all slots that one turn sends to one broker.
LINK_FRAMES_MAX = 16_384
#: Multiparts that wait for a broker which does not read.  One holds what a turn wrote, about
#: TURN_BYTES_MAX, so that a slow broker holds some 256 MiB of memory at the most.
LINK_OUTBOX_MULTIPARTS_MAX = 256
LINK_INPUT_MULTIPARTS_MAX = 128
#: A link that takes nothing for so long is cut, and what waits in it is freed.
LINK_STALL_MAX = 5 * SECOND
LINK_PING_INTERVAL = 1 * SECOND
LINK_CONNECT_MAX = 2 * SECOND
#: Between two attempts to reach a broker: the first, and the bound of the doubling.
LINK_RECONNECT_MIN = 50
LINK_RECONNECT_MAX = 1 * SECOND

# Tenures
TENURE_DEFAULT = 10 * SECOND
TENURE_MIN = 1 * SECOND
TENURE_MAX = 60 * SECOND
#: Taken off by the holder: one part in so many for clocks of different speed ...
TENURE_DRIFT_DIVISOR = 100
#: ... and this for everything else.
TENURE_MARGIN = 500
