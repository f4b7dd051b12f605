"""An operator at the command line, and the keys that brokers would write.

Owns the commands of one cluster in a real etcd.  The brokers are keys alone, so that a test can
put the cluster into any state.
"""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, NamedTuple, Self

from click.testing import CliRunner

from broker.cli.cluster import cluster_group
from broker.cluster.ownership import BrokerRecord, ClusterConfig, Member, ReplicaId, SlotConfig
from broker.cluster.view import ClusterView
from broker.server.cluster_admin import ClusterAdmin
from broker.server.etcd_client import EtcdClient
from broker.server.etcd_endpoint import EtcdAccess
from broker.server.etcd_keys import encode_value, key_of


class Answer(NamedTuple):
    status: int
    output: str

    def json(self) -> Any:
        return json.loads(self.output)


def disk_of(broker: str) -> str:
    """The incarnation that ``alive`` and ``held`` give to a broker."""
    return f"disk-of-{broker}"


def held(*brokers: str, isr: str = "", elr: str = "", epoch: int = 1) -> SlotConfig:
    """Copies at ``brokers``, in sync at ``isr`` (all, if not said), the first of it primary."""
    in_sync = tuple(isr.split()) or brokers
    copies = tuple(ReplicaId(broker, disk_of(broker)) for broker in brokers)
    return SlotConfig(copies, in_sync, tuple(elr.split()), in_sync[0], epoch)


class Console:
    def __init__(self, endpoint: str, cluster: str) -> None:
        self.endpoint = endpoint
        self.cluster = cluster
        self._client = EtcdClient(EtcdAccess((endpoint,)))

    def run(self, command: str, *args: str) -> Answer:
        """Standard output and error together, and the exit status."""
        options = ["--cluster", self.cluster, "--etcd", self.endpoint]
        done = CliRunner().invoke(cluster_group, [command, *options, *args])
        if done.exception and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Answer(done.exit_code, done.output)

    def done(self, command: str, *args: str) -> Answer:
        answer = self.run(command, *args)
        assert answer.status == 0, answer.output
        return answer

    def refused(self, command: str, *args: str, name: str, status: int) -> str:
        """The text of an error that ends the output, in one line with its name."""
        answer = self.run(command, *args)
        last = answer.output.rstrip("\n").rpartition("\n")[2]
        assert answer.status == status, answer.output
        assert last.startswith(f"msgqueue: {name}: "), answer.output
        return last

    def view(self) -> ClusterView:
        return ClusterAdmin(self._client, self.cluster).read()

    def config(self) -> ClusterConfig:
        config = self.view().config
        assert config is not None
        return config

    def alive(self, *brokers: str, disk: str = "") -> None:
        """The brokers' own keys, with ``disk`` as the incarnation where it is another than ever."""
        for broker in brokers:
            address = f"tcp://127.0.0.1:1{broker[1:]}"
            record = BrokerRecord(disk or disk_of(broker), (address,), address, "0.1.0")
            self._put("brokers", broker, encode_value(record))
            if broker not in self.view().members:
                self._put("members", broker, encode_value(Member()))

    def gone(self, *brokers: str) -> None:
        for broker in brokers:
            self._client.delete(key_of(self.cluster, "brokers", broker))

    def set_slot(self, number: int, config: SlotConfig) -> None:
        self._put("slots", str(number), encode_value(config))

    def set_slots(self, config: SlotConfig) -> None:
        for number in range(self.config().slots):
            self.set_slot(number, config)

    def _put(self, kind: str, name: str, value: bytes) -> None:
        key = key_of(self.cluster, kind, name)
        stored = self._client.get(key)
        answer = self._client.put_if(key, value, 0 if stored is None else stored.revision)
        assert answer.is_done

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._client.close()
