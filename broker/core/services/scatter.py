"""A call that asks several workers: one share for each, told to the caller as they come.

    ask_all -> shares given, or in line at their workers
            -> take_share, once for each: an answer or a failure
            -> the last reply when all have ended, or at the deadline

Law: a whole is with no worker and never waits; each of its shares is for one worker alone.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from broker.core.services.call import Share, Whole, Worker
from broker.errors import MsgQueueError, NoResponder, Overloaded
from broker.limits import CALLS_WAITING_MAX
from broker.model.replies import Reply


def ask_all(whole: Whole, workers_max: int, body: bytes) -> None:
    """Asks at most so many workers, -1 for all; raises what nobody was asked for."""
    service = whole.service
    board = service.board
    workers = list(islice(service.in_turn(), None if workers_max < 0 else workers_max))
    if not workers:
        raise NoResponder(f"nobody serves {service.name}")
    if not board.has_room_for(body):
        raise Overloaded("this broker keeps as many bodies of calls as it may")
    whole.answered = 0
    whole.shares = [_share(whole, number, worker) for number, worker in enumerate(workers)]
    board.begin(whole)
    board.keep_body(whole, body)
    for share in whole.shares:
        _place(share, share.target, body)


def _share(whole: Whole, number: int, worker: Worker) -> Share:
    share = Share(
        whole.service, whole.session, whole.req, whole.began_at, whole.ends_at, whole.content
    )
    share.whole, share.number, share.target = whole, number, worker
    return share


def _place(share: Share, worker: Worker, body: bytes) -> None:
    if worker.places:
        share.service.take_out(worker)
        share.service.give(worker, share, body)
    elif len(worker.line) < CALLS_WAITING_MAX:
        worker.line[share] = None
    else:
        fail_share(share, Overloaded("as many calls as may wait for this worker"))


def answer_share(share: Share, content: dict[str, Any], body: bytes) -> None:
    share.whole.answered += 1
    _tell(share, content, body)


def fail_share(share: Share, error: MsgQueueError) -> None:
    fields = {"code": error.code, "error": error.name, "text": error.text, **error.details}
    _tell(share, fields, b"")


def _tell(share: Share, fields: dict[str, Any], body: bytes) -> None:
    whole = share.whole
    share.is_over = True
    header = {
        "re": "reply",
        "req": whole.req,
        "part": whole.parts,
        "worker": share.number,
        "end": False,
        **fields,
    }
    whole.parts += 1
    whole.service.count("parts")
    whole.service.board.replies.append(Reply(whole.session.peer, header, (body,)))
    if all(other.is_over for other in whole.shares):
        whole.service.count("answered")
        tell_end(whole)


def tell_end(whole: Whole) -> None:
    """The last word of a whole, which is over with it."""
    header = {
        "re": "reply",
        "req": whole.req,
        "part": whole.parts,
        "end": True,
        "asked": len(whole.shares),
        "answered": whole.answered,
    }
    board = whole.service.board
    board.replies.append(Reply(whole.session.peer, header, (b"",)))
    board.close(whole)
