"""Request and reply as functions: their arguments and results travel as JSON.

    @service("add")
    def add(a: int, b: int) -> int:
        return a + b

    serve(mq, add, concurrency=4)                     # in the worker
    Caller(mq).call("add", 1, 2, timeout=2)           # anywhere else

``mq`` is a ``Client``; ``AsyncCaller`` and ``serve_async`` take an ``AsyncClient``, and functions
that may be coroutines.  A function that yields gives its reply in parts, to ``stream``.  An error
that the caller has named in ``errors`` comes back as itself, made anew from its text; any other is
HandlerFailed.  Nothing that is received is ever run: no pickle.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any, ParamSpec, TypeVar

from broker.client.async_client import AsyncClient
from broker.client.content import JSON
from broker.client.services.answer import Answer, Result
from broker.client.services.async_server import AsyncServer
from broker.client.services.request import Request
from broker.client.services.sync_server import Server
from broker.client.services.wording import failure
from broker.client.sync_client import Client
from broker.errors import CannotDecode, HandlerFailed

P = ParamSpec("P")
T = TypeVar("T")

Errors = Iterable[type[Exception]]


class BadArguments(TypeError):
    """The function that is served takes other arguments than it was called with."""


class Service:
    """What ``service`` makes of a function: called here, it is that function."""

    def __init__(self, name: str, function: Callable[..., Any], errors: Errors) -> None:
        self.name = name
        self._function = function
        self._signature = inspect.signature(function)
        self._expected: tuple[type[Exception], ...] = (BadArguments, *errors)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    def handle(self, request: Request) -> Any:
        """The handler for ``Client.serve``."""
        with _Told(self._expected):
            args, kwargs = self._arguments(request)
            result = self._function(*args, **kwargs)
        if isinstance(result, Iterator):
            return self._parts(result)
        return Result(result, JSON)

    async def handle_async(self, request: Request) -> Any:
        """The handler for ``AsyncClient.serve``."""
        with _Told(self._expected):
            args, kwargs = self._arguments(request)
            result = self._function(*args, **kwargs)
            if inspect.isawaitable(result):
                result = await result
        if isinstance(result, AsyncIterator):
            return self._async_parts(result)
        return self._parts(result) if isinstance(result, Iterator) else Result(result, JSON)

    def _arguments(self, request: Request) -> tuple[list[Any], dict[str, Any]]:
        try:
            args, kwargs = request.body
            self._signature.bind(*args, **kwargs)
        except (TypeError, ValueError, CannotDecode) as error:
            raise BadArguments(f"{self.name}: {error}") from None
        return args, kwargs

    def _parts(self, parts: Iterator[Any]) -> Generator[Result, None, None]:
        with _Told(self._expected):
            for part in parts:
                yield Result(part, JSON)

    async def _async_parts(self, parts: AsyncIterator[Any]) -> AsyncGenerator[Result, None]:
        with _Told(self._expected):
            async for part in parts:
                yield Result(part, JSON)


def service(name: str, *, errors: Errors = ()) -> Callable[[Callable[P, T]], Service]:
    """Makes a function that can be served; ``errors`` are those that it raises on purpose."""
    return lambda function: Service(name, function, errors)


def serve(mq: Client, served: Service, *, concurrency: int = 1) -> Server:
    """Answers calls until it is closed, as many at once as ``concurrency`` says."""
    return mq.serve(served.name, served.handle, concurrency=concurrency)


async def serve_async(mq: AsyncClient, served: Service, *, concurrency: int = 1) -> AsyncServer:
    """As ``serve``, in tasks."""
    return await mq.serve(served.name, served.handle_async, concurrency=concurrency)


class Caller:
    """``errors`` are the types that may come back as themselves, each made from one text."""

    def __init__(self, mq: Client, *, timeout: float = 30.0, errors: Errors = ()) -> None:
        self._mq = mq
        self._timeout = timeout
        self._types = _by_name(errors)

    def call(
        self,
        name: str,
        *args: Any,
        timeout: float | None = None,
        idempotent: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The function's result; an ``idempotent`` one may be carried out more than once."""
        body = [args, kwargs]
        within = self._timeout if timeout is None else timeout
        try:
            answer = self._mq.call(
                name, body, timeout=within, idempotent=idempotent, content_type=JSON
            )
        except HandlerFailed as error:
            raise _typed(error, self._types) from error
        return answer.body

    def stream(
        self, name: str, *args: Any, timeout: float | None = None, **kwargs: Any
    ) -> Generator[Any, None, None]:
        """What the function yields, as it comes; ``timeout`` is for all of it."""
        within = self._timeout if timeout is None else timeout
        answers = self._mq.call(
            name, [args, kwargs], timeout=within, stream=True, content_type=JSON
        )
        with answers:
            try:
                yield from (answer.body for answer in answers)
            except HandlerFailed as error:
                raise _typed(error, self._types) from error


class AsyncCaller:
    """``Caller`` for asyncio: ``await call(...)``, ``async for part in stream(...)``."""

    def __init__(self, mq: AsyncClient, *, timeout: float = 30.0, errors: Errors = ()) -> None:
        self._mq = mq
        self._timeout = timeout
        self._types = _by_name(errors)

    async def call(
        self,
        name: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109
        idempotent: bool = False,
        **kwargs: Any,
    ) -> Any:
        """The function's result; an ``idempotent`` one may be carried out more than once."""
        body = [args, kwargs]
        within = self._timeout if timeout is None else timeout
        try:
            answer: Answer = await self._mq.call(
                name, body, timeout=within, idempotent=idempotent, content_type=JSON
            )
        except HandlerFailed as error:
            raise _typed(error, self._types) from error
        return answer.body

    async def stream(
        self,
        name: str,
        *args: Any,
        timeout: float | None = None,  # noqa: ASYNC109
        **kwargs: Any,
    ) -> AsyncGenerator[Any, None]:
        """What the function yields, as it comes; ``timeout`` is for all of it."""
        within = self._timeout if timeout is None else timeout
        answers = await self._mq.call(
            name, [args, kwargs], timeout=within, stream=True, content_type=JSON
        )
        async with answers:
            try:
                async for answer in answers:
                    yield answer.body
            except HandlerFailed as error:
                raise _typed(error, self._types) from error


class _Told:
    """Turns the errors that a function raises on purpose into what the caller is told.

    Any other is told as well, and logged with its traceback in the worker besides.
    """

    def __init__(self, expected: tuple[type[Exception], ...]) -> None:
        self._expected = expected

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._expected):
            name, text = failure(error)
            raise HandlerFailed(text, name) from None


def _by_name(errors: Errors) -> dict[str, type[Exception]]:
    known: tuple[type[Exception], ...] = (BadArguments, *errors)
    return {error.__name__: error for error in known}


def _typed(error: HandlerFailed, types: dict[str, type[Exception]]) -> Exception:
    made = types.get(error.remote_error)
    return error if made is None else made(error.text)
