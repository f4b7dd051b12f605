"""Request and reply: callers, a broker, workers, of MsgQueue and of its peers."""
