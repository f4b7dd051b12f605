"""The settings of a channel: valid from birth, compared whole when a name is declared again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from broker import limits
from broker.errors import BadField, UnknownSetting


@dataclass(slots=True, frozen=True, kw_only=True)
class ChannelSettings:
    """How much of a channel's past is kept; each bound holds by itself, the nearest one decides.

    Without a history a channel costs nothing but its name.  One that is not durable keeps it in
    memory, as long as its slot stays where it is.
    """

    #: The newest so many; 0 for no history, None for no bound by number.
    history_messages: int | None = 0
    #: Those of the last so many milliseconds; None for no bound by age.
    history_ms: int | None = None
    #: None stands for a bound that goes by where they are kept, ``bytes_max``.
    history_bytes: int | None = None
    durable: bool = False

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))
        if self.history_messages is None and self.history_ms is None:
            raise BadField("history_messages: without it a history needs history_ms")
        if self.history_messages == 0 and self._asked():
            raise BadField("history_messages: 0 is no history, and the other settings ask for one")

    @classmethod
    def from_map(cls, values: dict[str, Any]) -> ChannelSettings:
        """Raises UnknownSetting for a name it does not know, BadField for a bad value.

        Who asks for a history and does not say how many gets the last HISTORY_DEFAULT, or all
        of the time that it names.
        """
        for name in values:
            if name not in _CHECKS:
                raise UnknownSetting(f"no setting is called {name[:80]!r}")
        given = dict(values)
        if "history_messages" not in given and _asks(given):
            by_age = given.get("history_ms") is not None
            given["history_messages"] = None if by_age else limits.HISTORY_DEFAULT
        return cls(**given)

    def updated(self, values: dict[str, Any]) -> ChannelSettings:
        """These settings with some of them changed; raises as ``from_map`` does."""
        kept = self.as_map()
        if not self.is_kept and "history_messages" not in values:
            del kept["history_messages"]
        return ChannelSettings.from_map({**kept, **values})

    def as_map(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_kept(self) -> bool:
        return self.history_messages != 0

    @property
    def bytes_max(self) -> int:
        if self.history_bytes is not None:
            return self.history_bytes
        return limits.HISTORY_BYTES_DURABLE if self.durable else limits.HISTORY_BYTES_MEMORY

    def _asked(self) -> bool:
        return _asks(self.as_map())


def stored_channel(settings: ChannelSettings, start: int) -> dict[str, Any]:
    """What the hidden queue of a kept channel keeps of it; ``start`` is its first sequence."""
    return {**settings.as_map(), "start": start}


def read_stored_channel(values: dict[str, Any]) -> tuple[ChannelSettings, int]:
    """(settings, first sequence)"""
    given = dict(values)
    start: int = given.pop("start")
    return ChannelSettings.from_map(given), start


def _asks(values: dict[str, Any]) -> bool:
    """True when settings make sense only where there is a history."""
    others = (values.get("history_ms"), values.get("history_bytes"))
    return values.get("durable") is True or others != (None, None)


Check = Callable[[str, Any], None]


def _integer_or_nil(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> None:
        # bool is an int to Python; in settings the two are different types.
        if value is not None and (value.__class__ is not int or not low <= value <= high):
            raise BadField(f"{name} must be an integer from {low} to {high}, or nil")

    return check


def _boolean(name: str, value: Any) -> None:
    if value.__class__ is not bool:
        raise BadField(f"{name} must be true or false")


_CHECKS: dict[str, Check] = {
    "history_messages": _integer_or_nil(0, limits.HISTORY_MESSAGES_MAX),
    "history_ms": _integer_or_nil(1, limits.TTL_MAX),
    "history_bytes": _integer_or_nil(1, 2**62),
    "durable": _boolean,
}
