"""How batches get room among what is unconfirmed, of queues and channels, on both faces.

Owns the waiting for room.  It never numbers or sends a batch: ``PutQueue`` does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING

from broker.client import options

if TYPE_CHECKING:
    from broker.client.async_calls import AsyncCalls
    from broker.client.put_batch import PutBatch, PutSpec
    from broker.client.put_queue import PutQueue
    from broker.client.sync_calls import SyncCalls


class Putting:
    """Part of ``Queue`` and ``Channel``."""

    _calls: SyncCalls
    _puts: PutQueue

    def _open_batch(self, spec: PutSpec, size: int) -> PutBatch | None:
        """A fresh batch; None when it must wait for confirms.  The lock is held."""
        options.require_size(size)
        self._calls.require_open()
        self._calls.raise_ignored()
        if not self._puts.has_room:
            return None
        batch = self._puts.begin(spec, size, self._calls.now_ms())
        if batch.full_at > 1:
            self._calls.soon(self._calls.linger_ms)
        return batch

    def _put_all(self, batches: Iterable[PutBatch]) -> list[PutBatch]:
        """Sends complete batches as there is room for them."""
        calls = self._calls
        sent: list[PutBatch] = []
        for batch in batches:
            if not self._puts.has_room:
                calls.wait(lambda: self._puts.has_room, None)
            with calls.changing:
                calls.require_open()
                calls.raise_ignored()
                self._puts.close()
                batch.created_at = calls.now_ms()
                self._puts.add(batch)
                calls.turn()
                calls.keep_receiving(True)
            sent.append(batch)
        return sent


class AsyncPutting:
    """Part of ``AsyncQueue`` and ``AsyncChannel``."""

    _calls: AsyncCalls
    _puts: PutQueue

    async def _open_batch(self, spec: PutSpec, size: int) -> PutBatch:
        """A fresh batch, once there is room for one."""
        options.require_size(size)
        await self._room()
        batch = self._puts.begin(spec, size, self._calls.now_ms())
        if batch.full_at > 1:
            self._calls.soon()
        return batch

    async def _put_all(self, batches: Iterable[PutBatch]) -> list[PutBatch]:
        """Sends complete batches as there is room for them."""
        sent: list[PutBatch] = []
        for batch in batches:
            await self._room()
            self._puts.close()
            batch.created_at = self._calls.now_ms()
            self._puts.add(batch)
            self._calls.turn()
            await asyncio.sleep(0)
            sent.append(batch)
        return sent

    async def _room(self) -> None:
        self._calls.require_open()
        self._calls.raise_ignored()
        if not self._puts.has_room:
            await self._calls.wait(lambda: self._puts.has_room, self._puts.waiters, None)
