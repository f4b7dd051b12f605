"""The numbered multiparts between two brokers: what is in order, what is late, what broke.

Two brokers are played against each other; the network between them is a list of multiparts.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.cluster.messages import LinkHeader, Message, SessionEnded, decode_link
from broker.limits import LINK_HEARTBEAT, LINK_SILENCE_MAX
from broker.node.peers import Arrival, Peers

NAMES = ("a", "b")


def header(boot: int = 5, stream: int = 0, sequence: int = 0) -> LinkHeader:
    return LinkHeader("c", "b", "disk", boot, stream, sequence, 0)


def arrivals(peers: Peers, *headers: LinkHeader) -> list[Arrival]:
    return [peers.arrive(each, 0) for each in headers]


def peers_of(name: str = "a", boot: int = 1) -> Peers:
    return Peers(name, "disk", boot)


def sent_header(peers: Peers, to: str, now: int = 10_000) -> LinkHeader:
    ((_, frames),) = peers.take("c", [to], now)
    return decode_link(frames)[0]


def test_multiparts_that_follow_one_another_are_in_order() -> None:
    told = arrivals(peers_of(), *[header(sequence=n) for n in range(3)])
    assert told == [Arrival.IN_ORDER] * 3


def test_a_missing_multipart_breaks_the_stream() -> None:
    peers = peers_of()
    told = arrivals(peers, header(), header(sequence=2), header(sequence=1), header(sequence=3))
    assert told == [Arrival.IN_ORDER, Arrival.BROKEN, Arrival.LATE, Arrival.LATE]
    assert sent_header(peers, "b").stream == 1, "whoever sees the hole begins the next stream"


def test_a_doubled_multipart_is_late() -> None:
    told = arrivals(peers_of(), header(), header(), header(sequence=1))
    assert told == [Arrival.IN_ORDER, Arrival.LATE, Arrival.IN_ORDER]


def test_a_stream_that_the_other_side_began_is_followed() -> None:
    peers = peers_of()
    told = arrivals(peers, header(), header(stream=1), header(stream=1, sequence=1))
    assert told == [Arrival.IN_ORDER, Arrival.RENEWED, Arrival.IN_ORDER]
    mine = sent_header(peers, "b")
    assert (mine.stream, mine.sequence) == (1, 0)


def test_a_new_stream_whose_beginning_is_missing_is_broken() -> None:
    told = arrivals(peers_of(), header(), header(stream=1, sequence=1))
    assert told == [Arrival.IN_ORDER, Arrival.BROKEN]


def test_a_restarted_broker_ends_the_stream_of_its_former_life() -> None:
    peers = peers_of()
    told = arrivals(peers, header(boot=5), header(boot=6), header(boot=6, stream=1))
    assert told == [Arrival.IN_ORDER, Arrival.BROKEN, Arrival.IN_ORDER]


def test_what_is_heard_first_need_not_be_the_first_that_was_said() -> None:
    assert arrivals(peers_of(), header(sequence=4)) == [Arrival.BROKEN]


def test_what_was_for_a_broker_that_is_gone_leaves_a_hole() -> None:
    """R17: the other side sees that it missed something."""
    peers = peers_of()
    assert sent_header(peers, "b", 2_000).sequence == 0
    peers.post("b", SessionEnded(b"s", False))
    assert peers.take("c", [], 4_000) == []
    assert sent_header(peers, "b", 6_000).sequence == 2


def test_a_link_that_is_silent_is_told_of_once() -> None:
    """R17: after 5 s its sessions are lost."""
    peers = peers_of()
    assert not peers.is_up("b", 0)
    peers.arrive(header(), 0)
    assert peers.is_up("b", LINK_SILENCE_MAX)
    assert peers.take_silent(LINK_SILENCE_MAX) == []
    assert not peers.is_up("b", LINK_SILENCE_MAX + 1)
    assert peers.take_silent(LINK_SILENCE_MAX + 1) == ["b"]
    assert peers.take_silent(LINK_SILENCE_MAX + 2) == []


def test_a_late_multipart_is_no_sign_of_life() -> None:
    peers = peers_of()
    peers.arrive(header(), 0)
    peers.arrive(header(), LINK_SILENCE_MAX)
    assert peers.take_silent(LINK_SILENCE_MAX + 1) == ["b"]


def test_a_pause_of_this_process_is_nobodys_silence() -> None:
    peers = peers_of()
    peers.arrive(header(), 0)
    peers.excuse_silence(60_000)
    assert peers.take_silent(60_000) == []


def test_who_has_nothing_to_say_says_so_now_and_then() -> None:
    peers = peers_of()
    assert len(peers.take("c", ["b"], 10_000)) == 1
    assert peers.take("c", ["b"], 10_000 + LINK_HEARTBEAT - 1) == []
    assert peers.next_heartbeat_at(["b"]) == 10_000 + LINK_HEARTBEAT
    assert len(peers.take("c", ["b"], 10_000 + LINK_HEARTBEAT)) == 1


def hear_clock(peers: Peers, broker: str, ahead: int, now: int = 0) -> None:
    peers.arrive(LinkHeader("c", broker, "disk", 5, 0, 0, now + ahead), now)


def test_of_two_clocks_nobody_can_say_which_is_wrong() -> None:
    peers = peers_of()
    assert peers.clock_offset(0) is None
    hear_clock(peers, "b", 60_000)
    assert peers.clock_offset(0) == 0


def test_of_three_clocks_the_middle_one_is_right() -> None:
    peers = peers_of()
    hear_clock(peers, "b", 60_000)
    hear_clock(peers, "c", 59_000)
    assert peers.clock_offset(0) == 59_000
    hear_clock(peers, "d", -5)
    hear_clock(peers, "e", -5)
    assert peers.clock_offset(0) == 0


def test_a_slow_way_makes_no_clock_wrong() -> None:
    """A multipart that took its time seems to come from a clock that is behind."""
    peers = peers_of()
    for late in (0, 40_000, 3_000):
        for broker in ("b", "c"):
            hear_clock(peers, broker, -late)
    assert peers.clock_offset(0) == 0


class Pair:
    """Two brokers that number what they say; each keeps what it took of the current stream."""

    def __init__(self) -> None:
        self.boots = {"a": 1, "b": 2}
        self.peers = {name: Peers(name, "disk", self.boots[name]) for name in NAMES}
        self.ways: dict[str, list[list[bytes]]] = {name: [] for name in NAMES}
        self.said: list[int] = []
        self.now = 0
        #: (receiver) -> what it took since the stream that it is in began
        self.taken: dict[str, list[bytes]] = {name: [] for name in NAMES}

    def say(self, name: str) -> None:
        other = "b" if name == "a" else "a"
        self.said.append(len(self.said))
        self.peers[name].post(other, SessionEnded(b"%d" % len(self.said), False))
        self.now += 1
        for _, frames in self.peers[name].take("c", [other], self.now):
            self.ways[other].append(frames)

    def arrive(self, name: str, at: int, *, keep: bool) -> None:
        waiting = self.ways[name]
        frames = waiting[at % len(waiting)]
        if not keep:
            waiting.remove(frames)
        head, messages = decode_link(frames)
        arrival = self.peers[name].arrive(head, self.now)
        if arrival in (Arrival.BROKEN, Arrival.RENEWED):
            self.taken[name] = []
        if arrival in (Arrival.IN_ORDER, Arrival.RENEWED):
            self.taken[name] += [_session(m) for m in messages]

    def restart(self, name: str) -> None:
        self.boots[name] += 2
        self.peers[name] = Peers(name, "disk", self.boots[name])
        self.taken[name] = []


def _session(message: Message) -> bytes:
    assert isinstance(message, SessionEnded)
    return message.session


steps = st.lists(
    st.tuples(
        st.sampled_from(["say", "say", "arrive", "arrive", "lose", "double", "restart"]),
        st.sampled_from(NAMES),
        st.integers(0, 5),
    ),
    max_size=40,
)


def play(pair: Pair, moves: list[tuple[str, str, int]]) -> None:
    for what, name, at in moves:
        if what == "say":
            pair.say(name)
        elif what == "restart":
            pair.restart(name)
        elif not pair.ways[name]:
            continue
        elif what == "lose":
            del pair.ways[name][at % len(pair.ways[name])]
        else:
            pair.arrive(name, at, keep=what == "double")


@given(steps)
def test_within_a_stream_nothing_is_missing_doubled_or_out_of_order(
    moves: list[tuple[str, str, int]],
) -> None:
    """Law: a session's commands and answers are never taken with a hole."""
    pair = Pair()
    for move in moves:
        play(pair, [move])
        for name in NAMES:
            taken = [int(number) for number in pair.taken[name]]
            assert taken == sorted(set(taken))


@given(steps)
def test_two_brokers_come_to_speak_one_stream_again(moves: list[tuple[str, str, int]]) -> None:
    """Whatever went wrong, a few words each way in order mend it."""
    pair = Pair()
    play(pair, moves)
    for name in NAMES:
        while pair.ways[name]:
            pair.arrive(name, 0, keep=False)
    for _ in range(4):
        for name in NAMES:
            pair.say(name)
        for name in NAMES:
            pair.arrive(name, 0, keep=False)
    before = {name: len(pair.taken[name]) for name in NAMES}
    for name in NAMES:
        pair.say(name)
    for name in NAMES:
        pair.arrive(name, 0, keep=False)
    assert {name: len(pair.taken[name]) for name in NAMES} == {n: before[n] + 1 for n in NAMES}
