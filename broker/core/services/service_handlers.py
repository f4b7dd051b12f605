"""What callers and workers say, one function a command: (switchboard, machine, session, command).

Nothing of it is proposed or stored; the replies are on the switchboard when a handler returns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.core.machine import SlotMachine
from broker.core.services.call import Call, Share, Whole, Worker
from broker.core.services.ends import cancel, retire
from broker.core.services.scatter import answer_share, ask_all, fail_share
from broker.core.services.service import Service
from broker.core.services.switchboard import Switchboard
from broker.core.session import Session
from broker.errors import (
    BadField,
    CallNotFound,
    HandlerFailed,
    LimitReached,
    MsgQueueError,
    NoResponder,
    Overloaded,
    WorkerExists,
    WorkerNotFound,
)
from broker.limits import (
    CALLS_PER_SESSION_MAX,
    SERVICES_PER_SLOT_MAX,
    WORKERS_PER_SESSION_MAX,
)
from broker.model import service_commands as commands
from broker.model.commands import Command
from broker.model.replies import Reply, failed, ok

Handler = Callable[[Switchboard, SlotMachine, Session, Any], None]


def handle_serve(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.Serve
) -> None:
    if command.worker in session.workers:
        raise WorkerExists(f"this session already has a worker {command.worker}")
    if len(session.workers) >= WORKERS_PER_SESSION_MAX:
        raise LimitReached(f"at most {WORKERS_PER_SESSION_MAX} workers a session")
    service = machine.services.get(command.service) or _open(board, machine, command.service)
    worker = Worker(service, session, command.worker, command.concurrency)
    session.workers[command.worker] = worker
    if command.req is not None:
        board.replies.append(ok(session.peer, command.req))
    service.add(worker)


def _open(board: Switchboard, machine: SlotMachine, name: str) -> Service:
    if len(machine.services) >= SERVICES_PER_SLOT_MAX:
        raise LimitReached(f"a slot has at most {SERVICES_PER_SLOT_MAX} services")
    since = machine.serving_since if board.started_at is None else board.started_at
    service = Service(name, machine.log.epoch, since, board, machine.services)
    machine.services[name] = service
    return service


def handle_unserve(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.Unserve
) -> None:
    worker = session.workers.get(command.worker)
    if worker is None or worker.is_leaving:
        raise WorkerNotFound(f"this session has no worker {command.worker}")
    retire(worker)
    if command.req is not None:
        board.replies.append(ok(session.peer, command.req))


def handle_call(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.Call
) -> None:
    req = command.req
    if req is None:
        raise BadField("call needs req: without it nobody could tell whose reply comes")
    if req in session.calls:
        raise BadField(f"req {req} is that of a call that is not over")
    if command.all is not None and (command.stream or command.idempotent):
        raise BadField("all excludes stream and idempotent")
    if len(session.calls) >= CALLS_PER_SESSION_MAX:
        raise LimitReached(f"at most {CALLS_PER_SESSION_MAX} calls a session")
    service = machine.services.get(command.service)
    if service is None:
        service = _open(board, machine, command.service)
    service.count("calls")
    make = Call if command.all is None else Whole
    call = make(service, session, req, board.now, board.now + command.timeout_ms, _content(command))
    try:
        _begin(board, service, call, command)
    except (NoResponder, Overloaded) as error:
        service.count(error.name)
        service.maybe_vanish()
        raise


def _begin(board: Switchboard, service: Service, call: Call, command: commands.Call) -> None:
    if not service.is_served:
        raise NoResponder(f"nobody serves {service.name}")
    if isinstance(call, Whole):
        assert command.all is not None
        ask_all(call, command.all, command.body)
        return
    call.is_idempotent = command.idempotent
    call.is_stream = command.stream
    if not service.enter(call, command.body):
        raise Overloaded(f"as many calls as may wait for {service.name}")
    board.begin(call)


def _content(command: commands.Call | commands.Answer) -> dict[str, Any]:
    """What is said of the body, and only what is."""
    content: dict[str, Any] = {}
    if command.content_type is not None:
        content["content_type"] = command.content_type
    if command.type is not None:
        content["type"] = command.type
    if command.headers is not None:
        content["headers"] = command.headers
    return content


def handle_answer(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.Answer
) -> None:
    worker, call = _held(session, command)
    service = worker.service
    is_late = call.is_over
    if not command.end and not call.is_stream:
        raise BadField("the caller takes its reply whole")
    if is_late:
        service.count("late")
    elif isinstance(call, Share):
        answer_share(call, _content(command), command.body)
    else:
        _tell_caller(board, call, command)
    if command.end:
        service.take_back(worker, call)
    _confirm(board, session, command, is_late)


def _tell_caller(board: Switchboard, call: Call, command: commands.Answer) -> None:
    header: dict[str, Any] = {"re": "reply", "req": call.req, "end": command.end}
    if call.is_stream:
        header["part"] = call.parts
        call.parts += 1
        call.service.count("parts")
    header.update(_content(command))
    board.replies.append(Reply(call.session.peer, header, (command.body,)))
    if command.end:
        call.service.count("answered")
        board.close(call)


def handle_fail(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.Fail
) -> None:
    worker, call = _held(session, command)
    service = worker.service
    is_late = call.is_over
    error = HandlerFailed(command.text or command.error)
    error.details = {"remote_error": command.error}
    if is_late:
        service.count("late")
    elif isinstance(call, Share):
        fail_share(call, error)
    else:
        service.count("handler_failed")
        board.close(call)
        board.replies.append(_failed_call(call, error))
    service.take_back(worker, call)
    _confirm(board, session, command, is_late)


def _failed_call(call: Call, error: MsgQueueError) -> Reply:
    details = {"service": call.service.name, **error.details}
    return failed(call.session.peer, call.req, error, **details)


def _held(session: Session, command: commands.OfCall) -> tuple[Worker, Call]:
    """The call that the sender has in hand; nobody answers for another."""
    worker = session.workers.get(command.worker)
    if worker is not None and worker.service.name == command.service:
        call = worker.held.get(command.call)
        if call is not None:
            return worker, call
    raise CallNotFound(f"worker {command.worker} has no such call of {command.service} in hand")


def _confirm(board: Switchboard, session: Session, command: commands.OfCall, is_late: bool) -> None:
    if command.req is not None:
        fields = {"late": True} if is_late else {}
        board.replies.append(ok(session.peer, command.req, **fields))


def handle_cancel_call(
    board: Switchboard, machine: SlotMachine, session: Session, command: commands.CancelCall
) -> None:
    """A call that ended meanwhile is cancelled by nobody, and that is no mistake."""
    call = session.calls.get(command.call_req)
    is_there = call is not None and call.service.name == command.service
    if call is not None and is_there:
        cancel(call)
    if command.req is not None:
        board.replies.append(ok(session.peer, command.req, cancelled=is_there))


SERVICE_HANDLERS: dict[type[Command], Handler] = {
    commands.Serve: handle_serve,
    commands.Unserve: handle_unserve,
    commands.Call: handle_call,
    commands.Answer: handle_answer,
    commands.Fail: handle_fail,
    commands.CancelCall: handle_cancel_call,
}
