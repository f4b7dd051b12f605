"""What a cluster is to be made with, as far as an operator named it.

Owns the bounds of these values and their defaults, and what is said where they differ from those
of a cluster that is there already.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from broker import limits
from broker.cluster.ownership import ClusterConfig
from broker.errors import ConfigError

_BOUNDS = {"slots": 1_024, "replication": 7, "min_isr": 7}
_WAY_TO_CHANGE = {
    "slots": "the number of slots is fixed when a cluster is made",
    "replication": "it is fixed when a cluster is made",
    "min_isr": "change it with `msgqueue cluster min-isr`",
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """None stands for the default, or for whatever there is."""

    slots: int | None = None
    replication: int | None = None
    min_isr: int | None = None

    def config(self, cluster_id: str, *, slots: int, min_isr: int) -> ClusterConfig:
        """With ``slots`` and ``min_isr`` where none were named.  Raises ConfigError."""
        replication = limits.REPLICATION_DEFAULT if self.replication is None else self.replication
        return require_config(
            ClusterConfig(
                cluster_id,
                slots if self.slots is None else self.slots,
                replication,
                min(min_isr, replication) if self.min_isr is None else self.min_isr,
            )
        )

    def require_same(self, cluster: str, standing: ClusterConfig) -> None:
        """Raises ConfigError for the first value that was named and is not that of ``standing``."""
        for field in fields(self):
            value, stands = getattr(self, field.name), getattr(standing, field.name)
            if value not in (None, stands):
                raise ConfigError(
                    f"cluster {cluster} exists with {field.name} {stands}, not {value}:"
                    f" {_WAY_TO_CHANGE[field.name]}"
                )


def with_min_isr(standing: ClusterConfig, min_isr: int) -> ClusterConfig:
    return require_config(replace(standing, min_isr=min_isr))


def require_config(config: ClusterConfig) -> ClusterConfig:
    """``config`` itself; raises ConfigError for a value out of its bounds."""
    for name, high in _BOUNDS.items():
        if not 1 <= getattr(config, name) <= high:
            raise ConfigError(f"{name} {getattr(config, name)} is not from 1 to {high}")
    if config.min_isr > config.replication:
        raise ConfigError(
            f"min_isr {config.min_isr} is above replication {config.replication}:"
            " no slot could ever take a message"
        )
    return config
