"""What the slot of a channel does: publishes, histories, bindings."""
