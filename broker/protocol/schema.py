"""One command as a row of the table: what is made of it, and a check for each of its fields."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any

from broker.model.commands import Command
from broker.protocol.fields import Check


@dataclass(slots=True, frozen=True)
class Schema:
    make: type[Command]
    checks: dict[str, Check]
    #: Values for fields that the client left out and the model gives no default for.
    defaults: dict[str, Any]

    def required(self) -> set[str]:
        return {
            f.name
            for f in fields(self.make)
            if f.default is MISSING and f.default_factory is MISSING and f.name not in self.defaults
        }
