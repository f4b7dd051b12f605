"""A broker's tenure: its key in etcd and the lease that the key lives under.

Owns both.  Law: the tenure is extended only after etcd has renewed the lease and then shown
the key to be under it, and is counted from when the renewal was sent.

Every round brings the key from whatever it is found to be to what it should be, so an answer
that stayed away needs no memory:

    found            what is done
    nothing          create it, under our lease
    ours             write it when the record differs
    a former self's  same incarnation, older lease: take it over
    another's        wait; after a tenure and a half BrokerIdInUse
    once ours, now under another lease: BrokerIdInUse
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from broker.cluster.ownership import BrokerRecord, Member
from broker.errors import BrokerIdInUse, UnreadableKey
from broker.limits import TENURE_DRIFT_DIVISOR, TENURE_MARGIN
from broker.server.etcd_client import EtcdClient, Stored
from broker.server.etcd_endpoint import EtcdError, LeaseGone
from broker.server.etcd_keys import decode_value, encode_value, key_of
from broker.server.logs import log_event

_log = logging.getLogger("broker.coordinator")


class Tenure:
    """``extended`` is told each new deadline, on the clock ``elapsed_ms``.

    One thread calls ``keep`` and ``end``; ``record`` may be replaced from another.
    """

    def __init__(
        self,
        client: EtcdClient,
        extended: Callable[[int], None],
        *,
        cluster: str,
        broker_id: str,
        record: BrokerRecord,
        member: Member,
        tenure_ms: int,
        elapsed_ms: Callable[[], int],
    ) -> None:
        self.record = record
        self._client = client
        self._extended = extended
        self._cluster = cluster
        self._broker_id = broker_id
        self._key = key_of(cluster, "brokers", broker_id)
        self._member = member
        self._tenure_ms = tenure_ms
        self._elapsed_ms = elapsed_ms
        self._lease = 0
        self._is_registered = False
        self._is_member = False
        #: Since when another incarnation has been seen to hold the key.
        self._occupied_since: int | None = None

    def keep(self) -> int:
        """One round; returns the ms until the next.  Raises BrokerIdInUse and EtcdError."""
        sent_at = self._elapsed_ms()
        try:
            ttl_ms = self._renew_lease()
            is_ours = self._hold_key()
        except LeaseGone:
            self._lose_lease()
            return 0
        if not is_ours:
            return self._tenure_ms // 12
        self._extended(sent_at + ttl_ms - ttl_ms // TENURE_DRIFT_DIVISOR - TENURE_MARGIN)
        return self._tenure_ms // 3

    def end(self) -> None:
        """The others see the key gone at once, or after the tenure when etcd is away."""
        if not self._lease:
            return
        try:
            self._client.revoke(self._lease)
        except EtcdError as error:
            log_event(_log, logging.WARNING, "tenure left to run out", reason=error)

    def _renew_lease(self) -> int:
        if self._lease:
            return self._client.keep_alive(self._lease)
        granted = self._client.grant(self._tenure_ms)
        self._lease = granted.lease
        return granted.ttl_ms

    def _lose_lease(self) -> None:
        log_event(_log, logging.WARNING, "tenure lost", lease=f"{self._lease:x}")
        self._lease = 0
        self._is_registered = False

    def _hold_key(self) -> bool:
        """True when the key is ours and says what it should."""
        self._require_member()
        found = self._client.get(self._key)
        wanted = encode_value(self.record)
        if found is not None and found.lease == self._lease:
            self._is_registered = True
            return found.value == wanted or self._put(wanted, found.revision)
        if found is None:
            return self._put(wanted, 0)
        if self._is_registered:
            raise BrokerIdInUse(f"{self._broker_id} was taken over by another process")
        if self._is_former_self(found):
            return self._put(wanted, found.revision)
        self._wait_for_holder()
        return False

    def _put(self, value: bytes, revision: int) -> bool:
        is_done = self._client.put_if(self._key, value, revision, lease=self._lease).is_done
        if is_done and not self._is_registered:
            self._is_registered = True
            self._occupied_since = None
            log_event(_log, logging.INFO, "tenure begun", broker=self._broker_id)
        return is_done

    def _require_member(self) -> None:
        """A member key that is there is left as it is: it is the operators' from then on."""
        if self._is_member:
            return
        key = key_of(self._cluster, "members", self._broker_id)
        self._client.put_if(key, encode_value(self._member), 0)
        self._is_member = True

    def _is_former_self(self, found: Stored) -> bool:
        try:
            holder = decode_value("brokers", found)
        except UnreadableKey:
            return False
        assert isinstance(holder, BrokerRecord)
        return holder.incarnation == self.record.incarnation

    def _wait_for_holder(self) -> None:
        """A tenure that nobody renews ends within its length and the time etcd takes to notice."""
        now = self._elapsed_ms()
        if self._occupied_since is None:
            self._occupied_since = now
            log_event(_log, logging.WARNING, "broker id held by another", broker=self._broker_id)
        elif now - self._occupied_since > self._tenure_ms * 3 // 2:
            raise BrokerIdInUse(f"{self._broker_id} is alive with another data directory")
