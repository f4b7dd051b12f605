"""Mosquitto through paho-mqtt: publishes of QoS 0 and a callback, both on the client's thread."""

import importlib.util
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contender import missing_of
from bench.fanout.contender import CHANNEL, IDLE_SECONDS, Publish, Subscribe, Take
from bench.machine import has_program, package_version, program_version
from bench.processes import Server, free_port, launch, wait_until_listening

_TOPIC = CHANNEL.replace(".", "/")
_WAIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Mosquitto:
    """One mosquitto without persistence and without bounds on what it holds back."""

    name: str = "Mosquitto"
    kind: str = "peer"
    client: str = "paho-mqtt; publish with QoS 0, on_message"

    def missing(self) -> str:
        """Name the packages that are not there."""
        return missing_of(
            [
                (has_program("mosquitto"), "mosquitto (Debian)"),
                (importlib.util.find_spec("paho") is not None, "paho-mqtt (PyPI)"),
            ]
        )

    def version(self) -> str:
        """Return the versions of broker and client."""
        server = program_version("mosquitto", "-h").splitlines()[0]
        return f"{server}; {package_version('paho-mqtt')}"

    def start(self, directory: Path) -> Server:
        """Start mosquitto."""
        port = free_port()
        directory.mkdir(parents=True, exist_ok=True)
        settings = directory / "mosquitto.conf"
        lines = [f"listener {port} 127.0.0.1", "allow_anonymous true", "max_queued_messages 0"]
        settings.write_text("\n".join([*lines, "set_tcp_nodelay true", ""]))
        return wait_until_listening(launch(["mosquitto", "-c", str(settings)], port, directory))

    @contextmanager
    def open_publisher(self, port: int) -> Iterator[Publish]:
        """Yield a publisher; each list waits until it has left."""
        with _connected(port) as client:

            def publish(bodies: list[bytes]) -> None:
                last = None
                for body in bodies:
                    last = client.publish(_TOPIC, body)
                if last is not None:
                    last.wait_for_publish(_WAIT_SECONDS)

            yield publish

    @contextmanager
    def open_subscriber(self, port: int) -> Iterator[Subscribe]:
        """Yield a subscriber."""
        subscribed = threading.Event()
        bodies: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        with _connected(port) as client:
            client.on_subscribe = lambda *_: subscribed.set()
            client.on_message = lambda _client, _data, message: bodies.put(message.payload)
            client.subscribe(_TOPIC)
            if not subscribed.wait(_WAIT_SECONDS):
                raise RuntimeError("mosquitto did not confirm the subscription")
            yield lambda take: _receive(bodies, take)


def _receive(bodies: "queue.SimpleQueue[bytes]", take: Take) -> None:
    more = True
    while more:
        try:
            more = take([bodies.get(timeout=IDLE_SECONDS)])
        except queue.Empty:
            more = take([])


@contextmanager
def _connected(port: int) -> Iterator[Any]:
    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.max_queued_messages_set(0)
    client.connect("127.0.0.1", port)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
