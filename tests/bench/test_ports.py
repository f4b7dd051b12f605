"""The ports that the benchmark's brokers take."""

from __future__ import annotations

import socket

from bench.cluster.local import client_addresses
from bench.processes import free_port


def test_neighbouring_ports_are_all_free() -> None:
    first = free_port(5)
    for port in range(first, first + 5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_clients_are_given_the_first_three_brokers() -> None:
    addresses = client_addresses(20_000).split(",")
    assert addresses == [f"tcp://127.0.0.1:{port}" for port in (20_000, 20_001, 20_002)]
