"""What applications import: the clients, what they hand out, and the errors they raise.

``Client`` is for threads, ``AsyncClient`` for asyncio; their methods have the same names.
Importing this loads zmq and msgpack, and nothing of the broker's server.
"""

from broker.client.async_client import AsyncClient
from broker.client.async_message import AsyncMessage, AsyncMessageBatch
from broker.client.async_queue import AsyncQueue
from broker.client.async_redrive import AsyncRedrive
from broker.client.browsing import BrowsedMessage
from broker.client.confirm import (
    AsyncBulkConfirm,
    AsyncConfirm,
    BatchResult,
    BulkConfirm,
    Confirm,
)
from broker.client.definitions import Imported
from broker.client.message import Message, MessageBatch
from broker.client.operations import Changed
from broker.client.priority import Priority
from broker.client.put_batch import PutResult
from broker.client.selector import exists
from broker.client.stretch import Death
from broker.client.sync_client import Client
from broker.client.sync_queue import Queue
from broker.client.sync_redrive import Redrive
from broker.client.transaction import AsyncTransaction, Transaction
from broker.errors import (
    BadField,
    CannotDecode,
    CannotEncode,
    ClientClosed,
    ConnectionLost,
    DedupFull,
    ExclusiveQueue,
    ForkedClient,
    IdsNotIndexed,
    LeaseLost,
    LimitReached,
    MessageNotFound,
    MsgQueueError,
    NameNotAllowed,
    NotEnoughReplicas,
    NotNow,
    NotPrimary,
    OutcomeUnknown,
    Partitioned,
    ProducerExpired,
    ProducerFenced,
    QueueDeleted,
    QueueFull,
    QueueNotEmpty,
    QueueNotFound,
    ResourceAlarm,
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
    "AsyncBulkConfirm",
    "AsyncClient",
    "AsyncConfirm",
    "AsyncMessage",
    "AsyncMessageBatch",
    "AsyncQueue",
    "AsyncRedrive",
    "AsyncTransaction",
    "BadField",
    "BatchResult",
    "BrowsedMessage",
    "BulkConfirm",
    "CannotDecode",
    "CannotEncode",
    "Changed",
    "Client",
    "ClientClosed",
    "Confirm",
    "ConnectionLost",
    "Death",
    "DedupFull",
    "ExclusiveQueue",
    "ForkedClient",
    "IdsNotIndexed",
    "Imported",
    "LeaseLost",
    "LimitReached",
    "Message",
    "MessageBatch",
    "MessageNotFound",
    "MsgQueueError",
    "NameNotAllowed",
    "NotEnoughReplicas",
    "NotNow",
    "NotPrimary",
    "OutcomeUnknown",
    "Partitioned",
    "Priority",
    "ProducerExpired",
    "ProducerFenced",
    "PutResult",
    "Queue",
    "QueueDeleted",
    "QueueFull",
    "QueueNotEmpty",
    "QueueNotFound",
    "Redrive",
    "ResourceAlarm",
    "SequenceTooOld",
    "SessionClosed",
    "SettingsMismatch",
    "ShuttingDown",
    "TooLarge",
    "Transaction",
    "TransactionSpansSlots",
    "UnknownSetting",
    "UnreadableMessage",
    "WaitTimeout",
    "exists",
]
