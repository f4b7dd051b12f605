"""The floor of a confirmed put: a ROUTER that syncs each message to a file and answers.

Owns a socket and a file. Never does anything else. Law: with `--sync` the answer leaves after the
fdatasync; without it nothing is written at all.
"""

import argparse
import os
from pathlib import Path

import zmq

_STOP_AFTER_IDLE_MS = 600_000


def serve(port: int, log: Path | None) -> None:
    """Answer until the process is ended, or nobody has come for ten minutes."""
    descriptor = None if log is None else os.open(log, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    with context.socket(zmq.ROUTER) as router:
        router.bind(f"tcp://127.0.0.1:{port}")
        while router.poll(_STOP_AFTER_IDLE_MS):
            sender, body = router.recv_multipart()
            if descriptor is not None:
                os.write(descriptor, body)
                os.fdatasync(descriptor)
            router.send_multipart([sender, b""])


def main() -> None:
    """Run the echo server."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--sync", type=Path, help="append each body to this file and sync it")
    arguments = parser.parse_args()
    serve(arguments.port, arguments.sync)


if __name__ == "__main__":
    main()
