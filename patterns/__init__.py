"""What applications import: the clients, what they hand out, and the errors they raise.

``Client`` is for threads, ``AsyncClient`` for asyncio; their methods have the same names.
Importing this loads zmq and msgpack, and nothing of the broker's server.
"""

from broker.client.async_client import AsyncClient
from broker.client.async_message import AsyncMessage, AsyncMessageBatch
from broker.client.async_queue import AsyncQueue
from broker.client.confirm import (
    AsyncBulkConfirm,
    AsyncConfirm,
    BatchResult,
    BulkConfirm,
    Confirm,
)
from broker.client.message import Message, MessageBatch
from broker.client.put_batch import PutResult
from broker.client.sync_client import Client
from broker.client.sync_queue import Queue
from broker.errors import (
    CannotDecode,
    CannotEncode,
    ClientClosed,
    ConnectionLost,
    ForkedClient,
    LeaseLost,
    LimitReached,
    MsgQueueError,
    NameNotAllowed,
    ProducerExpired,
    QueueDeleted,
    QueueFull,
    QueueNotEmpty,
    QueueNotFound,
    ResourceAlarm,
    SequenceTooOld,
    SettingsMismatch,
    TooLarge,
    UnknownSetting,
    WaitTimeout,
)

__all__ = [
    "AsyncBulkConfirm",
    "AsyncClient",
    "AsyncConfirm",
    "AsyncMessage",
    "AsyncMessageBatch",
    "AsyncQueue",
    "BatchResult",
    "BulkConfirm",
    "CannotDecode",
    "CannotEncode",
    "Client",
    "ClientClosed",
    "Confirm",
    "ConnectionLost",
    "ForkedClient",
    "LeaseLost",
    "LimitReached",
    "Message",
    "MessageBatch",
    "MsgQueueError",
    "NameNotAllowed",
    "ProducerExpired",
    "PutResult",
    "Queue",
    "QueueDeleted",
    "QueueFull",
    "QueueNotEmpty",
    "QueueNotFound",
    "ResourceAlarm",
    "SequenceTooOld",
    "SettingsMismatch",
    "TooLarge",
    "UnknownSetting",
    "WaitTimeout",
]
