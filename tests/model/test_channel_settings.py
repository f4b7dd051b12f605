"""The settings of a channel: what a history is when only a part of it is said."""

from __future__ import annotations

from typing import Any

import pytest

from broker import limits
from broker.errors import BadField, UnknownSetting
from broker.model.channel_settings import ChannelSettings


def test_a_channel_has_no_history_unless_it_is_asked_for() -> None:
    assert not ChannelSettings().is_kept
    assert not ChannelSettings.from_map({}).is_kept
    assert not ChannelSettings.from_map({"history_messages": 0}).is_kept


@pytest.mark.parametrize("asked", [{"durable": True}, {"history_bytes": 1_000}])
def test_who_does_not_say_how_many_gets_the_default(asked: dict[str, Any]) -> None:
    assert ChannelSettings.from_map(asked).history_messages == limits.HISTORY_DEFAULT


def test_a_history_by_age_has_no_bound_by_number() -> None:
    settings = ChannelSettings.from_map({"history_ms": 60_000})
    assert settings.is_kept
    assert settings.history_messages is None


def test_the_bound_of_bytes_goes_by_where_they_are_kept() -> None:
    in_memory = ChannelSettings(history_messages=5)
    assert in_memory.bytes_max == limits.HISTORY_BYTES_MEMORY
    assert ChannelSettings(history_messages=5, durable=True).bytes_max > in_memory.bytes_max
    assert ChannelSettings(history_messages=5, history_bytes=7).bytes_max == 7


@pytest.mark.parametrize(
    "values",
    [
        {"history_messages": -1},
        {"history_messages": True},
        {"history_messages": "5"},
        {"history_messages": 2**40},
        {"history_messages": None},
        {"history_ms": 0},
        {"history_ms": 1.5},
        {"history_bytes": 0},
        {"durable": 1},
        {"durable": None},
        {"history_messages": 0, "durable": True},
        {"history_messages": 0, "history_ms": 5},
        {"history_messages": 0, "history_bytes": 5},
    ],
)
def test_a_bad_value_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadField):
        ChannelSettings.from_map(values)


def test_an_unknown_setting_is_told() -> None:
    with pytest.raises(UnknownSetting):
        ChannelSettings.from_map({"history": 5})


def test_some_settings_change_and_the_others_stay() -> None:
    settings = ChannelSettings.from_map({"history_messages": 7, "history_ms": 5_000})
    changed = settings.updated({"history_ms": None})
    assert (changed.history_messages, changed.history_ms) == (7, None)
    assert not changed.updated({"history_messages": 0}).is_kept
    assert ChannelSettings().updated({"history_ms": 5}).history_messages is None


def test_a_map_says_all_of_the_settings() -> None:
    settings = ChannelSettings.from_map({"durable": True, "history_bytes": 9})
    assert ChannelSettings.from_map(settings.as_map()) == settings
