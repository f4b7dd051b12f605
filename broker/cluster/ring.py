"""Slots to brokers."""

from __future__ import annotations

from broker.model.slots import slot_of

__all__ = ["slot_of"]
