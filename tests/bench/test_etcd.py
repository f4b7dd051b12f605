"""How the benchmark reads the coordinator's keys."""

from __future__ import annotations

import shutil
from base64 import b64decode, b64encode
from pathlib import Path

import pytest

from bench.cluster.etcd import KeyValue, key_value_of, range_of, start_etcd
from bench.processes import running


def test_a_range_covers_all_keys_with_a_prefix_and_no_other() -> None:
    question = range_of("/bench/slots/")
    first, end = b64decode(question["key"]), b64decode(question["range_end"])
    assert first <= b"/bench/slots/" < b"/bench/slots/63" < b"/bench/slots/\xff" < end
    assert not first <= b"/bench/slots"
    assert not end > b"/bench/slotted"


def test_an_answer_is_decoded_with_its_lease() -> None:
    found = {
        "key": b64encode(b"/bench/brokers/b0").decode(),
        "value": b64encode(b'{"links":"tcp://127.0.0.1:1"}').decode(),
        "lease": "7587874",
    }
    value = {"links": "tcp://127.0.0.1:1"}
    assert key_value_of(found) == KeyValue("/bench/brokers/b0", value, 7587874)


@pytest.mark.skipif(shutil.which("etcd") is None, reason="etcd is not installed")
def test_an_empty_etcd_starts_and_holds_nothing(tmp_path: Path) -> None:
    etcd = start_etcd(tmp_path)
    with running(etcd.server):
        assert etcd.read("/bench/") == []
