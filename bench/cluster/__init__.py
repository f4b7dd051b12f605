"""A cluster of MsgQueue on this machine: its processes, and what its coordinator says of it."""
