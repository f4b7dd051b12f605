"""Values: commands, replies, settings, stored batches, log entries."""
