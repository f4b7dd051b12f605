"""The list of contenders.

Owns their order in the tables. Never starts one. Law: a contender that is left out is left out by
name, in the result as on the terminal.
"""

from collections.abc import Sequence
from typing import TypeVar

from bench.contender import Contender
from bench.peers.beanstalkd import Beanstalkd
from bench.peers.floor import Floor
from bench.peers.jetstream import JetStream
from bench.peers.jetstream_cluster import JetStreamCluster
from bench.peers.msgqueue import MsgQueue
from bench.peers.msgqueue_cluster import MsgQueueCluster
from bench.peers.rabbitmq import RabbitMQ
from bench.peers.rabbitmq_cluster import RabbitMQCluster
from bench.peers.redis_streams import RedisStreams
from bench.settings import UsageError

T = TypeVar("T")

CONTENDERS: tuple[Contender, ...] = (
    MsgQueue(),
    Floor(),
    RedisStreams("always"),
    RedisStreams("everysec"),
    JetStream(),
    RabbitMQ("classic"),
    RabbitMQ("quorum"),
    Beanstalkd(),
)
CLUSTERS: tuple[Contender, ...] = (MsgQueueCluster(), JetStreamCluster(), RabbitMQCluster())


def chosen(words: Sequence[str], among: Sequence[Contender] = CONTENDERS) -> list[Contender]:
    """Return the contenders whose name contains one of `words`, all of them for no words."""
    lowered = [word.lower() for word in words]
    found = [
        contender
        for contender in among
        if not words or any(word in contender.name.lower() for word in lowered)
    ]
    if not found:
        names = "; ".join(contender.name for contender in among)
        raise UsageError(f"no contender is named like {', '.join(words)}; there are: {names}")
    return found


def turn_order(contenders: Sequence[T], repeat: int) -> list[T]:
    """Return the order of one repeat: forward and backward in turn, so that drift evens out."""
    return list(contenders) if repeat % 2 == 0 else list(reversed(contenders))
