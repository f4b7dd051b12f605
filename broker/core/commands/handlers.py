"""The table of commands that concern one queue: command -> handler(machine, session, command)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from broker.core.channels.binding_handlers import handle_bind, handle_copy, handle_unbind
from broker.core.channels.bound_publishing import handle_publish_anywhere
from broker.core.channels.declaring import (
    handle_declare_channel,
    handle_delete_channel,
    handle_update_channel,
)
from broker.core.channels.history import handle_history
from broker.core.commands.browsing import handle_browse
from broker.core.commands.named_producers import handle_producer
from broker.core.commands.put_handlers import handle_put
from broker.core.commands.queue_handlers import (
    handle_declare,
    handle_delete,
    handle_purge,
    handle_stats,
)
from broker.core.commands.settle_handlers import (
    handle_ack,
    handle_extend,
    handle_nack,
    handle_reject,
)
from broker.core.commands.take_handlers import (
    handle_cancel,
    handle_consume,
    handle_credit,
    handle_get,
)
from broker.core.commands.transactions import handle_transact
from broker.core.commands.updating import handle_update
from broker.core.commands.waiting_handlers import handle_remove, handle_reschedule
from broker.core.leaving.redrive import handle_redrive
from broker.core.machine import SlotMachine
from broker.core.session import Session
from broker.model import commands

Handler = Callable[[SlotMachine, Session, Any], None]

HANDLERS: dict[type[commands.Command], Handler] = {
    commands.Put: handle_put,
    commands.Get: handle_get,
    commands.Consume: handle_consume,
    commands.Credit: handle_credit,
    commands.Cancel: handle_cancel,
    commands.Ack: handle_ack,
    commands.Nack: handle_nack,
    commands.Reject: handle_reject,
    commands.Extend: handle_extend,
    commands.Declare: handle_declare,
    commands.Update: handle_update,
    commands.Stats: handle_stats,
    commands.Purge: handle_purge,
    commands.Delete: handle_delete,
    commands.Browse: handle_browse,
    commands.Remove: handle_remove,
    commands.Reschedule: handle_reschedule,
    commands.Redrive: handle_redrive,
    commands.Transact: handle_transact,
    commands.Producer: handle_producer,
    commands.Publish: handle_publish_anywhere,
    commands.History: handle_history,
    commands.DeclareChannel: handle_declare_channel,
    commands.UpdateChannel: handle_update_channel,
    commands.DeleteChannel: handle_delete_channel,
    commands.Bind: handle_bind,
    commands.Unbind: handle_unbind,
    commands.CopyBinding: handle_copy,
}
