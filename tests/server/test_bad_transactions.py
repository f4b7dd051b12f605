"""A transaction whose frame is garbled: a named answer, and nothing has happened."""

from __future__ import annotations

import msgpack
import pytest

from tests.support.wire import WireClient


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91",
        b"\x91\xc0",
        b"\x91\x92\xc4\x00",
        b"\x91\x92\xc4\x00\xc4\x01\x91",
    ],
    ids=bytes.hex,
)
def test_a_garbled_transaction_is_refused_by_name_and_the_broker_goes_on(
    client: WireClient, frame: bytes
) -> None:
    client.request("put", msgpack.packb([b"a"]), queue="in", count=1)
    taken = client.request("get", queue="in", max=1, timeout_ms=1_000)
    ranges = [[run["first"], run["count"]] for run in taken.header["runs"]]
    settle = {"queue": "in", "tag": taken.header["tag"], "ranges": ranges}
    refused = client.request(
        "transact",
        frame,
        settles=[settle],
        puts=[{"queue": "out", "count": 1}],
        producer=b"w",
        seq=0,
    )
    assert refused.header["re"] == "failed"
    assert refused.header["code"] in range(101, 108)
    assert client.request("ack", **settle).header["count"] == 1
