"""How a call ends without a reply, and what a worker is refused for."""

from __future__ import annotations

from broker.errors.wire import NotNow, RequestRefused


class CallFailed(RequestRefused):
    """A call that was taken and has ended without a reply, or without its last part."""


class NoResponder(CallFailed):
    """Nobody serves the name; no worker has seen the call."""

    code, name, retryable = 150, "no_responder", True


class HandlerFailed(CallFailed):
    """The worker's handler failed: ``details`` hold its name for the error, ``remote_error``."""

    code, name = 151, "handler_failed"

    def __init__(self, text: str = "", remote_error: str = "") -> None:
        super().__init__(text)
        self.details = {"remote_error": remote_error}

    @property
    def remote_error(self) -> str:
        return str(self.details.get("remote_error", ""))


class ResponderLost(CallFailed):
    """The worker was lost while it had the call: it may or may not have been carried out."""

    code, name = 152, "responder_lost"


class CallCancelled(CallFailed):
    """The caller cancelled it; the worker was told."""

    code, name = 153, "cancelled"


class WorkerExists(RequestRefused):
    code, name = 154, "worker_exists"


class WorkerNotFound(RequestRefused):
    code, name = 155, "worker_not_found"


class CallNotFound(RequestRefused):
    """The sender holds no such call: it is another's, or of a former reign of the slot."""

    code, name = 156, "call_not_found"


class DeadlinePassed(CallFailed):
    """The call's time is over; the worker that had it was told to stop."""

    code, name = 157, "timeout"


class Overloaded(NotNow):
    """As many calls wait for the service's workers as may; no worker has seen this one."""

    code, name = 210, "overloaded"
