"""Bodies: what the application gives and gets, and the bytes that travel.

Owns the content types.  It never guesses: without a content type a body is bytes, and a type
that it does not know stays bytes.  There is no format here whose reading can run code.

    bytes, bytearray, memoryview      application/octet-stream    (left out on the wire)
    str                               text/plain                  UTF-8
    dict list tuple int float bool None   application/json
    any of msgpack                    application/msgpack         only when asked for
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from broker.client.codec import encode_value
from broker.errors import CannotDecode, CannotEncode

BYTES = "application/octet-stream"
TEXT = "text/plain"
JSON = "application/json"
MSGPACK = "application/msgpack"

Header = str | bytes | int | float | bool | None
Headers = Mapping[str, Header]

_to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode
_BINARY = (bytes, bytearray, memoryview)
_HEADER_CLASSES = frozenset({str, bytes, int, float, bool, type(None)})


def encode_body(body: Any, content_type: str | None) -> tuple[bytes, str | None]:
    """The bytes of ``body`` and its content type on the wire.

    Bytes with a content type are taken as encoded already.  Raises CannotEncode.
    """
    if isinstance(body, _BINARY):
        return bytes(body), None if content_type == BYTES else content_type
    if content_type is None:
        content_type = TEXT if isinstance(body, str) else JSON
    encode = _ENCODERS.get(_essence(content_type))
    if encode is None:
        raise CannotEncode(f"{content_type} needs a body of bytes, not {type(body).__name__}")
    try:
        return encode(body), content_type
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CannotEncode(f"{type(body).__name__} as {content_type}: {error}") from error


def decode_body(raw: bytes, content_type: str | None) -> Any:
    """The body that ``raw`` stands for; raises CannotDecode."""
    if content_type is None:
        return raw
    decode = _DECODERS.get(_essence(content_type))
    if decode is None:
        return raw
    try:
        return decode(raw)
    except Exception as error:
        # The bytes are anybody's and each format fails in its own ways; all say the same.
        raise CannotDecode(f"the body is not {content_type}: {error}") from error


def require_headers(headers: Headers) -> dict[str, Header]:
    """``headers`` as a dict of text to plain values; raises CannotEncode."""
    for name, value in headers.items():
        if not isinstance(name, str):
            raise CannotEncode(f"a header's name is text, not {type(name).__name__}")
        if value.__class__ not in _HEADER_CLASSES:
            raise CannotEncode(
                f"the header {name!r} is text, bytes, a number, a boolean or None,"
                f" not {type(value).__name__}"
            )
    return dict(headers)


def _essence(content_type: str) -> str:
    """The type without its parameters: ``application/json; charset=utf-8`` is JSON."""
    return content_type.partition(";")[0].strip().lower()


def _encode_text(body: Any) -> bytes:
    if not isinstance(body, str):
        raise TypeError("text is made of str")
    return body.encode()


_ENCODERS: dict[str, Callable[[Any], bytes]] = {
    TEXT: _encode_text,
    JSON: lambda body: _to_json(body).encode(),
    MSGPACK: encode_value,
}
_DECODERS: dict[str, Callable[[bytes], Any]] = {
    TEXT: bytes.decode,
    JSON: json.loads,
    MSGPACK: msgpack.unpackb,
}
