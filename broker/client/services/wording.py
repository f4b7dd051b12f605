"""From the application's words to the wire's, for calls and for what handlers give back.

Owns the checks that can be made without a broker.  It never sends anything.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from broker.client.codec import encode_value
from broker.client.content import Headers, encode_body, require_headers
from broker.client.options import milliseconds, require_label, require_size
from broker.client.services.answer import Result
from broker.errors import BadField, HandlerFailed, TooLarge
from broker.limits import (
    CALL_TIMEOUT_MAX,
    CONCURRENCY_MAX,
    ERROR_TEXT_BYTES_MAX,
    HEADER_BYTES_MAX,
    KIB,
    NAME_BYTES_MAX,
)
from broker.names import require_name

#: So much of a command's header is left for the application's.
HEADERS_BYTES_MAX = HEADER_BYTES_MAX - 2 * KIB
#: What the caller is told of a handler that gives parts to a call that takes none.
NOT_A_STREAM = ("NotAStream", "the handler gives its reply in parts: call it with stream=True")


def call_fields(
    service: str,
    content: dict[str, Any],
    idempotent: bool = False,
    stream: bool = False,
    workers: int | None = None,
) -> dict[str, Any]:
    fields: dict[str, Any] = {"cmd": "call", "service": _known_name(service), **content}
    if idempotent:
        fields["idempotent"] = True
    if stream:
        fields["stream"] = True
    if workers is not None:
        fields["all"] = workers
    return fields


def scattered(workers: int | None) -> int:
    """How many are asked: -1 stands for all of them."""
    if workers is None:
        return -1
    if workers < 1:
        raise BadField(f"at least one worker is asked, not {workers}")
    return workers


def content_fields(
    body: Any, content_type: str | None, type_: str | None, headers: Headers | None
) -> tuple[dict[str, Any], bytes]:
    """What stands in the header beside a body, and the body's bytes."""
    raw, wire_type = encode_body(body, content_type)
    require_size(len(raw))
    fields: dict[str, Any] = {}
    if wire_type is not None:
        fields["content_type"] = require_label(wire_type)
    if type_ is not None:
        fields["type"] = require_label(type_)
    if headers:
        fields["headers"] = plain = require_headers(headers)
        size = len(encode_value(plain))
        if size > HEADERS_BYTES_MAX:
            raise TooLarge(f"the headers of a call have at most {HEADERS_BYTES_MAX} bytes")
    return fields, raw


def result_fields(result: Any) -> tuple[dict[str, Any], bytes]:
    """As ``content_fields``, of what a handler gave back."""
    if isinstance(result, Result):
        return content_fields(*result)
    return content_fields(result, None, None, None)


def failure(error: BaseException) -> tuple[str, str]:
    """The worker's name for an error, and its words."""
    if isinstance(error, HandlerFailed) and error.remote_error:
        name, text = error.remote_error, error.text
    else:
        name, text = type(error).__name__, _text(error)
    return _cut(name, NAME_BYTES_MAX), _cut(text, ERROR_TEXT_BYTES_MAX)


def timeout_ms(timeout: float) -> int:
    given = milliseconds(timeout)
    if not 1 <= given <= CALL_TIMEOUT_MAX:
        raise BadField(f"a call takes from 0.001 to {CALL_TIMEOUT_MAX // 1000} s, not {timeout}")
    return given


def require_concurrency(concurrency: int) -> int:
    if not 1 <= concurrency <= CONCURRENCY_MAX:
        raise BadField(f"concurrency is from 1 to {CONCURRENCY_MAX}, not {concurrency}")
    return concurrency


@lru_cache(1_024)
def _known_name(name: str) -> str:
    """The same few names are called again and again."""
    return require_name(name)


def _text(error: BaseException) -> str:
    """A KeyError's words are quoted by ``str``; what it was raised with is not."""
    only = error.args[0] if len(error.args) == 1 else None
    return only if isinstance(only, str) else str(error)


def _cut(text: str, size: int) -> str:
    return text.encode("utf-8", "replace")[:size].decode("utf-8", "ignore")
