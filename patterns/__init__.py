"""What applications import: the clients, what they hand out, and the errors they raise.

``Client`` is for threads, ``AsyncClient`` for asyncio; their methods have the same names.
Importing this loads zmq and msgpack, and nothing of the broker's server.
"""

from broker.client.async_client import AsyncClient
from broker.client.async_message import AsyncMessage, AsyncMessageBatch
from broker.client.async_queue import AsyncQueue
from broker.client.async_redrive import AsyncRedrive
from broker.client.browsing import BrowsedMessage
from broker.client.channels.async_channel import AsyncChannel
from broker.client.channels.async_subscription import AsyncSubscription
from broker.client.channels.event import Event
from broker.client.channels.published import (
    AsyncBulkPublishConfirm,
    AsyncPublishConfirm,
    BulkPublishConfirm,
    PublishConfirm,
)
from broker.client.channels.publishing import PublishedBatch, PublishResult
from broker.client.channels.runs import Gap
from broker.client.channels.sync_channel import Channel
from broker.client.channels.sync_subscription import Subscription
from broker.client.confirm import (
    AsyncBulkConfirm,
    AsyncConfirm,
    BatchResult,
    BulkConfirm,
    Confirm,
)
from broker.client.definitions import Imported, ImportedChannels
from broker.client.message import Message, MessageBatch
from broker.client.operations import Changed
from broker.client.priority import Priority
from broker.client.put_batch import PutResult
from broker.client.selector import exists
from broker.client.services.answer import Answer, Result
from broker.client.services.answers import AllAnswers, Answers, AsyncAnswers
from broker.client.services.async_server import AsyncServer
from broker.client.services.request import Request
from broker.client.services.sync_server import Server
from broker.client.stretch import Death
from broker.client.sync_client import Client
from broker.client.sync_queue import Queue
from broker.client.sync_redrive import Redrive
from broker.client.transaction import AsyncTransaction, Transaction
from broker.errors import (
    BadField,
    BadPattern,
    BindingNotFound,
    CallCancelled,
    CallTimeout,
    CannotDecode,
    CannotEncode,
    ChannelNotFound,
    ChannelsOff,
    ClientClosed,
    ConnectionLost,
    DedupFull,
    EventsMissed,
    ExclusiveQueue,
    ForkedClient,
    HandlerFailed,
    IdsNotIndexed,
    LeaseLost,
    LimitReached,
    MessageNotFound,
    MsgQueueError,
    NameNotAllowed,
    NoResponder,
    NotEnoughReplicas,
    NotNow,
    NotPrimary,
    OutcomeUnknown,
    Overloaded,
    Partitioned,
    ProducerExpired,
    ProducerFenced,
    QueueDeleted,
    QueueFull,
    QueueNotEmpty,
    QueueNotFound,
    ResourceAlarm,
    ResponderLost,
    SequenceAhead,
    SequenceTooOld,
    SessionClosed,
    SettingsMismatch,
    ShuttingDown,
    TooLarge,
    TransactionSpansSlots,
    UnknownSetting,
    UnreadableMessage,
    WaitTimeout,
)

__all__ = [
    "AllAnswers",
    "Answer",
    "Answers",
    "AsyncAnswers",
    "AsyncBulkConfirm",
    "AsyncBulkPublishConfirm",
    "AsyncChannel",
    "AsyncClient",
    "AsyncConfirm",
    "AsyncMessage",
    "AsyncMessageBatch",
    "AsyncPublishConfirm",
    "AsyncQueue",
    "AsyncRedrive",
    "AsyncServer",
    "AsyncSubscription",
    "AsyncTransaction",
    "BadField",
    "BadPattern",
    "BatchResult",
    "BindingNotFound",
    "BrowsedMessage",
    "BulkConfirm",
    "BulkPublishConfirm",
    "CallCancelled",
    "CallTimeout",
    "CannotDecode",
    "CannotEncode",
    "Changed",
    "Channel",
    "ChannelNotFound",
    "ChannelsOff",
    "Client",
    "ClientClosed",
    "Confirm",
    "ConnectionLost",
    "Death",
    "DedupFull",
    "Event",
    "EventsMissed",
    "ExclusiveQueue",
    "ForkedClient",
    "Gap",
    "HandlerFailed",
    "IdsNotIndexed",
    "Imported",
    "ImportedChannels",
    "LeaseLost",
    "LimitReached",
    "Message",
    "MessageBatch",
    "MessageNotFound",
    "MsgQueueError",
    "NameNotAllowed",
    "NoResponder",
    "NotEnoughReplicas",
    "NotNow",
    "NotPrimary",
    "OutcomeUnknown",
    "Overloaded",
    "Partitioned",
    "Priority",
    "ProducerExpired",
    "ProducerFenced",
    "PublishConfirm",
    "PublishResult",
    "PublishedBatch",
    "PutResult",
    "Queue",
    "QueueDeleted",
    "QueueFull",
    "QueueNotEmpty",
    "QueueNotFound",
    "Redrive",
    "Request",
    "ResourceAlarm",
    "ResponderLost",
    "Result",
    "SequenceAhead",
    "SequenceTooOld",
    "Server",
    "SessionClosed",
    "SettingsMismatch",
    "ShuttingDown",
    "Subscription",
    "TooLarge",
    "Transaction",
    "TransactionSpansSlots",
    "UnknownSetting",
    "UnreadableMessage",
    "WaitTimeout",
    "exists",
]
