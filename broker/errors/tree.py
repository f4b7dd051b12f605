"""The root of the errors and the registry of their codes; an error enters it when its class is
made, and no code is taken twice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

BY_CODE: dict[int, type[MsgQueueError]] = {}
BY_NAME: dict[str, type[MsgQueueError]] = {}


class MsgQueueError(Exception):
    """Root of every error this project raises on purpose."""

    code: ClassVar[int] = 100
    name: ClassVar[str] = "error"
    #: True when the same request may succeed later, unchanged.
    retryable: ClassVar[bool] = False
    #: Fields that the reply has besides.
    details: Mapping[str, Any] = {}

    def __init_subclass__(cls) -> None:
        if "code" in cls.__dict__:
            assert cls.code not in BY_CODE, f"code {cls.code} is taken"
            BY_CODE[cls.code] = cls
            BY_NAME[cls.name] = cls

    @property
    def text(self) -> str:
        return str(self.args[0]) if self.args else self.name


def error_from_wire(code: int, text: str) -> MsgQueueError:
    """The error for a ``failed`` reply; an unknown code becomes the root with that text."""
    return BY_CODE.get(code, MsgQueueError)(text)
