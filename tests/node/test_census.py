"""Questions to the cluster as a whole, asked of any broker: map, queues, stats."""

from __future__ import annotations

import pytest

from broker.cluster.messages import Question, decode_link
from broker.limits import GATHER_MAX, LINK_SILENCE_MAX
from broker.model.slots import slot_of
from tests.support.cluster_rig import ClusterRig
from tests.support.node_rig import PEER, NodeRig

SLOTS = 8
NAMES = [f"q{number:02}" for number in range(24)]


@pytest.fixture
def cluster() -> ClusterRig:
    """Queues all over; a client at each broker."""
    rig = ClusterRig(slots=SLOTS)
    for broker in rig.living:
        broker.hello(timeout_ms=300_000)
    for name in NAMES:
        rig["a"].put(name, b"x", b"y")
    return rig


def test_the_map_names_the_owner_of_every_slot(cluster: ClusterRig) -> None:
    told = [broker.ask(PEER, "map") for broker in cluster.living]
    for answer in told:
        assert answer["owners"] == [cluster.slots[slot].config.primary for slot in range(SLOTS)]
        assert answer["epochs"] == [1] * SLOTS
        assert answer["brokers"] == {name: [f"tcp://{name}:5570"] for name in "abc"}
        assert (answer["cluster"], answer["slots"]) == ("c", SLOTS)
    assert len(set(told[0]["owners"])) == 3


def test_the_map_shows_no_dead_owner(cluster: ClusterRig) -> None:
    cluster.holds_swaps = True
    cluster.kill("a")
    owners = cluster["b"].ask(PEER, "map")["owners"]
    assert set(owners) == {"b", "c", ""}
    cluster.holds_swaps = False
    for name, swap in cluster.asked:
        cluster.answer(name, swap)
    cluster.pass_time(1_000)
    told = cluster["b"].ask(PEER, "map")
    assert set(told["owners"]) == {"b", "c"}
    assert sorted(told["brokers"]) == ["b", "c"]


def test_a_broker_that_is_alone_owns_all() -> None:
    rig = NodeRig()
    rig.hello()
    told = rig.ask(PEER, "map")
    assert (told["owners"], told["brokers"]) == (["b1"] * 2, {"b1": []})


def test_a_welcome_names_the_cluster_and_its_slots(cluster: ClusterRig) -> None:
    welcome = cluster["b"].hello(b"\0othr")
    assert (welcome["cluster"], welcome["slots"], welcome["broker"]) == ("c", SLOTS, "b")


def test_the_queues_of_all_brokers_are_listed(cluster: ClusterRig) -> None:
    for broker in cluster.living:
        told = broker.ask(PEER, "queues")
        assert (told["queues"], told["more"], told["slots_missing"]) == (NAMES, False, [])


def test_a_long_list_comes_page_by_page(cluster: ClusterRig) -> None:
    """R17's promise: paged, whoever holds the names."""
    found: list[str] = []
    more = True
    while more:
        told = cluster["b"].ask(PEER, "queues", after=found[-1] if found else "", max=5)
        more = told["more"]
        assert len(told["queues"]) <= 5
        found += told["queues"]
    assert found == NAMES


def test_totals_are_over_all_brokers(cluster: ClusterRig) -> None:
    cluster["c"].get(NAMES[0], 1)
    for broker in cluster.living:
        told = broker.ask(PEER, "stats")
        stats = told["stats"]
        assert told["slots_missing"] == []
        assert (stats["queues"], stats["messages"]) == (24, 48)
        assert (stats["ready"], stats["in_flight"]) == (47, 1)
        assert stats["sessions"] == 1, "its own"


def test_slots_without_an_answer_are_named(cluster: ClusterRig) -> None:
    """The one that was asked gathers for a while, and says for which slots nobody answered."""
    cluster.part("a", "b")
    req = cluster["b"].command(PEER, "queues")
    assert [s for s in cluster["b"].run() if s.req == req] == []
    (told,) = [s for s in cluster["b"].pass_time(GATHER_MAX) if s.req == req]
    missing = [slot for slot in range(SLOTS) if cluster.slots[slot].config.primary == "a"]
    assert told["slots_missing"] == missing
    assert told["queues"] == [name for name in NAMES if slot_of(name, SLOTS) not in missing]


def test_a_broker_that_is_known_to_be_silent_is_not_waited_for(cluster: ClusterRig) -> None:
    cluster.part("a", "b")
    cluster.pass_time(LINK_SILENCE_MAX + 1_000)
    told = cluster["b"].ask(PEER, "stats")
    assert told["slots_missing"] == [
        slot for slot in range(SLOTS) if cluster.slots[slot].config.primary == "a"
    ]


def test_an_answer_that_comes_too_late_is_given_to_nobody(cluster: ClusterRig) -> None:
    cluster.hold("a", "b")
    req = cluster["b"].command(PEER, "stats")
    cluster.pass_time(GATHER_MAX + 100)
    for frames in cluster.release("a", "b"):
        cluster.carry(("a", "b"), frames)
    cluster.pass_time(1_000)
    assert len([s for s in cluster["b"].sent if s.req == req]) == 1


def test_a_question_of_a_client_that_left_is_answered_to_nobody_else(cluster: ClusterRig) -> None:
    cluster.hold("a", "b")
    req = cluster["b"].command(PEER, "queues")
    cluster["b"].run()
    cluster["b"].ask(PEER, "bye")
    cluster["b"].hello(b"\0othr")
    for frames in cluster.release("a", "b"):
        cluster.carry(("a", "b"), frames)
    cluster.pass_time(GATHER_MAX + 100)
    assert all(s.peer == PEER for s in cluster["b"].sent if s.req == req)


def test_one_question_asks_each_broker_once(cluster: ClusterRig) -> None:
    cluster.hold("b", "a")
    cluster["b"].command(PEER, "stats")
    cluster.run()
    asked = [m for frames in cluster.release("b", "a") for m in decode_link(frames)[1]]
    assert len([m for m in asked if isinstance(m, Question)]) == 1
