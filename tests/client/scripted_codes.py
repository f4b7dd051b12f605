"""The numbers of the errors that the scripted broker tells, as docs/protocol.md has them."""

from __future__ import annotations

CODES = {
    "bad_field": 104,
    "no_session": 120,
    "queue_not_found": 121,
    "settings_mismatch": 122,
    "sequence_too_old": 126,
    "producer_expired": 127,
    "queue_deleted": 129,
    "transaction_spans_slots": 131,
    "no_responder": 150,
    "handler_failed": 151,
    "responder_lost": 152,
    "cancelled": 153,
    "call_not_found": 156,
    "timeout": 157,
    "queue_full": 201,
    "resource_alarm": 202,
    "shutting_down": 204,
    "not_primary": 205,
    "outcome_unknown": 208,
    "overloaded": 210,
    "lease_lost": 301,
    "session_closed": 302,
    "producer_fenced": 303,
}
