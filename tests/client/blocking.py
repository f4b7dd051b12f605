"""The async client behind the sync client's face, so that one test body can speak to both.

Owns an event loop in a thread.  It adds nothing: each call is the async method of that name.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Self, TypeVar

from patterns import AsyncClient
from tests.support.waiting import DEADLINE_S

T = TypeVar("T")

#: Methods of the async faces that return at once; every other one is awaited.
PLAIN = frozenset({"browse", "consume", "consume_batches", "history"})


class Loop:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result(DEADLINE_S)
        except TimeoutError:
            # A generator that still runs could not be closed, and that error would hide this one.
            future.cancel()
            raise

    def stop(self) -> None:
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """Any object of the async face; what its methods give is wrapped likewise."""

    def __init__(self, loop: Loop, wrapped: Any) -> None:
        self._loop = loop
        self._wrapped = wrapped

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._wrapped, name)
        if name in PLAIN:
            return self._iterating(found)
        if asyncio.iscoroutinefunction(found):
            return self._awaiting(found)
        return self._calling(found) if callable(found) else found

    def __len__(self) -> int:
        return len(self._wrapped)

    def __iter__(self) -> Iterator[Any]:
        if hasattr(self._wrapped, "__aiter__"):
            return self._iterating(self._wrapped.__aiter__)()
        return (Blocking(self._loop, each) for each in self._wrapped)

    def __enter__(self) -> Self:
        self._loop.run(self._wrapped.__aenter__())
        return self

    def __exit__(self, *exc: Any) -> None:
        self._loop.run(self._wrapped.__aexit__(*exc))

    def _awaiting(self, method: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            given = [_unwrapped(each) for each in args]
            named = {name: _unwrapped(value) for name, value in kwargs.items()}
            return self._wrap(self._loop.run(method(*given, **named)))

        return call

    def _calling(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            plain = [arg._wrapped if isinstance(arg, Blocking) else arg for arg in args]
            return self._wrap(method(*plain, **kwargs))

        return call

    def _iterating(self, method: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
        def iterate(*args: Any, **kwargs: Any) -> Iterator[Any]:
            named = {name: _unwrapped(value) for name, value in kwargs.items()}
            generator = method(*args, **named)
            try:
                while True:
                    try:
                        yield self._wrap(self._loop.run(anext(generator)))
                    except StopAsyncIteration:
                        return
            finally:
                self._loop.run(generator.aclose())

        return iterate

    def _wrap(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrap(each) for each in value]
        is_face = type(value).__module__.startswith("broker.client") and not isinstance(
            value, tuple
        )
        return Blocking(self._loop, value) if is_face else value


def _unwrapped(value: Any) -> Any:
    if isinstance(value, list):
        return [_unwrapped(each) for each in value]
    return value._wrapped if isinstance(value, Blocking) else value


class BlockingClient(Blocking):
    """``AsyncClient`` as if it were ``Client``: connected when it is made."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        loop = Loop()

        async def make() -> AsyncClient:
            client = AsyncClient(*args, **kwargs)
            await client.connect()
            return client

        try:
            super().__init__(loop, loop.run(make()))
        except BaseException:
            loop.stop()
            raise

    def subscribe(self, *patterns: str, **options: Any) -> Any:
        """Made in the thread of the loop, and joined, as the sync client's is."""

        async def make() -> Any:
            return await self._wrapped.subscribe(*patterns, **options)

        return Blocking(self._loop, self._loop.run(make()))

    def __exit__(self, *exc: Any) -> None:
        try:
            super().__exit__(*exc)
        finally:
            self._loop.stop()
