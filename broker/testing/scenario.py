"""What one seed is about: how many clients, which load, which faults and how often.

Law: everything is drawn here, before the first event, so that a run never draws what it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from broker.testing.features import draw_features

#: Faults that are a probability of each multipart, sync or request.
INTENSITIES = (
    "drop",
    "double",
    "reorder",
    "late",
    "slow_sync",
    "unknown_swap",
    "slow_watch",
    "drift",
)
#: Faults that happen now and then: how many in a minute, on average.
INCIDENTS = {
    "break": 20.0,
    "remake": 20.0,
    "kill": 6.0,
    "pause": 5.0,
    "sync_error": 4.0,
    "write_error": 3.0,
    "disk_full": 3.0,
    "drag": 4.0,
    "restart_storm": 1.5,
    "power_loss": 1.5,
    "clock_jump": 6.0,
    "cut_one_way": 8.0,
    "cut_off": 6.0,
    "island": 4.0,
    "compact": 8.0,
    "leader_change": 4.0,
    "etcd_away": 1.0,
    "etcd_cut": 4.0,
    "empty_disk": 2.0,
    "flip_bit": 2.0,
}
#: What a broker that is alone cannot meet: it has no peers and no coordinator.
CLUSTERED = frozenset(
    {
        *("drop", "double", "reorder", "late", "unknown_swap", "slow_watch"),
        *("cut_one_way", "cut_off", "island", "compact", "leader_change", "etcd_away", "etcd_cut"),
        *("empty_disk", "flip_bit"),
    }
)
#: Left out unless they are asked for: a broker must know how to repair what they destroy.
DESTRUCTIVE = frozenset({"flip_bit"})


@dataclass(frozen=True, slots=True)
class Scenario:
    """``faults``: intensity of each kind that this seed has, 1.0 being the usual; ``queues`` are
    the plain ones."""

    brokers: int
    seconds: int
    slots: int
    queues: list[str]
    producers: int
    consumers: int
    put_interval_us: int
    window: int
    checkpoint_bytes: int
    log_kept_bytes: int
    tenure_ms: int
    #: Everybody loses power once more when all is quiet.
    ends_with_power_loss: bool
    faults: dict[str, float] = field(default_factory=dict)
    #: queue -> settings, of those that are there for a feature
    featured: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Callers of services, and as many workers.
    callers: int = 0


def draw_scenario(
    random: Random, brokers: int, seconds: int, *, destructive: bool = False
) -> Scenario:
    slots = 4
    queues = [f"q{n}" for n in range(random.randint(3, 6))]
    clients = random.randint(2, 3)
    return Scenario(
        brokers=brokers,
        seconds=seconds,
        slots=slots,
        queues=queues,
        producers=clients,
        consumers=random.randint(2, 3),
        put_interval_us=random.choice([400_000, 600_000, 1_000_000]) * clients // 2,
        window=random.randint(1, 4),
        checkpoint_bytes=random.choice([2_000, 8_000, 64 << 20]),
        log_kept_bytes=random.choice([500, 4_000, 4 << 20]),
        tenure_ms=random.choice([2_000, 3_000]),
        ends_with_power_loss=random.random() < 0.3,
        faults=_draw_faults(random, brokers, destructive),
        featured=draw_features(random),
    )


def _draw_faults(random: Random, brokers: int, destructive: bool) -> dict[str, float]:
    """Nothing at all, one kind alone, or several together."""
    kinds = [*INTENSITIES, *INCIDENTS]
    if brokers == 1:
        kinds = [kind for kind in kinds if kind not in CLUSTERED]
    if not destructive:
        kinds = [kind for kind in kinds if kind not in DESTRUCTIVE]
    chance = random.random()
    if chance < 0.05:
        return {}
    if chance < 0.45:
        return {random.choice(kinds): random.choice([1.0, 2.0])}
    chosen = random.sample(kinds, random.randint(2, min(6, len(kinds))))
    return {kind: random.choice([0.5, 1.0, 1.5]) for kind in chosen}
