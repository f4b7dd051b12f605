"""Transactions and named producers of the scripted broker."""

from __future__ import annotations

from typing import Any

import msgpack

from tests.client.scripted_queue import ScriptedQueue, positions_of
from tests.client.scripted_session import ScriptedSession

Header = dict[str, Any]


class ScriptedTransactions:
    """To be mixed into the broker, which has the queues and makes refusals."""

    #: producer -> sequences of its transactions, those that were refused included
    transacted: dict[bytes, dict[int, bool]]
    #: (queue, producer) -> newest instance
    instances: dict[tuple[str, bytes], int]

    def queue(self, name: str) -> ScriptedQueue:
        raise NotImplementedError

    def failed(self, name: str, header: Header | None = None, re: str = "failed") -> Header:
        raise NotImplementedError

    def _handle_transact(
        self, session: ScriptedSession, header: Header, frames: list[bytes]
    ) -> Header:
        known = self.transacted.get(header["producer"])
        if known is None and header["seq"] > 0:
            return self.failed("producer_expired")
        known = self.transacted.setdefault(header["producer"], {})
        if known.get(header["seq"]):
            return {"re": "ok", "duplicate": True, "copies": 1}
        known[header["seq"]] = False
        if not all(self._holds(session, settle) for settle in header["settles"]):
            return self.failed("lease_lost")
        known[header["seq"]] = True
        for settle in header["settles"]:
            self.queue(settle["queue"]).settle("ack", settle["ranges"], session.id, True)
        for put, (columns, batch) in zip(header["puts"], msgpack.unpackb(frames[0]), strict=True):
            ids = msgpack.unpackb(columns).get("ids") if columns else None
            self.queue(put["queue"]).put(msgpack.unpackb(batch), put, ids)
        return {"re": "ok", "settled": 1, "puts": len(header["puts"]), "copies": 1}

    def _holds(self, session: ScriptedSession, settle: Header) -> bool:
        messages = self.queue(settle["queue"]).messages
        return all(
            position in messages
            and messages[position].holder == session.id
            and messages[position].attempts == attempts
            for position, attempts in positions_of(settle["ranges"])
        )

    def _handle_producer(self, _: ScriptedSession, header: Header, __: Any) -> Header:
        key = (header["queue"], header["producer"])
        newest = self.instances.get(key, 0)
        if header["instance"] < newest:
            return {**self.failed("producer_fenced"), "instance": newest}
        self.instances[key] = header["instance"]
        highest = self.queue(header["queue"]).highest(header["producer"])
        return {"re": "ok", "highest": highest, "instance": header["instance"]}

    def fences(self, header: Header) -> bool:
        """True for a put of an instance that another has taken over from."""
        key = (header["queue"], header["producer"])
        return bool(header.get("instance", 0) < self.instances.get(key, 0))
