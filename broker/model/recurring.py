"""A queue's recurring schedules: what is put, and by which clock.

    schedules: {name: {cron, body, zone?, content_type?, type?, headers?, priority?, key?}}

Here only the shape is checked.  When an instant is due is found out by the shell
(``broker/server/schedules.py``), which has the calendar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from broker import limits
from broker.errors import BadField

#: Of one queue.
SCHEDULES_MAX = 100
#: Small: all of them travel in the queue's settings.
BODY_BYTES_MAX = 4 * limits.KIB
ZONE_DEFAULT = "UTC"
_NAME_BYTES_MAX = 100
_CRON_BYTES_MAX = 200
#: Five fields, or six with seconds first.
_CRON = re.compile(r"\S+( +\S+){4,5}")
#: A name of the IANA data base; it is a path there, so nothing may climb out of it.
_ZONE = re.compile(r"[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,3}")


@dataclass(slots=True, frozen=True, kw_only=True)
class Recurring:
    """One schedule."""

    cron: str
    body: bytes | str
    zone: str = ZONE_DEFAULT
    content_type: str | None = None
    type: str | None = None
    headers: dict[str, Any] | None = None
    priority: int = limits.PRIORITY_DEFAULT
    key: bytes | str | None = None


_FIELDS = frozenset(Recurring.__dataclass_fields__)


def read_schedules(values: Any) -> dict[str, Recurring]:
    """The schedules in a queue's setting; raises BadField."""
    if not isinstance(values, dict):
        raise BadField("schedules must be a map from names to schedules")
    if len(values) > SCHEDULES_MAX:
        raise BadField(f"schedules: a queue has at most {SCHEDULES_MAX}")
    return {_name(name): _read(name, each) for name, each in values.items()}


def _name(name: Any) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= _NAME_BYTES_MAX:
        raise BadField(f"schedules: a name is text of at most {_NAME_BYTES_MAX} bytes")
    return name


def _read(name: str, values: Any) -> Recurring:
    where = f"schedules.{name}"
    if not isinstance(values, dict) or not values.keys() <= _FIELDS:
        raise BadField(f"{where} is a map of {', '.join(sorted(_FIELDS))}")
    for field in ("cron", "body"):
        if field not in values:
            raise BadField(f"{where} needs {field}")
    cron, zone = values["cron"], values.get("zone", ZONE_DEFAULT)
    if not isinstance(cron, str) or len(cron) > _CRON_BYTES_MAX or not _CRON.fullmatch(cron):
        raise BadField(f"{where}.cron is text of five fields, or six with seconds first")
    if not isinstance(zone, str) or not _ZONE.fullmatch(zone):
        raise BadField(f"{where}.zone is the name of a time zone, such as Europe/Berlin")
    _check_body(where, values["body"])
    _check_rest(where, values)
    return Recurring(**values)


def _check_body(where: str, body: Any) -> None:
    if not isinstance(body, bytes | str):
        raise BadField(f"{where}.body is bin or text")
    size = len(body.encode() if isinstance(body, str) else body)
    if size > BODY_BYTES_MAX:
        raise BadField(f"{where}.body has at most {BODY_BYTES_MAX} bytes")


def _check_rest(where: str, values: dict[str, Any]) -> None:
    for field in ("content_type", "type"):
        text = values.get(field)
        if text is not None and (
            not isinstance(text, str) or len(text.encode()) > limits.CONTENT_TYPE_BYTES_MAX
        ):
            raise BadField(f"{where}.{field} is text")
    headers = values.get("headers")
    if headers is not None and not (
        isinstance(headers, dict) and all(isinstance(name, str) for name in headers)
    ):
        raise BadField(f"{where}.headers is a map with text keys")
    priority = values.get("priority", limits.PRIORITY_DEFAULT)
    if priority.__class__ is not int or not 0 <= priority <= limits.PRIORITY_MAX:
        raise BadField(f"{where}.priority is from 0 to {limits.PRIORITY_MAX}")
    key = values.get("key")
    if key is not None and not (isinstance(key, str | bytes) and 0 < len(key) <= 255):
        raise BadField(f"{where}.key is text or bin of at most 255 bytes")
