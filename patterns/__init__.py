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
    CallCancelled,
    CallTimeout,
    CannotDecode,
    CannotEncode,
    ClientClosed,
    ConnectionLost,
    DedupFull,
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
    "AsyncClient",
    "AsyncConfirm",
    "AsyncMessage",
    "AsyncMessageBatch",
    "AsyncQueue",
    "AsyncRedrive",
    "AsyncServer",
    "AsyncTransaction",
    "BadField",
    "BatchResult",
    "BrowsedMessage",
    "BulkConfirm",
    "CallCancelled",
    "CallTimeout",
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
    "HandlerFailed",
    "IdsNotIndexed",
    "Imported",
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
    "SequenceTooOld",
    "Server",
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
