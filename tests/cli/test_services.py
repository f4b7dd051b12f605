"""Services at the command line: call and service ls beside a real broker and a real worker."""

from __future__ import annotations

from typing import Any

from patterns import Client
from tests.cli.terminal import Terminal
from tests.support.broker_process import BrokerProcess


def test_a_service_is_called_and_listed(
    broker: BrokerProcess, terminal: Terminal, queue: str
) -> None:
    def upper(request: Any) -> Any:
        if request.raw == b"bad":
            raise ValueError("no such word")
        return request.raw.upper()

    with Client(broker.endpoint) as mq:
        server = mq.serve(queue, upper)
        assert terminal.done("call", queue, "word").lines == ["WORD"]
        assert terminal.done("call", queue, "-", "--raw", given=b"a\nb").raw == b"A\nB"
        (answer,) = terminal.done("call", queue, "word", "--all", "-o", "json").json_lines()
        assert (answer["worker"], answer["body"]) == (0, "WORD")
        text = terminal.refused("call", queue, "bad", name="handler_failed", status=1)
        assert "ValueError: no such word" in text
        (listed,) = terminal.done("service", "ls", queue, "-o", "json").json_lines()
        assert (listed["service"], listed["workers"]) == (queue, 1)
        assert queue in terminal.done("service", "ls").text
        server.close()
    terminal.refused("call", queue, "word", name="no_responder", status=1)
