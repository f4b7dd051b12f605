"""What stands between a channel's committed messages and its subscribers, on every broker."""
