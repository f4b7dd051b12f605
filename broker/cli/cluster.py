"""The words of ``msgqueue cluster``: what an operator types and reads.

Owns options and output; what a command does is elsewhere.  An error is one line with its name,
and its exit status.  What speaks with etcd is imported when a command runs, because it is an
extra.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from broker import limits
from broker.cli.config_options import given_flags, with_fields
from broker.cli.ending import NamedEnds
from broker.cli.output import JSON, with_output, write_json, write_lines
from broker.cluster.ownership import ReplicaId, SlotConfig
from broker.cluster.view import ClusterView
from broker.errors import (
    ConfigError,
    OperationRefused,
    OtherCluster,
)
from broker.names import require_id
from broker.server import cluster_report as report
from broker.server.cluster_recovery import plan_recovery, plan_recovery_of, warning_lines
from broker.server.cluster_wanted import Wanted
from broker.server.config import FIELDS, Config, load_cluster_access
from broker.server.quantities import parse_ms
from broker.server.stopped_store import read_stopped_store

if TYPE_CHECKING:
    from broker.server.cluster_admin import ClusterAdmin


@click.group("cluster", cls=NamedEnds)
def cluster_group() -> None:
    """Make a cluster, look at it, say which brokers belong to it."""


_ACCESS = ("cluster", "etcd", "etcd_ca", "etcd_cert", "etcd_key", "insecure")


def _of_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command the settings by which a broker finds its cluster, as ``access``."""

    @wraps(command)
    def with_access(file: Path | None, **options: Any) -> None:
        flags = given_flags({name: options.pop(name) for name in _ACCESS})
        command(load_cluster_access(flags, os.environ, file=file), **options)

    return with_fields(field for field in FIELDS if field.name in _ACCESS)(with_access)


_timeout = click.option("--timeout", metavar="TIME", help="Give up after, such as 60s.")
_broker = click.argument("broker", metavar="ID")


@contextmanager
def _admin(access: Config) -> Iterator[ClusterAdmin]:
    from broker.server.cluster_admin import open_admin

    with open_admin(access) as admin:
        yield admin


@cluster_group.command("init")
@_of_cluster
@click.option("--slots", type=int, metavar="N", help="Parts of the hash ring, for good. [64]")
@click.option("--replication", type=int, metavar="N", help="Copies of each slot. [3]")
@click.option("--min-isr", type=int, metavar="N", help="Copies before a confirm. [2]")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Begin with all that a stopped broker holds; min_isr is then 1.",
)
@click.option("--broker-id", metavar="ID", help="What that broker will be called.")
def init_command(
    access: Config,
    slots: int | None,
    replication: int | None,
    min_isr: int | None,
    data: Path | None,
    broker_id: str | None,
) -> None:
    """Make a cluster; one that is there with the same values is left as it is."""
    wanted = Wanted(slots, replication, min_isr)
    first, defaults = SlotConfig(), (limits.SLOTS_DEFAULT, limits.MIN_ISR_DEFAULT)
    with _admin(access) as admin:
        if data is not None:
            first, store_slots = _first_copy(admin, data, broker_id, wanted)
            defaults = (store_slots, 1)
        config = wanted.config(os.urandom(8).hex(), slots=defaults[0], min_isr=defaults[1])
        is_made = admin.create(config, first)
        standing = admin.read().config
    assert standing is not None
    wanted.require_same(access.cluster, standing)
    what = "is made" if is_made else "exists already"
    values = f"replication {standing.replication}, min_isr {standing.min_isr}"
    click.echo(f"cluster {access.cluster} {what}: {standing.slots} slots, {values}")


def _first_copy(
    admin: ClusterAdmin, data: Path, broker_id: str | None, wanted: Wanted
) -> tuple[SlotConfig, int]:
    """What stands in each slot's key when a lone broker's data becomes the cluster's, and how
    many slots it has."""
    broker = require_id(broker_id or "")
    store = read_stopped_store(data)
    if wanted.slots not in (None, store.slots):
        raise ConfigError(f"{data} has {store.slots} slots, not {wanted.slots}")
    if wanted.min_isr not in (None, 1):
        raise ConfigError("with --data min_isr begins at 1: raise it when others have joined")
    copy = ReplicaId(broker, store.incarnation)
    view = admin.find()
    standing = view.config.id if view and view.config else ""
    if store.cluster_id not in ("", standing):
        raise OtherCluster(f"{data} belongs to the cluster of id {store.cluster_id}")
    if view and not any(copy in owned.config.replicas for owned in view.slots.values()):
        raise OperationRefused("the cluster exists already, and not with this data")
    # Above every epoch in which the lone broker wrote.
    return SlotConfig((copy,), (broker,), (), broker, store.reign + 1), store.slots


@cluster_group.command("info")
@_of_cluster
@with_output
def info_command(access: Config, output: str) -> None:
    """The values, the brokers, and the slots that need attention."""
    with _admin(access) as admin:
        info = report.describe(access.cluster, admin.read())
    _show(info, report.info_lines(info), output=output)


@cluster_group.command("map")
@_of_cluster
@with_output
def map_command(access: Config, output: str) -> None:
    """Who holds each slot."""
    with _admin(access) as admin:
        slots = report.describe_slots(admin.read())
    _show(slots, report.map_lines(slots), output=output)


@cluster_group.command("wait")
@_of_cluster
@click.option("--brokers", type=int, default=1, metavar="N", help="That so many are alive. [1]")
@click.option("--replicated", is_flag=True, help="That each slot has all its copies.")
@_timeout
def wait_command(access: Config, brokers: int, replicated: bool, timeout: str | None) -> None:
    """Wait until every slot is served."""

    def missing(view: ClusterView) -> str:
        if len(view.brokers) < brokers:
            return f"{len(view.brokers)} of {brokers} brokers are alive"
        return report.missing_slots(view, replicated=replicated)

    with _admin(access) as admin:
        admin.wait_until(missing, _ms(timeout))
    click.echo(f"every slot of {access.cluster} is {'replicated' if replicated else 'served'}")


@cluster_group.command("min-isr")
@_of_cluster
@click.argument("count", type=int, metavar="N")
def min_isr_command(access: Config, count: int) -> None:
    """Change on how many copies a message is before it is confirmed."""
    with _admin(access) as admin:
        admin.set_min_isr(count)
        view = admin.read()
    click.echo(f"min_isr of {access.cluster} is {count}")
    if below := report.slots_by_state(view)[report.SlotState.BELOW_MIN_ISR]:
        click.echo(
            "slots that have fewer copies in sync, and refuse puts until they have more:"
            f" {report.ranges(below)}"
        )


@cluster_group.command("add")
@_of_cluster
@_broker
@click.option("--weight", type=click.IntRange(0, 10_000), metavar="N", help="Its share. [100]")
@click.option("--zone", metavar="NAME", help="Copies are spread over zones.")
def add_command(access: Config, broker: str, weight: int | None, zone: str | None) -> None:
    """Let a broker take slots, also one that was draining.

    A broker that starts with --cluster does this by itself.
    """
    with _admin(access) as admin:
        member = admin.add(require_id(broker), weight=weight, zone=zone)
    zoned = f", zone {member.zone}" if member.zone else ""
    click.echo(f"{broker} is a member with weight {member.weight}{zoned}")


@cluster_group.command("drain")
@_of_cluster
@_broker
@click.option("--wait", is_flag=True, help="Until it holds no slot.")
@_timeout
def drain_command(access: Config, broker: str, wait: bool, timeout: str | None) -> None:
    """Move all slots of a broker to the others."""

    def missing(view: ClusterView) -> str:
        held = report.held_by(view, broker)
        return f"{broker} still holds slots {report.ranges(held)}" if held else ""

    with _admin(access) as admin:
        admin.drain(require_id(broker))
        if wait:
            admin.wait_until(missing, _ms(timeout))
    click.echo(f"{broker} {'holds no slot and can be removed' if wait else 'drains'}")


@cluster_group.command("remove")
@_of_cluster
@_broker
@click.option("--lost", is_flag=True, help="Its disk is gone for good.")
def remove_command(access: Config, broker: str, lost: bool) -> None:
    """Forget a broker that was drained and stopped, or that is lost."""
    with _admin(access) as admin:
        holding = admin.remove(require_id(broker), lost=lost)
        view = admin.read()
    click.echo(f"{broker} is no member any more")
    if holding:
        click.echo(
            f"its copies of {len(holding)} slots are given up, one slot after another, as their"
            " primaries find others to hold them"
        )
    if offline := report.slots_by_state(view)[report.SlotState.OFFLINE]:
        click.echo(
            f"offline, until a broker that was in sync returns or `msgqueue cluster recover`"
            f" names a survivor: slots {report.ranges(offline)}"
        )


@cluster_group.command("recover")
@_of_cluster
@click.option("--slot", type=int, metavar="N", help="The slot to revive.")
@click.option("--all", "every", is_flag=True, help="All offline slots that ID has a copy of.")
@click.option("--from", "survivor", required=True, metavar="ID", help="Whose copy it shall be.")
@click.option("--yes", is_flag=True, help="Do it; without this, only tell what may be lost.")
def recover_command(
    access: Config, slot: int | None, every: bool, survivor: str, yes: bool
) -> None:
    """Revive slots from a copy that may lack what was confirmed.

    The last resort, for slots whose in-sync brokers are all lost.
    """
    if (slot is None) != every:
        raise ConfigError("name one slot with --slot, or all that are offline with --all")
    with _admin(access) as admin:
        view = admin.read()
        if slot is None:
            recovery = plan_recovery(view, require_id(survivor))
        else:
            recovery = plan_recovery_of(view, slot, require_id(survivor))
        for line in warning_lines(recovery):
            click.echo(line)
        if not yes:
            raise OperationRefused("nothing was changed: say --yes to accept the loss")
        done = [swap.slot for swap in recovery.swaps if admin.carry_out(swap)]
    click.echo(f"revived from {survivor}: slots {report.ranges(done) or 'none'}")
    if len(done) < len(recovery.swaps):
        raise OperationRefused("the other slots have changed meanwhile: look at them again")


def _ms(timeout: str | None) -> int | None:
    return None if timeout is None else parse_ms(timeout)


def _show(value: object, lines: list[str], *, output: str) -> None:
    if output == JSON:
        write_json(value)
    else:
        write_lines(lines)
