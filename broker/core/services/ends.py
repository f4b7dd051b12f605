"""How calls end other than by an answer, and what their workers are told.

    timeout          the deadline came
    cancelled        by the caller
    caller_lost      the caller's session ended
    responder_lost   the worker's session ended, and nobody else may be given it
    no_responder     the last worker left while it waited
    moved            the slot has another owner, or this broker ends

Law: each call ends once; its caller is told, unless he is gone.
"""

from __future__ import annotations

from broker.core.services.call import Call, Share, Whole, Worker
from broker.core.services.scatter import fail_share, tell_end
from broker.core.services.service import Service
from broker.core.services.switchboard import Switchboard
from broker.core.session import Session
from broker.errors import (
    CallCancelled,
    DeadlinePassed,
    MsgQueueError,
    NoResponder,
    OutcomeUnknown,
    ResponderLost,
)
from broker.model.replies import Reply, failed


def end_due(board: Switchboard) -> None:
    """Everything that ends by itself and whose instant has come."""
    for call in board.take_late():
        call.service.count("timeout")
        if isinstance(call, Whole):
            _withdraw(call, "timeout")
            tell_end(call)
        else:
            _end(call, DeadlinePassed("no answer in time"), "timeout")
    for service in [s for s in board.gathering if s.gathers_until <= board.now]:
        end_unserved(service)


def cancel(call: Call) -> None:
    call.service.count("cancelled")
    _end(call, CallCancelled("by its caller"), "cancelled")


def end_session(session: Session) -> None:
    """Its calls are cancelled at their workers; what its workers had goes to others, or ends."""
    for call in list(session.calls.values()):
        call.service.count("caller_lost")
        _end(call, None, "caller_lost")
    for worker in list(session.workers.values()):
        lose_worker(worker)


def lose_worker(worker: Worker) -> None:
    service = worker.service
    held, worker.held = worker.held, {}
    if not worker.is_leaving:
        service.dismiss(worker)
    else:
        del service.leaving[worker]
        del worker.session.workers[worker.number]
    again: list[Call] = []
    for call in held.values():
        if call.is_over:
            continue
        if not isinstance(call, Share) and call.is_idempotent and service.workers:
            service.count("retried")
            again.append(call)
        else:
            _end_lost(call)
    for share in list(worker.line):
        fail_share(share, NoResponder("the worker left before it was asked"))
    worker.line.clear()
    service.enter_again(again)
    end_unserved(service)


def retire(worker: Worker) -> None:
    """It is given nothing more, and finishes what it has in hand."""
    worker.service.dismiss(worker)
    for share in list(worker.line):
        fail_share(share, NoResponder("the worker left before it was asked"))
    worker.line.clear()
    end_unserved(worker.service)


def _end_lost(call: Call) -> None:
    error = ResponderLost("the worker that had it is lost")
    if isinstance(call, Share):
        fail_share(call, error)
        return
    call.service.count("responder_lost")
    _end(call, error, "")


def end_unserved(service: Service) -> None:
    """Nobody serves it any more: what waits ends, unless a worker may be on its way."""
    if not service.workers and service.board.now >= service.gathers_until:
        service.board.gathering.pop(service, None)
        for call in list(service.waiting):
            if call.attempt:
                _end_lost(call)
            else:
                service.count("no_responder")
                _end(call, NoResponder(f"nobody serves {service.name}"), "")
    elif not service.workers and service.waiting:
        service.board.gathering[service] = None
    service.maybe_vanish()


def end_reign(service: Service, untouched: MsgQueueError, given: MsgQueueError) -> list[Worker]:
    """The slot is another's: calls end by ``untouched`` where no worker has seen them, else by
    ``given``.  Gives the workers that were there, for who places them anew."""
    end_waiting(service, untouched)
    workers = [*service.workers, *service.leaving]
    for worker in workers:
        for call in [*worker.held.values(), *worker.line]:
            if not call.is_over:
                end_moved(call.whole if isinstance(call, Share) else call, given)
        del worker.session.workers[worker.number]
    service.board.gathering.pop(service, None)
    service.home.pop(service.name, None)
    return workers


def end_moved(call: Call, error: MsgQueueError) -> None:
    call.service.count("moved")
    _end(call, error, "")


def end_waiting(service: Service, error: MsgQueueError) -> None:
    """Calls that no worker has seen; one that was given before may have been carried out."""
    for call in list(service.waiting):
        unknown = OutcomeUnknown("the worker that had it is lost")
        end_moved(call, unknown if call.attempt else error)
    service.maybe_vanish()


def _end(call: Call, error: MsgQueueError | None, reason: str) -> None:
    """``reason`` is told to who has it in hand; "" for nothing to tell."""
    service = call.service
    if isinstance(call, Whole):
        _withdraw(call, reason)
    elif call.worker is None:
        del service.waiting[call]
    else:
        _tell_stop(call, call.worker, reason)
    service.board.close(call)
    if error is not None:
        reply = failed(call.session.peer, call.req, error, service=service.name)
        service.board.replies.append(reply)


def _withdraw(whole: Whole, reason: str) -> None:
    for share in whole.shares:
        if share.is_over:
            continue
        share.is_over = True
        if share.worker is None:
            share.target.line.pop(share, None)
        else:
            _tell_stop(share, share.worker, reason)


def _tell_stop(call: Call, worker: Worker, reason: str) -> None:
    if not reason or worker.session.closed:
        return
    header = {
        "re": "call_cancelled",
        "service": call.service.name,
        "worker": worker.number,
        "call": call.id,
        "reason": reason,
    }
    call.service.board.replies.append(Reply(worker.session.peer, header))
