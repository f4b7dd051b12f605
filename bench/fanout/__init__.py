"""Fan-out: publishers, channels, subscribers, of MsgQueue and of its peers."""
