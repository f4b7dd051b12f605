"""What leaves for a client: a reply's header and frames, addressed to a peer."""

from __future__ import annotations

from typing import Any, NamedTuple

from broker.errors import MsgQueueError


class Reply(NamedTuple):
    """``header`` lacks only the version; ``frames`` follow it as they are."""

    peer: bytes
    header: dict[str, Any]
    frames: tuple[bytes, ...] = ()


def ok(peer: bytes, req: int, **fields: Any) -> Reply:
    return Reply(peer, {"re": "ok", "req": req, **fields})


def failed(peer: bytes, req: int | None, error: MsgQueueError, **context: Any) -> Reply:
    header = {"re": "failed", "code": error.code, "error": error.name, "text": error.text}
    if req is not None:
        header["req"] = req
    header.update(context)
    return Reply(peer, header)
