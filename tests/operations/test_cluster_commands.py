"""The commands of an operator, against a real etcd."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from broker.cli.cluster import cluster_group
from broker.cluster.ownership import Member, SlotConfig
from tests.operations.console import Console, disk_of, held
from tests.support.etcd_process import free_ports
from tests.support.waiting import DEADLINE_S


@pytest.fixture
def cluster(console: Console) -> Console:
    """Made, with four slots and three brokers that nobody has asked for anything."""
    console.done("init", "--slots", "4")
    console.alive("b1", "b2", "b3")
    return console


@pytest.fixture
def serving(cluster: Console) -> Console:
    """Every slot is with all three."""
    cluster.set_slots(held("b1", "b2", "b3"))
    return cluster


# Making a cluster


def test_a_cluster_is_made_with_unassigned_slots(console: Console) -> None:
    made = console.done("init", "--slots", "200", "--replication", "2", "--min-isr", "1")
    assert "is made: 200 slots, replication 2, min_isr 1" in made.output
    view = console.view()
    assert sorted(view.slots) == list(range(200))
    assert all(owned.config == SlotConfig() for owned in view.slots.values())


def test_making_it_again_with_the_same_values_changes_nothing(console: Console) -> None:
    console.done("init", "--slots", "4")
    before = console.view()
    again = console.done("init", "--slots", "4", "--replication", "3", "--min-isr", "2")
    assert "exists already: 4 slots" in again.output
    assert console.view() == before


def test_values_that_were_not_named_need_not_be_the_same(console: Console) -> None:
    console.done("init", "--slots", "4", "--min-isr", "1")
    console.done("init")
    assert console.config().min_isr == 1


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--slots", "exists with slots 64, not 2: the number of slots is fixed"),
        ("--replication", "exists with replication 3, not 2"),
        ("--min-isr", "exists with min_isr 1, not 2: change it with `msgqueue cluster min-isr`"),
    ],
)
def test_other_values_than_those_that_stand_are_refused(
    console: Console, option: str, text: str
) -> None:
    console.done("init", "--min-isr", "1")
    before = console.view()
    assert text in console.refused("init", option, "2", name="config_error", status=64)
    assert console.view() == before


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--min-isr", "4"), "min_isr 4 is above replication 3"),
        (("--replication", "1", "--min-isr", "2"), "min_isr 2 is above replication 1"),
        (("--min-isr", "0"), "min_isr 0 is not from 1"),
        (("--slots", "0"), "slots 0 is not from 1 to 1024"),
        (("--slots", "1025"), "slots 1025 is not from 1 to 1024"),
        (("--replication", "8"), "replication 8 is not from 1 to 7"),
    ],
)
def test_values_that_cannot_work_are_refused_and_nothing_is_made(
    console: Console, args: tuple[str, ...], text: str
) -> None:
    assert text in console.refused("init", *args, name="config_error", status=64)
    console.refused("info", name="unknown_cluster", status=73)


def test_one_copy_needs_no_word_about_min_isr(console: Console) -> None:
    assert "replication 1, min_isr 1" in console.done("init", "--replication", "1").output


@pytest.mark.parametrize("command", ["info", "map", "wait"])
def test_an_unknown_cluster_is_named(console: Console, command: str) -> None:
    text = console.refused(command, name="unknown_cluster", status=73)
    assert f"no cluster {console.cluster}" in text
    assert "msgqueue cluster init" in text


@pytest.mark.parametrize("args", [("min-isr", "1"), ("add", "b1"), ("drain", "b1")])
def test_nothing_is_written_for_an_unknown_cluster(console: Console, args: tuple[str, str]) -> None:
    console.refused(*args, name="unknown_cluster", status=73)
    console.refused("info", name="unknown_cluster", status=73)


@pytest.mark.parametrize("name", ["a/b", "a b", "", "x" * 65, "ü"])
def test_a_name_that_would_be_no_part_of_a_key_is_refused(console: Console, name: str) -> None:
    console.cluster = name
    console.refused("init", name="config_error", status=64)


def test_a_process_ends_with_one_line_and_the_status_of_the_error(console: Console) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    done = subprocess.run(
        [Path(sys.executable).with_name("msgqueue"), "cluster", "info"],
        env={**os.environ, "MSGQUEUE_CLUSTER": console.cluster, "MSGQUEUE_ETCD": endpoint},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 78
    assert done.stdout == ""
    assert done.stderr.startswith(f"msgqueue: coordinator_unreachable: {endpoint}: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_endpoint_that_is_none_is_named(console: Console) -> None:
    console.endpoint = "127.0.0.1:2379"
    assert "127.0.0.1:2379" in console.refused("info", name="config_error", status=64)


def test_an_etcd_elsewhere_needs_encryption(console: Console) -> None:
    console.endpoint = "http://192.0.2.1:2379"
    assert "give https://" in console.refused("info", name="config_error", status=64)


def test_no_cluster_named_is_a_mistake_and_no_cluster_of_that_name(console: Console) -> None:
    done = CliRunner().invoke(cluster_group, ["info"], env={"MSGQUEUE_CLUSTER": None})
    assert done.exit_code == 64
    assert "--cluster" in done.output


def test_the_settings_of_a_broker_name_the_cluster_too(console: Console, tmp_path: Path) -> None:
    console.done("init", "--slots", "4")
    toml = tmp_path / "broker.toml"
    toml.write_text(
        f'cluster = "{console.cluster}"\nbroker_id = "b1"\netcd = ["{console.endpoint}"]\n'
    )
    done = CliRunner().invoke(cluster_group, ["info", "--config", str(toml)])
    assert done.exit_code == 0, done.output


def test_the_second_endpoint_is_asked_when_the_first_is_away(console: Console) -> None:
    console.endpoint = f"http://127.0.0.1:{free_ports(1)[0]},{console.endpoint}"
    console.done("init", "--slots", "4")
    console.done("info")


# Looking at it


def test_the_info_tells_the_values_the_brokers_and_every_slot_served(serving: Console) -> None:
    lines = serving.done("info").output.splitlines()
    assert lines[0] == f"cluster {serving.cluster}: 4 slots, replication 3, min_isr 2"
    assert "b1      alive  -     100     4        4        4       tcp://127.0.0.1:11" in lines
    assert "b3      alive  -     100     0        4        4       tcp://127.0.0.1:13" in lines
    assert lines[-1] == "slots served: 4 of 4"


def test_the_info_names_the_slots_that_need_attention(serving: Console) -> None:
    serving.set_slot(0, SlotConfig())
    serving.set_slot(1, held("b1", "b2", "b3", isr="b2"))
    serving.gone("b1")
    output = serving.done("info").output
    assert "b1      away" in output
    assert "slots unassigned: 1 of 4 (0)" in output
    assert "slots below min_isr: 1 of 4 (1)" in output
    assert "slots without a primary: 2 of 4 (2-3)" in output


def test_scripts_get_the_same_as_json(serving: Console) -> None:
    info = serving.done("info", "-o", "json").json()
    assert (info["slots"], info["replication"], info["min_isr"]) == (4, 3, 2)
    assert [broker["state"] for broker in info["brokers"]] == ["alive"] * 3
    assert info["slots_by_state"]["served"] == [0, 1, 2, 3]
    slots = serving.done("map", "-o", "json").json()
    assert [slot["slot"] for slot in slots] == [0, 1, 2, 3]
    assert slots[0]["replicas"] == [[broker, disk_of(broker)] for broker in ("b1", "b2", "b3")]


def test_the_map_tells_who_holds_each_slot(serving: Console) -> None:
    serving.set_slot(2, held("b1", "b2", "b3", isr="b2", elr="b1", epoch=7))
    row = serving.done("map").output.splitlines()[3]
    assert re.split(r" {2,}", row) == ["2", "below min_isr", "7", "b2", "b2", "b1", "b3"]


def test_waiting_ends_when_every_slot_is_served(serving: Console) -> None:
    assert "every slot" in serving.done("wait", "--brokers", "3", "--replicated").output


def test_waiting_in_vain_tells_for_what(serving: Console) -> None:
    serving.set_slot(3, SlotConfig())
    text = serving.refused("wait", "--timeout", "1ms", name="not_reached", status=80)
    assert "slots unassigned: 3" in text
    few = ("wait", "--brokers", "4", "--timeout", "1ms")
    assert "3 of 4 brokers" in serving.refused(*few, name="not_reached", status=80)


def test_waiting_for_copies_is_more_than_waiting_for_service(serving: Console) -> None:
    serving.set_slot(0, held("b1", "b2"))
    serving.done("wait")
    text = serving.refused("wait", "--replicated", "--timeout", "1", name="not_reached", status=80)
    assert "slots under-replicated: 0" in text


# min_isr


def test_min_isr_is_changed_and_short_slots_are_named(serving: Console) -> None:
    serving.set_slot(1, held("b1", "b2", "b3", isr="b1 b2"))
    output = serving.done("min-isr", "3").output
    assert serving.config().min_isr == 3
    assert "refuse puts until they have more: 1" in output


@pytest.mark.parametrize("count", ["4", "0"])
def test_min_isr_beyond_its_bounds_is_refused(serving: Console, count: str) -> None:
    serving.refused("min-isr", count, name="config_error", status=64)
    assert serving.config().min_isr == 2


# Members


def test_a_broker_is_added_with_its_weight_and_zone(cluster: Console) -> None:
    cluster.done("add", "b9", "--weight", "50", "--zone", "east")
    assert cluster.view().members["b9"] == Member(weight=50, zone="east")


def test_a_broker_that_was_draining_is_taken_back_as_it_was(cluster: Console) -> None:
    cluster.done("add", "b2", "--weight", "50")
    cluster.done("drain", "b2")
    assert cluster.view().members["b2"] == Member(weight=50, draining=True)
    cluster.done("add", "b2")
    assert cluster.view().members["b2"] == Member(weight=50)


def test_waiting_for_a_drain_tells_what_is_still_held(serving: Console) -> None:
    args = ("drain", "b2", "--wait", "--timeout", "1ms")
    text = serving.refused(*args, name="not_reached", status=80)
    assert "b2 still holds slots 0-3" in text
    serving.set_slots(held("b1", "b3"))
    assert "can be removed" in serving.done("drain", "b2", "--wait").output


def test_the_last_broker_of_the_ring_cannot_drain(cluster: Console) -> None:
    cluster.done("drain", "b1")
    cluster.done("drain", "b2")
    text = cluster.refused("drain", "b3", name="operation_refused", status=79)
    assert "no other broker could take the slots of b3" in text
    assert not cluster.view().members["b3"].draining


@pytest.mark.parametrize("command", ["drain", "remove"])
def test_a_broker_that_is_no_member_is_named(cluster: Console, command: str) -> None:
    text = cluster.refused(command, "b7", name="operation_refused", status=79)
    assert "b7 is no member" in text
    assert "b7" not in cluster.view().members


def test_a_broker_is_removed_once_it_is_drained_and_stopped(cluster: Console) -> None:
    text = cluster.refused("remove", "b3", name="operation_refused", status=79)
    assert "b3 is alive" in text
    cluster.gone("b3")
    cluster.done("remove", "b3")
    assert sorted(cluster.view().members) == ["b1", "b2"]


def test_a_broker_that_holds_slots_is_removed_only_when_it_is_lost(serving: Console) -> None:
    serving.gone("b3")
    text = serving.refused("remove", "b3", name="operation_refused", status=79)
    assert "holds a copy of 4 slots (0-3)" in text
    assert "b3" in serving.view().members
    output = serving.done("remove", "b3", "--lost").output
    assert "its copies of 4 slots are given up" in output
    assert "b3" not in serving.view().members


def test_removing_a_lost_broker_names_the_slots_that_only_it_could_serve(serving: Console) -> None:
    serving.set_slot(1, held("b1", "b2", "b3", isr="b3"))
    serving.gone("b3")
    assert "offline" in serving.done("remove", "b3", "--lost").output.splitlines()[-1]


# Recovery


@pytest.fixture
def offline(serving: Console) -> Console:
    """Slot 1 was in sync at b3 alone, which is gone; b1 and b2 have older copies."""
    serving.set_slot(1, held("b1", "b2", "b3", isr="b3", epoch=5))
    serving.gone("b3")
    return serving


def test_a_recovery_tells_what_may_be_lost_and_needs_a_yes(offline: Console) -> None:
    before = offline.view()
    answer = offline.run("recover", "--slot", "1", "--from", "b1")
    assert answer.status == 79
    assert "revive from the copy of b1: 1" in answer.output
    assert "in sync until the end, and away now: b3" in answer.output
    assert "lost for good" in answer.output
    assert "operation_refused: nothing was changed" in answer.output
    assert offline.view() == before


@pytest.mark.parametrize("which", [("--slot", "1"), ("--all",)])
def test_a_slot_is_revived_from_the_named_survivor(
    offline: Console, which: tuple[str, ...]
) -> None:
    output = offline.done("recover", *which, "--from", "b2", "--yes").output
    assert "revived from b2: slots 1" in output
    slot = offline.view().slots[1].config
    assert (slot.isr, slot.elr, slot.primary, slot.epoch) == (("b2",), (), "", 6)
    assert offline.view().slots[0].config == held("b1", "b2", "b3")


def test_slots_without_a_copy_at_the_survivor_are_named_and_left(offline: Console) -> None:
    offline.set_slot(2, held("b2", "b3", isr="b3"))
    output = offline.done("recover", "--all", "--from", "b1", "--yes").output
    assert "b1 has no copy of them: slots 2" in output
    assert offline.view().slots[2].config == held("b2", "b3", isr="b3")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--slot", "0", "--from", "b1"), "slot 0 is under-replicated and needs no recovery"),
        (("--slot", "4", "--from", "b1"), "slots 0 to 3"),
        (("--slot", "1", "--from", "b4"), "b4 holds no copy of slot 1"),
        (("--slot", "1", "--from", "b3"), "b3 does not run with the disk"),
        (("--all", "--from", "b4"), "b4 does not run with a copy"),
    ],
)
def test_a_recovery_that_would_not_help_is_refused(
    offline: Console, args: tuple[str, ...], text: str
) -> None:
    before = offline.view()
    refused = offline.refused("recover", *args, "--yes", name="operation_refused", status=79)
    assert text in refused
    assert offline.view() == before


def test_a_survivor_with_another_disk_is_none(offline: Console) -> None:
    offline.alive("b1", disk="another")
    args = ("recover", "--slot", "1", "--from", "b1", "--yes")
    assert "does not run with the disk" in offline.refused(
        *args, name="operation_refused", status=79
    )


def test_a_slot_that_an_eligible_broker_can_take_over_is_not_revived(offline: Console) -> None:
    offline.set_slot(1, held("b1", "b2", "b3", isr="b3", elr="b2"))
    args = ("recover", "--slot", "1", "--from", "b1", "--yes")
    text = offline.refused(*args, name="operation_refused", status=79)
    assert "without a primary and needs no recovery" in text


@pytest.mark.parametrize("args", [(), ("--slot", "1", "--all")])
def test_a_recovery_names_either_one_slot_or_all(offline: Console, args: tuple[str, ...]) -> None:
    offline.refused("recover", *args, "--from", "b1", "--yes", name="config_error", status=64)
