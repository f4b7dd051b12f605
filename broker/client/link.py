"""One socket to one broker, and the news whether its connection still holds.

Owns the socket and its monitor.  It never reconnects: a connection that ZeroMQ made anew in
silence could have lost what was sent on the old one, so a link that broke stays broken.
Not safe for threads: its user holds a lock.
"""

from __future__ import annotations

import itertools

import zmq

from broker.client.codec import Frames
from broker.limits import FRAME_BYTES_MAX

CONNECT_TIMEOUT_MS = 4_000
#: How long the last words of a closed client may take to leave.
LAST_WORDS_MS = 1_000

_BROKEN = (
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)
_monitor_numbers = itertools.count()

# As integers: pyzmq's flags are enums, whose arithmetic costs more than a small send.
_NOBLOCK = int(zmq.NOBLOCK)
_NOBLOCK_AND_MORE = _NOBLOCK | int(zmq.SNDMORE)
_POLLIN = int(zmq.POLLIN)


class Link:
    """A DEALER."""

    _kind = zmq.DEALER
    # The session bounds what is unconfirmed and what has credit; a bound on multiparts beside
    # these could only block.
    _receive_hwm = 0

    def __init__(self, address: str) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._socket = context.socket(self._kind)
        self._monitor = context.socket(zmq.PAIR)
        try:
            self._connect(address)
        except BaseException:
            self.close(0)
            raise
        self.fds: tuple[int, int] = (self._socket.FD, self._monitor.FD)

    def _connect(self, address: str) -> None:
        self._socket.linger = 0
        self._socket.sndhwm = 0
        self._socket.rcvhwm = self._receive_hwm
        self._socket.maxmsgsize = 2 * FRAME_BYTES_MAX
        self._socket.reconnect_ivl = -1
        self._socket.connect_timeout = CONNECT_TIMEOUT_MS
        endpoint = f"inproc://client-monitor-{next(_monitor_numbers)}"
        self._socket.monitor(endpoint, _BROKEN)
        self._monitor.linger = 0
        self._monitor.connect(endpoint)
        self._socket.connect(address)

    def send(self, frames: Frames) -> bool:
        """False when there is no connection to take it."""
        send = self._socket.send
        try:
            for frame in frames[:-1]:
                send(frame, _NOBLOCK_AND_MORE)
            send(frames[-1], _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def receive(self) -> Frames | None:
        """The next multipart; None when there is none.

        The file descriptors are edge-triggered: before anyone waits on them again, this must
        have returned None after the last ``send``.
        """
        # To ask first is cheaper than the exception for nothing there.
        if not int(self._socket.getsockopt(zmq.EVENTS)) & _POLLIN:
            return None
        frame = self._socket.recv(_NOBLOCK, copy=False)
        frames = [frame.bytes]
        while frame.more:
            frame = self._socket.recv(_NOBLOCK, copy=False)
            frames.append(frame.bytes)
        return frames

    def is_broken(self) -> bool:
        """As with ``receive``: its descriptor stays silent until this was False once."""
        try:
            self._monitor.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._socket.close(linger_ms)
        self._monitor.close(0)
