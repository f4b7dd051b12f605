"""Callers and workers of brokers that do not have the service: commands, moves, and lost ways.

Broker a has the service; b and c have only clients.
"""

from __future__ import annotations

import pytest

from broker.limits import LINK_SILENCE_MAX, WORKERS_GATHER
from tests.support.cluster_rig import BrokerRig, ClusterRig
from tests.support.node_rig import PEER, Sent

SERVICE = "q"
WORKER = b"\0wrk0"


@pytest.fixture
def cluster() -> ClusterRig:
    rig = ClusterRig()
    for name in "abc":
        rig[name].hello(timeout_ms=300_000)
        rig[name].hello(WORKER, timeout_ms=300_000)
    rig.pass_time(WORKERS_GATHER)
    assert rig.primary(SERVICE) is rig["a"]
    return rig


def serve(broker: BrokerRig, number: int = 1, concurrency: int = 1) -> None:
    fields = {"service": SERVICE, "worker": number, "concurrency": concurrency}
    assert broker.ask(WORKER, "serve", **fields).re == "ok"


def call(broker: BrokerRig, timeout_ms: int = 60_000, **fields: object) -> int:
    given = {"service": SERVICE, "timeout_ms": timeout_ms, **fields}
    req = broker.command(PEER, "call", b"question", **given)
    broker.run()
    return req


def requests(broker: BrokerRig) -> list[Sent]:
    return [s for s in broker.sent if s.re == "request"]


def answer(broker: BrokerRig, request: Sent, body: bytes = b"reply", **fields: object) -> None:
    of_call = {name: request[name] for name in ("service", "worker", "call")}
    broker.command(WORKER, "answer", body, req=None, **of_call, **fields)
    broker.run()


def ends(broker: BrokerRig, req: int) -> list[object]:
    return [
        s.frames[0] if s.re == "reply" else s["error"]
        for s in broker.sent
        if s.req == req and s.peer == PEER
    ]


def moves(broker: BrokerRig) -> int:
    return sum(s.re == "call_cancelled" and s["reason"] == "moved" for s in broker.sent)


@pytest.mark.parametrize(("caller", "worker"), [("b", "c"), ("b", "b"), ("a", "c"), ("b", "a")])
def test_caller_and_worker_are_at_any_broker(cluster: ClusterRig, caller: str, worker: str) -> None:
    serve(cluster[worker])
    req = call(cluster[caller])
    answer(cluster[worker], requests(cluster[worker])[0])
    assert ends(cluster[caller], req) == [b"reply"]


def test_a_streamed_reply_comes_back_whole(cluster: ClusterRig) -> None:
    serve(cluster["c"])
    req = call(cluster["b"], stream=True)
    (request,) = requests(cluster["c"])
    for body in (b"1", b"2"):
        answer(cluster["c"], request, body, end=False)
    answer(cluster["c"], request, b"3")
    assert ends(cluster["b"], req) == [b"1", b"2", b"3"]


def test_workers_of_all_brokers_are_asked(cluster: ClusterRig) -> None:
    for name in "abc":
        serve(cluster[name])
    req = call(cluster["b"], all=-1)
    for name in "abc":
        answer(cluster[name], requests(cluster[name])[0], name.encode())
    assert ends(cluster["b"], req) == [b"a", b"b", b"c", b""]


def test_an_error_comes_back_as_the_owner_said_it(cluster: ClusterRig) -> None:
    assert ends(cluster["b"], call(cluster["b"])) == ["no_responder"]


def test_the_number_of_a_worker_elsewhere_is_taken_until_it_is_unserved(
    cluster: ClusterRig,
) -> None:
    at_b = cluster["b"]
    serve(at_b)
    fields = {"service": SERVICE, "worker": 1}
    assert at_b.ask(WORKER, "serve", **fields)["error"] == "worker_exists"
    assert at_b.ask(WORKER, "unserve", worker=1).re == "ok"
    assert at_b.ask(WORKER, "unserve", worker=1)["error"] == "worker_not_found"
    serve(at_b)


def test_a_caller_elsewhere_that_leaves_has_its_call_cancelled(cluster: ClusterRig) -> None:
    serve(cluster["c"])
    call(cluster["b"])
    cluster["b"].ask(PEER, "bye")
    stopped = [s for s in cluster["c"].sent if s.re == "call_cancelled"]
    assert [s["reason"] for s in stopped] == ["caller_lost"]


def test_a_worker_elsewhere_that_leaves_ends_its_call(cluster: ClusterRig) -> None:
    serve(cluster["c"])
    req = call(cluster["b"])
    cluster["c"].ask(WORKER, "bye")
    assert ends(cluster["b"], req) == ["responder_lost"]


def test_a_call_ends_at_its_deadline_though_its_owner_says_nothing(cluster: ClusterRig) -> None:
    serve(cluster["c"])
    cluster.part("a", "b")
    req = call(cluster["b"], timeout_ms=500)
    cluster.pass_time(499)
    assert ends(cluster["b"], req) == []
    cluster.pass_time(1)
    assert ends(cluster["b"], req) == ["timeout"]


def test_a_call_whose_way_is_cut_has_an_unknown_outcome(cluster: ClusterRig) -> None:
    serve(cluster["c"])
    req = call(cluster["b"])
    cluster.part("a", "b")
    cluster.pass_time(LINK_SILENCE_MAX + 1)
    assert ends(cluster["b"], req) == ["outcome_unknown"]


def test_after_a_failover_workers_are_placed_anew_and_told_so(cluster: ClusterRig) -> None:
    """What they were given before is nobody's any more, and their places are free."""
    serve(cluster["c"])
    lost = call(cluster["b"])
    former = requests(cluster["c"])[0]
    cluster.kill("a")
    cluster.pass_time(LINK_SILENCE_MAX + 1_000)
    assert ends(cluster["b"], lost) == ["outcome_unknown"]
    assert moves(cluster["c"]) == 1
    req = call(cluster["b"])
    answer(cluster["c"], former, b"of a former reign")
    assert ends(cluster["b"], req) == []
    answer(cluster["c"], requests(cluster["c"])[-1])
    assert ends(cluster["b"], req) == [b"reply"]


def test_calls_in_the_first_second_of_a_reign_wait_for_the_workers(cluster: ClusterRig) -> None:
    """A successor that knew of no worker yet would say that there is none."""
    serve(cluster["c"])
    cluster.hold("c", "b")
    cluster.kill("a")
    cluster.run()
    heir = cluster.primary(SERVICE)
    assert heir.is_up
    req = call(heir, timeout_ms=200)
    assert "no_responder" not in ends(heir, req)


def test_an_owner_that_hands_its_slot_over_ends_its_calls_by_name(cluster: ClusterRig) -> None:
    serve(cluster["a"])
    serve(cluster["c"])
    given = [call(cluster["b"]), call(cluster["b"])]
    waits = call(cluster["b"])
    cluster.leave("a")
    cluster.pass_time(2_000)
    assert [ends(cluster["b"], req) for req in given] == [["outcome_unknown"]] * 2
    assert ends(cluster["b"], waits) == ["not_primary"]
    assert (moves(cluster["a"]), moves(cluster["c"])) == (1, 1)
    for _ in range(2):
        call(cluster["b"])
    assert [len(requests(cluster[name])) for name in "ac"] == [2, 2]


def test_the_services_of_a_cluster_are_listed_by_any_broker(cluster: ClusterRig) -> None:
    serve(cluster["c"], concurrency=3)
    listed = dict(cluster["b"].ask(PEER, "services")["services"])
    assert (listed[SERVICE]["workers"], listed[SERVICE]["concurrency"]) == (1, 3)
